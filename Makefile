# `make help` lists what there is. Works with GNU make 3.81 (macOS) and only Python >= 3.11 and a package index beside it.

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet --no-input
ARGS ?=
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test compiled wheel pythons laws faults seeds kills scale fuzz mutants lint lock llama-server mlflow smoke clean engines

help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z][a-z-]*:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo '  make run ARGS="--port 5000 --config config.yaml"    options for the gateway'
	@echo '  make run PYTHON=/opt/python3.13/bin/python3         the interpreter for .venv'
	@echo '  make test PYTEST_ARGS="-k config -x"                options for pytest'

run: $(VENV)/.run ## install into .venv and start the gateway on http://127.0.0.1:4000
	@exec $(PY) -m penstock serve $(ARGS)

test: lint ## lint, then every test (unit, laws, rules, docs, end to end)
	@$(PY) scripts/run_tests.py $(PYTEST_ARGS)

compiled: $(VENV)/.dev $(VENV)/.compile ## core, laws, runtime, server, stores and sdk on the compiled modules (needs a C compiler; half an hour)
	@$(PY) -m scripts.compiled.check -n auto -m "not faults and not serial" $(PYTEST_ARGS)
	@$(PY) -m scripts.compiled.check -m serial $(PYTEST_ARGS)

wheel: $(VENV)/.compile ## dist/: a wheel for any machine, and one for this kind with compiled modules (needs a C compiler)
	@$(PIP) wheel --no-deps --no-build-isolation -w dist .
	@HATCH_BUILD_HOOKS_ENABLE=1 $(PIP) wheel --no-deps --no-build-isolation -w dist .
	@ls dist/*.whl

pythons: $(VENV)/.dev ## the transport, runtime, server and end-to-end tests with every CPython >= 3.11 found here
	@$(PY) scripts/pythons.py $(ARGS)

laws: $(VENV)/.dev ## the laws with 20,000 examples each (PENSTOCK_LAWS=N for another count; about an hour)
	@PENSTOCK_LAWS=$${PENSTOCK_LAWS:-20000} $(PY) -m pytest -q -n auto --timeout 0 tests/laws $(PYTEST_ARGS)

faults: $(VENV)/.dev ## every fault under load, 20,000 requests each (PENSTOCK_FAULTS=N for another count; half an hour)
	@PENSTOCK_FAULTS_KEEP=1 $(PY) -m pytest -q -m faults tests/faults $(PYTEST_ARGS)

seeds: $(VENV)/.dev ## what came of each promise of the seeds: number, what, pass (a minute)
	@$(PY) -m scripts.seeds $(ARGS)

kills: $(VENV)/.dev ## kill a gateway a hundred times under load: its books must be right, and four with one cap, 200 clients (PENSTOCK_KILLS=N; six minutes)
	@PENSTOCK_KILLS=$${PENSTOCK_KILLS:-100} $(PY) -m pytest -q --timeout 0 -m '' tests/server/test_ledger_killed.py tests/server/test_ledger_processes.py $(PYTEST_ARGS)

engines: $(VENV)/.dev ## start and kill the real llama-server below a gateway at random moments: nothing may be left (PENSTOCK_CYCLES=50; minutes)
	@PENSTOCK_CYCLES=$${PENSTOCK_CYCLES:-50} $(PY) -m pytest -q --timeout 0 tests/engines/test_llama.py $(PYTEST_ARGS)

scale: $(VENV)/.dev ## lists and reports over ten million requests, 10,000 teams, 40,000 keys (ten minutes, 25 GB of /tmp; ARGS="--url postgresql://...")
	@nice -n 10 $(PY) -m tests.scale $(ARGS)

mutants: $(VENV)/.dev ## plants known faults one by one and shows that a test fails for each (a few minutes)
	@$(PY) -m tests.mutants $(ARGS)

fuzz: $(VENV)/.dev ## schemathesis asks every URL 300 times, other things each time (PENSTOCK_FUZZ=N for another count; half an hour)
	@PENSTOCK_FUZZ=$${PENSTOCK_FUZZ:-300} $(PY) -m pytest -q tests/e2e/clients/test_schemathesis.py $(PYTEST_ARGS)

lint: $(VENV)/.dev ## ruff and mypy (strict in penstock/core and penstock/runtime/http)
	@echo "==> ruff"
	@$(PY) -m ruff check --quiet .
	@echo "==> mypy"
	@$(PY) -m mypy --no-error-summary

smoke: ## what a newcomer does: fresh clone, make run, the printed curl line, make lint
	@sh scripts/smoke.sh

lock: $(VENV)/.made ## renew requirements*.lock from pyproject.toml
	@$(PIP) install uv
	@UV=$(CURDIR)/$(VENV)/bin/uv sh scripts/lock.sh

llama-server: .cache/llama-server/tiny.gguf ## build llama.cpp's server and a tiny model for the end-to-end tests (4 to 12 minutes)
	@echo "export LLAMA_SERVER=$(CURDIR)/.cache/llama-server/llama-server"

.cache/llama-server/tiny.gguf: scripts/build_llama_server.sh scripts/tiny_gguf.py $(VENV)/.made
	@sh scripts/build_llama_server.sh $(PY) .cache/llama-server

mlflow: ## install a real MLflow server outside of this folder, for the test of that sink (a minute, 1 GB)
	@python3 -m venv $(HOME)/.cache/penstock-tests/mlflow
	@$(HOME)/.cache/penstock-tests/mlflow/bin/pip install --quiet --disable-pip-version-check 'mlflow>=3.6'

clean: ## remove .venv, caches and build output
	rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find penstock tests -name __pycache__ -type d -prune -exec rm -rf {} +

# An upgrade of the system's Python leaves dangling links in .venv behind: then start over.
$(shell test -x $(PY) || rm -f $(VENV)/.made)

# Stamps, so that a second `make run` starts at once. pip checks every download against the hashes in the lock files.
$(VENV)/.made: scripts/venv.sh
	@MAKE_GOAL="$(MAKECMDGOALS)" sh scripts/venv.sh $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.made requirements.lock requirements-build.lock pyproject.toml
	@echo "==> 2/3 installing the packages of requirements.lock"
	@$(PIP) install --no-deps --require-hashes -r requirements.lock -r requirements-build.lock
	@echo "==> 3/3 installing penstock"
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.lock
	@echo "==> installing the packages of requirements-dev.lock"
	@$(PIP) install --no-deps --require-hashes -r requirements-dev.lock
	@touch $@

# mypyc needs the types of what penstock imports, and a C compiler.
$(VENV)/.compile: $(VENV)/.run requirements-compile.lock
	@echo "==> installing the packages of requirements-compile.lock"
	@$(PIP) install --no-deps --require-hashes -r requirements-compile.lock
	@touch $@

-include bench/Makefile.inc
