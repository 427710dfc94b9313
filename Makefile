# Everything one does here by hand. Set-up happens by itself, in .venv, and again when a lock changes.

.DEFAULT_GOAL := help
.PHONY: help run test soak check audit bench docs lock clean
SHELL  := /bin/bash
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
ARGS   :=
CONFIG :=

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/run.stamp ## Show the bridge at work beside a simulated AWX; CONFIG=file runs that configuration
	@exec $(BIN)/awx-bridge $(if $(CONFIG),run $(CONFIG),demo) $(ARGS)

test: $(VENV)/dev.stamp ## Run all tests; ARGS goes to pytest, as in ARGS="tests/pure -x"
	@$(BIN)/pytest $(ARGS)

soak: $(VENV)/dev.stamp ## Kill the bridge N=300 times at every boundary and at random, and compare with the truth
	@$(BIN)/python -m tests.faults.soak --rounds $(or $(N),300) $(ARGS)

check: $(VENV)/dev.stamp ## Check format, lint, types and who imports whom
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

audit: $(VENV)/dev.stamp ## Look for known holes in what we depend on, and for new ones in what we wrote
	@$(BIN)/bandit --quiet --severity-level medium --recursive bridge
	@$(BIN)/pip-audit --disable-pip --require-hashes -r requirements.txt

bench: $(VENV)/dev.stamp ## Measure speed; ARGS goes to the benchmark
	@$(BIN)/python -m bench $(ARGS)

docs: $(VENV)/dev.stamp ## Write the tables of the documentation anew from the code
	@$(BIN)/python docs/tables.py

lock: $(VENV)/dev.stamp ## Write the locks anew from pyproject.toml; ARGS=--upgrade takes newer versions
	@$(call compile,requirements.txt,pyproject.toml --extra fast)
	@$(call compile,requirements-build.txt,--group build)
	@$(call compile,requirements-dev.txt,pyproject.toml --extra fast --group dev -c requirements.txt -c requirements-build.txt)

clean: ## Remove .venv and everything that tools left behind
	@rm -rf $(VENV) .*_cache .hypothesis build dist
	@find . -name __pycache__ -prune -exec rm -rf {} +

compile = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-emit-index-url --custom-compile-command "make lock" $(ARGS) $(2) -o $(1)
install = $(PIP) install --quiet --require-hashes

$(BIN)/python:
	@for python in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	  echo "Setting up $(VENV) with $$($$python --version), once; this takes a minute"; \
	  $$python -m venv --clear $(VENV) && exit 0; \
	  rm -rf $(VENV); exit 1; \
	done; \
	echo "This needs Python 3.11 or newer: install one, or say where it is with make PYTHON=/path/to/python3" >&2; \
	exit 1

$(VENV)/run.stamp: requirements.txt requirements-build.txt pyproject.toml | $(BIN)/python
	@$(install) -r requirements.txt -r requirements-build.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt $(VENV)/run.stamp
	@$(install) -r requirements-dev.txt
	@touch $@
