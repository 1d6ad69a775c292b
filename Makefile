# `make` lists the targets. All that is installed goes to .venv, from hash-locked wheels.
# PYTHON=python3.12 chooses another interpreter, ARGS=... goes to `up`, `storm`, `bench` or to pytest.

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
LOCKED := --quiet --only-binary :all: --require-hashes

# What is installed stands in these stamps; they are older than a lock file that has changed.
RUNTIME := $(VENV)/.runtime
EVERYTHING := $(VENV)/.everything

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup run test storm simulate mutants prove bench check fmt proto lock

help: ## List the targets
	@awk -F ' *## *' '/^[a-z]+:.* ## /{ sub(/:.*/, "", $$1); printf "  make %-8s  %s\n", $$1, $$2 }' \
		$(firstword $(MAKEFILE_LIST))

setup: $(EVERYTHING) ## Install all that running, testing and checking needs into .venv

run: $(RUNTIME) ## Start the whole platform; Ctrl-C stops it (ARGS="--port 8081")
	@exec $(BIN)/mercato up $(ARGS)

test: $(EVERYTHING) ## Run every test against the real servers (ARGS="tests/order -k cancel")
	@$(BIN)/python -m pytest $(ARGS)

prove: $(EVERYTHING) ## Prove each guarantee at its full size (ARGS="-k g10"; PROOF_SCALE=0.1)
	@$(BIN)/python -m pytest tests/proof $(ARGS)

mutants: $(EVERYTHING) ## Put faults into copies of the platform and show what finds each
	@$(BIN)/python -m tests.mutants

simulate: $(EVERYTHING) ## Run the order protocol under seeded faults (SEEDS=10000; SEED=7 shows one)
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),1000))

storm: $(RUNTIME) ## Put a platform of its own under load and faults (ARGS="--seed 7")
	@exec $(BIN)/mercato storm $(ARGS)

bench: $(RUNTIME) ## Measure the platform and what limits it on this machine (ARGS="--quick")
	@exec $(BIN)/python -m benchmarks $(ARGS)

check: $(EVERYTHING) ## Check format, lint, types, contracts, style, generated code, YAML, dependencies
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest --quiet tests/test_tidy.py
	$(BIN)/python tools/generate_pb.py --check
	$(BIN)/yamllint --strict .
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml deploy/compose.secure.yaml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/zizmor --offline --quiet --no-progress .github/workflows
	$(BIN)/python tools/vulnerabilities.py

fmt: $(EVERYTHING) ## Format the code, and mend what ruff can mend
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

proto: $(EVERYTHING) ## Generate src/mercato/pb from its .proto files
	$(BIN)/python tools/generate_pb.py

lock: ## Renew requirements/*.lock (needs uv; ARGS=--upgrade takes newer versions)
	@requirements/lock $(ARGS)

$(RUNTIME): requirements/run.lock pyproject.toml $(BIN)/python
	@echo "installing what Mercato needs to run (once; 350 MB) ..."
	@$(PIP) install $(LOCKED) -r requirements/run.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(EVERYTHING): requirements/dev.lock pyproject.toml $(BIN)/python
	@echo "installing what Mercato and its tests need (once; 520 MB) ..."
	@$(PIP) install $(LOCKED) -r requirements/dev.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@ $(RUNTIME)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Mercato needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "this Python cannot make virtual environments; on Debian and Ubuntu mend it with:" >&2; \
		echo "  apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)
