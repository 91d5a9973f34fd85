# Set-up included: every target makes .venv from requirements.lock first, once per change of the lock.
# PYTHON chooses the interpreter (3.11–3.13):            make test PYTHON=python3.12
# PRESET and ROOT run the stages on another data set:    make repro PRESET=noto-emoji ROOT=/path/to/noto-emoji

# BUNDLE, HOST and PORT say what is served and where:    make serve PORT=8080

PYTHON ?= python3
# Empty: that of the version in production, or else models/bundle.
BUNDLE ?=
HOST ?= 127.0.0.1
PORT ?= 3000
# Relative: make cuts the name of a file at a space, and the folder may have one in its name.
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
UV := $(BIN)/uv

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# `python` in a stage's command is the environment's own.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Nothing phones home, and models come from files.
export DVC_NO_ANALYTICS := 1
export ITERATIVE_DO_NOT_TRACK := 1
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export BENTOML_DO_NOT_TRACK := True
export HF_HUB_OFFLINE := 1
export HF_HUB_DISABLE_TELEMETRY := 1
# An interpreter's own variables would let foreign packages in.
unexport PYTHONHOME PYTHONPATH VIRTUAL_ENV
# uv installs sources only. Unless Python may keep what it compiles of them, every stage and every test compiles torch
# and its like anew: 14 seconds of a core to import a stage of training, in place of 6.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

# uv comes from the lock itself, by pip, hash-checked; then uv installs the rest of the lock.
$(INSTALLED): requirements.lock pyproject.toml
	@test -x $(BIN)/python || { \
	    $(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 14) else f"Python 3.11 to 3.13 is needed, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=python3.12 …")'; \
	    $(PYTHON) -m venv $(VENV); \
	}
	@test -x $(UV) || { \
	    $(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip; \
	    awk '/^[^ ]/ {uv = /^uv==/} uv' requirements.lock > $(VENV)/uv.txt; \
	    $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $(VENV)/uv.txt; \
	}
	$(UV) pip sync --python $(BIN)/python --require-hashes requirements.lock
	$(UV) pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation --offline --editable .
	@touch $@

.PHONY: setup
setup: $(INSTALLED) ## Make .venv from requirements.lock and install the project into it

.PHONY: repro
repro: $(INSTALLED) ## Run the pipeline: data → … → exported; with PRESET= [ROOT=] on other data, in runs/<preset>
ifdef PRESET
	@vlp run --preset '$(PRESET)' $(if $(ROOT),--root '$(ROOT)')
else
	@$(if $(ROOT),echo 'error: ROOT needs a PRESET: make repro PRESET=<name> ROOT=$(ROOT)' >&2; exit 2)
	@dvc repro
endif

.PHONY: tune
tune: $(INSTALLED) ## Search better parameters for TASK= (TRIALS=): trials are experiments of DVC's; APPLY=1 takes the best
	@$(if $(TASK),,echo 'error: which task? make tune TASK=matching' >&2; exit 2)
	@vlp tune '$(TASK)' $(if $(TRIALS),--trials '$(TRIALS)') $(if $(APPLY),--apply)

.PHONY: up
up: $(INSTALLED) ## Start Prefect's server, a worker, the deployments, and the version in production
	@python -m flows.local up

.PHONY: down
down: $(INSTALLED) ## End what `make up` started
	@python -m flows.local down

.PHONY: pipeline
pipeline: $(INSTALLED) ## Run the stages as a flow, in a worktree of its own; results are a branch
	@python -m flows.pipeline

.PHONY: retrain
retrain: $(INSTALLED) ## Train on new data, and promote the result if it is better
	@python -m flows.retrain

.PHONY: tidy
tidy: $(INSTALLED) ## Cut back what runs have left: worktrees, branches, bundles, logs, and of DVC's cache what nobody names
	@python -m flows.cleanup

.PHONY: promote
promote: $(INSTALLED) ## Put the results of COMMIT= (HEAD) into production
	@python -m flows.promotion '$(or $(COMMIT),HEAD)'

.PHONY: rollback
rollback: $(INSTALLED) ## Return to the version before, or to VERSION=
	@python -m flows.rollback $(VERSION)

# Three workers for two cores: tests of servers and processes wait a quarter of their time, and nobody should with them.
.PHONY: test
test: $(INSTALLED) ## Run the tests, offline: all but make soak
	@pytest -q -m engine
	@pytest -q -n 3 --dist loadscope --no-loadscope-reorder -m 'not engine and not soak'

.PHONY: soak
soak: $(INSTALLED) ## Run the flows from end to end: servers, kills, promotions under load; many minutes
	@pytest -q -m soak

.PHONY: test-unit
test-unit: $(INSTALLED) ## Run the fast tests only
	@pytest -q -m engine
	@pytest -q -n 3 --dist loadscope --no-loadscope-reorder -m 'not slow and not gpu and not engine and not soak'

.PHONY: serve
serve: $(INSTALLED) ## Build a bento of the version in production, or else of models/bundle, and serve it: http://127.0.0.1:3000
	@python scripts/bento.py $(if $(BUNDLE),--bundle '$(BUNDLE)') --serve --host '$(HOST)' --port '$(PORT)'

.PHONY: bento
bento: $(INSTALLED) ## Build that bento only; then: bentoml containerize vlp:latest
	@python scripts/bento.py $(if $(BUNDLE),--bundle '$(BUNDLE)')

.PHONY: check
check: $(INSTALLED) ## Check format, lint, types, import direction and the house tests
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	pytest -q -m house

.PHONY: deps
deps: $(INSTALLED) ## Rewrite the code that dvc.yaml lists under deps: from what the stages import
	PYTHONPATH=tests python -m support.rewrite_deps

.PHONY: format
format: $(INSTALLED) ## Format the code and sort its imports
	ruff format .
	ruff check --fix-only .

# Universal: one lock for every platform and Python; no index address, no path of this machine.
.PHONY: lock
lock: $(INSTALLED) ## Compile pyproject.toml into requirements.lock (UPGRADE=1 takes newer versions)
	$(UV) pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes \
	    --no-emit-index-url --no-header --no-annotate $(if $(UPGRADE),--upgrade) \
	    --output-file requirements.lock pyproject.toml
	$(UV) pip compile --quiet --universal --python-version 3.11 --extra serve --constraint requirements.lock \
	    --no-emit-index-url --no-header --no-annotate --output-file service/requirements.txt pyproject.toml

.PHONY: clean
clean: ## Remove .venv and what tools cache; data, models, metrics and DVC's cache stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist src/*.egg-info
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
