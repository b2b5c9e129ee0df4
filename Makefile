# Everything runs in .venv, which `make setup` builds with nothing but Python 3.11+ and pip.

PYTHON ?= python3
# More arguments for pip, for example the index of CPU builds where torch would otherwise bring CUDA with it.
PIP_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test check lint types docs format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## build .venv with everything pinned (about two minutes)

$(STAMP): pyproject.toml constraints.txt
	@command -v "$(PYTHON)" > /dev/null || { echo "make: no $(PYTHON) here; try make setup PYTHON=python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; v = sys.version_info; \
	v >= (3, 11) or sys.exit("Rung needs Python 3.11 or newer, and $(PYTHON) is %d.%d; try make setup PYTHON=python3.11" % v[:2])'
	@echo "building $(VENV) (about two minutes)"
	@"$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP) ## train a policy and its process reward model from scratch, here, in minutes
	@$(BIN)/rung demo overwrite=true

test: $(STAMP) lint types ## lint, types and every test, the slow ones included
	@$(BIN)/python -m pytest

check: $(STAMP) lint types ## lint, types and the fast tests
	@$(BIN)/python -m pytest -m "not slow"

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(STAMP)
	@$(BIN)/mypy

docs: $(STAMP) ## build the documentation's site into site/; a warning is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "open site/index.html"

format: $(STAMP) ## rewrite the code in the house's format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: ## remove .venv, caches and build output (never runs/)
	rm -rf $(VENV) site .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
