# Needs Python 3.11 or later and make; everything else goes into .venv. Type `make` for the list of targets.

# 3.11 first, because that is what constraints.txt was made with.
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13; do \
  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v $$python; break; }; done)
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt
PYTEST := $(BIN)/python -m pytest
CORE   := build/core

# Versions are pinned in constraints.txt.
PEERS  := torchvision timm

# Empty files that say what .venv holds, so that a second run starts at once.
DEMO_READY := $(VENV)/.demo-ready
DEV_READY  := $(VENV)/.dev-ready
SETUP_FROM := pyproject.toml constraints.txt

# Dozens of tests start Python again, which is quick with compiled files at hand; `make clean` removes them.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-fast test-full core lint format tables bench constraints clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

demo: $(DEMO_READY) ## the main job in three minutes: describe, train, evaluate and predict on real digits
	@$(BIN)/cnnatomy demo

test: $(DEV_READY) ## every property, long ones on one network of each kind: about seven minutes
	@$(PYTEST) -n 2 --dist worksteal -m "not full"

test-fast: $(DEV_READY) ## the tests to run while working: under a minute
	@$(PYTEST) -n 2 --dist worksteal -q -m "not slow and not peers and not full"

test-full: $(DEV_READY) ## every property of every network, and what every command answers: before landing
	@bash -o pipefail -c '$(PYTEST) -n 2 --dist worksteal | tee $(VENV)/full.txt'; code=$$?; \
	  { $(BIN)/python benchmarks/_machine.py; tail -n 1 $(VENV)/full.txt; } > tests/full.txt; exit $$code

# A wheel, not this checkout: so it is also seen that devices.yaml and all else that is no Python is in it.
core: $(DEMO_READY) ## describe, count and criticise in an environment of nothing but PyYAML and this package
	@rm -rf $(CORE)
	@$(BIN)/python -m venv --without-pip $(CORE)
	@$(BIN)/python -m pip wheel -qq --disable-pip-version-check --no-deps --no-build-isolation -w $(CORE) .
	@$(BIN)/python -m pip --python $(CORE) install -qq --disable-pip-version-check --no-deps -c constraints.txt \
	  PyYAML $(CORE)/*.whl
	@$(CORE)/bin/python -I tests/core.py

lint: $(DEV_READY) ## ruff (rules and format) and mypy --strict
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

format: $(DEV_READY) ## let ruff fix and format what it can
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

tables: $(DEV_READY) ## the printed tables of the lectures, recomputed, into docs/tables; the schema of designs; the rules; the layers
	@$(BIN)/python docs/tables/generate.py
	@$(BIN)/python -c 'from cnnatomy.readers.yaml import schema; print(schema.text(), end="")' > docs/design.schema.json
	@$(BIN)/python -c 'from cnnatomy.report import rules; print(rules.page(), end="")' > docs/rules.md
	@$(BIN)/python -c 'from cnnatomy.report import layers; print(layers.page(), end="")' > docs/layers.md
	@$(BIN)/python -c 'from cnnatomy.report import rules; print(rules.table(), end="")' > docs/critique-table.md
	@$(BIN)/python docs/architecture.py
	@$(BIN)/python docs/limits.py
	@$(BIN)/python docs/onnx_nodes.py
	@$(BIN)/python docs/augmentation.py
	@$(BIN)/python docs/examples.py critique.md

bench: $(DEV_READY) ## every benchmark, one after another
	@set -e; for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python $$script; done

constraints: ## pin the newest versions that pyproject.toml allows (torch stays); then run `make lint test`
	@set -e; torch=$$(grep '^torch==' constraints.txt); \
	  $(PYTHON) -m venv --clear $(VENV); \
	  $(BIN)/python -m pip install -qq hatchling editables "$$torch"; \
	  $(BIN)/python -m pip install -qq --no-build-isolation -e '.[dev]' "$$torch"; \
	  vision=$$(grep '^torchvision==' constraints.txt); \
	  $(BIN)/python -m pip install -qq --no-deps timm "$$vision"; \
	  { grep '^#' constraints.txt; $(BIN)/python -m pip freeze --exclude-editable | sed -n 's/^\([^ @+]*==[^ +]*\).*/\1/p'; } \
	    > constraints.new; \
	  mv constraints.new constraints.txt; rm -rf $(VENV)

clean: ## remove .venv and everything that tools left (not your runs)
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "make: needs Python 3.11 or later, found '$(PYTHON)'; say where: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "make: $(PYTHON) cannot make a virtual environment (Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 1; }

# torch first and by its exact version: a looser wish may fetch gigabytes of another build.
$(DEMO_READY): $(SETUP_FROM) | $(BIN)/python
	@echo "setting up $(VENV) (once; a minute or two)"
	@$(PIP) "$$(grep '^torch==' constraints.txt)" hatchling editables
	@$(PIP) --no-build-isolation -e '.[train]'
	@touch $@

# The peers are only ever compared with, so they come without what they ask for (torchvision: a CUDA torch).
$(DEV_READY): $(DEMO_READY)
	@echo "adding the tools for development and the peers"
	@$(PIP) --no-build-isolation -e '.[dev]'
	@$(PIP) --no-deps $(PEERS)
	@touch $@
