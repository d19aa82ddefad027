# Two commands set everything up: `make train` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: train test lint format soak clean

train: $(READY)
	$(BIN)/convsmith train digits

test: $(READY)
	$(BIN)/pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Takes minutes: 200 kills at random moments, each resumed, the weights compared with the undisturbed run's.
soak: $(READY)
	$(BIN)/python tests/faults/kills.py 200

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Exact versions: what is tested is what is installed. PIP_CONSTRAINT would reach build environments too.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("convsmith needs Python 3.11 or newer, this is " + sys.version) if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
