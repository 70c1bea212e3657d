# Everything a fresh machine needs is made here; every other command runs inside the environment this makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
KEEP ?= 0
export OMP_NUM_THREADS ?= 1
# Nothing here calls home: not Prefect, not Ultralytics, not the model hubs.
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: help env demo test check check-all bench lock clean
help:            ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

env: $(VENV)/.installed  ## the environment, from requirements.lock
$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --disable-pip-version-check --editable .
	@touch $@

demo: env        ## the whole chain on the simulated rig; KEEP=1 leaves the Prefect server up
	KEEP=$(KEEP) $(BIN)/maepose demo

test: env        ## every test that CI runs
	$(BIN)/python -m pytest

check: env       ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check-all: check ## everything, the slow tests too
	$(BIN)/python -m pytest -m "slow or not slow"

bench: env       ## the measurements of the README, a few minutes
	$(BIN)/python -m benchmarks.cubes
	$(BIN)/python -m benchmarks.receive --seconds 20 --line-seconds 10
	$(BIN)/python -m benchmarks.echoes
	$(BIN)/python -m benchmarks.render

lock:            ## resolve pyproject.toml anew into requirements.lock
	rm -rf $(VENV)-lock && $(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet --no-compile --editable '.[all,dev]'
	$(VENV)-lock/bin/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > requirements.lock
	rm -rf $(VENV)-lock

clean:           ## remove the environment and caches; data stays
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache *.egg-info
