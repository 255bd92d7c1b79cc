# Nothing but Python 3.11+ and make is needed: each target sets itself up.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.installed
TRAIN := $(VENV)/.installed-train
DEV := $(VENV)/.installed-dev
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: quickstart test faults lint bench clean

# Train an agent on this machine until it drives well, then let it race and film it. An older run is kept.
quickstart: $(TRAIN)
	$(BIN)/tmrl-ray train -c configs/quickstart.yaml --restart
	$(BIN)/tmrl-ray eval quickstart --weights best --races 2 --video out/quickstart.mp4

# What must pass before a change is merged.
test: lint
	$(BIN)/pytest -m "not gpu and not game and not faults"

# All tests of faults; at the end a table of the matrix: what came of each row, how long it took, and how long it may.
faults: $(DEV)
	$(BIN)/pytest -rN tests/faults

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# How fast it is; all tables, or those of BENCH="car render".
bench: $(DEV)
	$(BIN)/python -m tests.bench $(BENCH)

$(RUN): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("tmrl_ray needs Python 3.11 or newer, this is " + sys.version.split()[0] + ". Name one: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e .
	@touch $@

$(TRAIN): $(RUN)
	$(INSTALL) -e '.[train]'
	@touch $@

$(DEV): $(TRAIN)
	$(INSTALL) -e '.[dev,train]'
	@touch $@

clean:
	rm -rf $(VENV) build out .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
