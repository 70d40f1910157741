# Two commands for a newcomer: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# `make bench BENCH=augmentation`: any module of benchmarks.
BENCH ?= loss
# The extras of the test environment; `test-beam` has another set.
EXTRAS := test
export TF_USE_LEGACY_KERAS := 1
export TF_CPP_MIN_LOG_LEVEL ?= 3
export NO_MKDOCS_2_WARNING := 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-hostile test-beam lint type format docs serve-docs notebooks bench package clean

help: ## List the commands.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.demo ## Pretrain, evaluate and export on synthetic data.
	$(BIN)/python -m tfrs_barlow.demo --dataset=synthetic

test: $(VENV)/.test ## Run the tests and every documented example.
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not hostile" $(PYTEST_FLAGS)

test-slow: $(VENV)/.test $(VENV)/.notebooks ## Run the tests that kill processes or take long.
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow $(PYTEST_FLAGS)

test-hostile: $(VENV)/.test ## Generate hostile inputs, 20 seconds a kind.
	$(BIN)/python -m pytest tests/hostile -n 2 --dist load -m hostile \
		-rP --show-capture=stdout $(PYTEST_FLAGS)

test-beam: ## Run the tests of the Beam pipeline, in a separate environment.
	$(MAKE) VENV=.venv-beam EXTRAS=test,beam .venv-beam/.test
	.venv-beam/bin/python -m pytest tests/data/records/test_beam.py tfrs_barlow/data

lint: $(VENV)/.dev ## Check format, lint and types.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

type: $(VENV)/.dev ## Check types alone.
	$(BIN)/mypy

format: $(VENV)/.dev ## Format the code and sort its imports.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.docs ## Build the documentation into site/; a warning is an error.
	$(BIN)/python -m mkdocs build --strict

serve-docs: $(VENV)/.docs ## Show the documentation while you write it.
	$(BIN)/python -m mkdocs serve

notebooks: $(VENV)/.notebooks ## Make the notebooks from notebooks/src and run them.
	$(BIN)/python -m notebooks.build

bench: $(VENV)/.benchmark ## Run a benchmark: BENCH=loss, augmentation, serving, ...
	$(BIN)/python -m benchmarks.$(BENCH)

package: $(VENV)/.dev ## Build wheel and sdist, try the wheel in an empty environment.
	rm -rf build dist
	$(BIN)/python -m build
	$(BIN)/python tests/smoke/distribution.py dist
	$(PYTHON) -m venv --clear build/smoke
	build/smoke/bin/python -m pip install --quiet dist/*.whl
	cd build && smoke/bin/python ../tests/smoke/first_steps.py

clean: ## Remove the environment and everything a run has made.
	rm -rf $(VENV) .venv-beam build dist site *.egg-info runs
	rm -rf .pytest_cache .mypy_cache .ruff_cache

# One stamp per set of extras: a second run installs nothing unless the requirements have
# changed.
$(VENV)/.venv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	touch $@

$(VENV)/.demo: $(VENV)/.venv setup.cfg
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.test: $(VENV)/.venv setup.cfg
	$(BIN)/python -m pip install --quiet --editable '.[$(EXTRAS)]'
	touch $@ $(VENV)/.demo

$(VENV)/.dev: $(VENV)/.venv setup.cfg
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/.docs $(VENV)/.notebooks $(VENV)/.test $(VENV)/.demo

$(VENV)/.docs: $(VENV)/.venv setup.cfg
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@ $(VENV)/.demo

$(VENV)/.notebooks: $(VENV)/.venv setup.cfg
	$(BIN)/python -m pip install --quiet --editable '.[notebooks]'
	touch $@ $(VENV)/.demo

$(VENV)/.benchmark: $(VENV)/.venv setup.cfg
	$(BIN)/python -m pip install --quiet --editable '.[benchmark]'
	$(BIN)/python -m pip install --quiet --no-deps recbole
	touch $@ $(VENV)/.demo
