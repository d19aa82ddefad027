# Two commands set everything up: `make train` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: train test test-all test-lowest lint format soak soak-mnist fuzz clean

train: $(READY)
	$(BIN)/convsmith train digits

# The fast tests: within 10 minutes on two cores with AVX2 alone.
test: $(READY)
	$(BIN)/pytest -n auto -m "not slow"

# All tests: trainings of minutes, every random kill, eight times as many random nets.
test-all: $(READY)
	CONVSMITH_ALL_TESTS=1 $(BIN)/pytest -n auto

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Takes minutes: 200 kills at random moments, each resumed, the weights compared with the undisturbed run's.
soak: $(READY)
	$(BIN)/python tests/helpers/kills.py 200 digits

# Takes about an hour of one core.
soak-mnist: $(READY)
	$(BIN)/python tests/helpers/kills.py 20 mnist-classic

# Takes minutes: damaged and made-up input to everything that reads a file or a text.
fuzz: $(READY)
	$(BIN)/python -W error tests/helpers/fuzz.py 3000

# The lowest versions that pyproject.toml allows; `make test-lowest LOWEST=torch=2.13.0` where one cannot be had.
test-lowest:
	$(PYTHON) -m venv $(VENV)-lowest
	$(PYTHON) tests/helpers/lowest.py $(LOWEST) > $(VENV)-lowest/constraints.txt
	$(VENV)-lowest/bin/python -m pip install --quiet --disable-pip-version-check \
		-c $(VENV)-lowest/constraints.txt -e '.[dev]'
	$(VENV)-lowest/bin/python -m pytest -m 'not slow' -W ignore::DeprecationWarning

clean:
	rm -rf $(VENV) $(VENV)-lowest .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Exact versions: what is tested is what is installed. By hash all but torch, of which there are several builds of
# one version. PIP_CONSTRAINT would reach build environments too.
$(READY): pyproject.toml constraints.txt hashes.txt
	$(PYTHON) -c 'import sys; sys.exit("convsmith needs Python 3.11 or newer, this is " + sys.version) if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r hashes.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
