# Everything here needs Python 3.11 or later and nothing else: each command makes its virtual environment when it is
# missing, installs into it what the command needs, and runs. Set PYTHON to choose the interpreter, VENV the place.

VENV ?= .venv
WORKERS ?= 2
ARGS ?=
BIN := $(VENV)/bin
# The first of these that is recent enough; a shim that is on the PATH but cannot run is passed over.
CANDIDATES := python3 python3.15 python3.14 python3.13 python3.12 python3.11
PYTHON ?= $(shell for python in $(CANDIDATES); do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$python" && break; done)

# Errors only: pip's warnings are about the machine, not about us.
INSTALL := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check
RUNTIME := $(VENV)/.installed-scheduler
TEST := $(VENV)/.installed-test
CHECK := $(VENV)/.installed-check
DEV := $(VENV)/.installed-dev

.DELETE_ON_ERROR:
.PHONY: environment environment-to-check help demo test lowest nightly kubernetes lint types contracts check coverage bench house clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(RUNTIME) ## archive the standard library with the reference scheduler
	$(BIN)/lifecycle run docs/examples/archive.toml $(ARGS)

test: $(TEST) ## run the tests
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

lowest: $(TEST) ## run the tests of the core with the oldest versions that it allows
	$(INSTALL) --no-deps --upgrade --target $(VENV)/lowest $$($(BIN)/python -c "import tomllib; \
		print(*(it.replace('>=', '==') for it in tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies']))")
	PYTHONPATH=$(VENV)/lowest $(BIN)/python -m pytest -n $(WORKERS) -m 'not nightly and not slow and not kubernetes' \
		--ignore tests/scheduler --ignore tests/cli $(ARGS)

nightly: $(TEST) ## run the tests that are sized for a night
	$(BIN)/python -m pytest -n $(WORKERS) -m nightly --timeout 7200 $(ARGS)

kubernetes: $(TEST) ## build a Kubernetes API server, once, and run the tests that talk to it
	.ci/kubernetes
	LIFECYCLE_KUBERNETES_REQUIRED=1 $(BIN)/python -m pytest -n $(WORKERS) -m 'not nightly or kubernetes' --timeout 900 \
		tests/kubernetes $(ARGS)

check: lint types contracts ## all that is checked without running anything

lint: $(CHECK) ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(CHECK) ## check the types, and that the public face is fully typed
	$(BIN)/mypy --strict
	$(BIN)/mypy --strict tests/typed_face.py tests/typed_star.py
	PATH="$(abspath $(BIN)):$$PATH" VIRTUAL_ENV="$(abspath $(VENV))" basedpyright
	PATH="$(abspath $(BIN)):$$PATH" VIRTUAL_ENV="$(abspath $(VENV))" basedpyright --verifytypes lifecycle --ignoreexternal

contracts: $(CHECK) ## check who imports whom
	$(BIN)/lint-imports

coverage: $(TEST) ## measure branch coverage; the report names the lines that no test reaches
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n $(WORKERS) $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

bench: $(DEV) ## run every benchmark, ours beside its peers
	@for path in benchmarks/[a-z]*.py; do \
		module=benchmarks.$$(basename $$path .py); echo "== $$module"; $(BIN)/python -m $$module || exit 1; done

house: $(TEST) ## draw the house, and write the list of its rooms in CONTRIBUTING.md anew
	$(BIN)/python -m tests.docs.house

clean: ## remove what these commands have made
	rm -rf $(VENV) .ci/venv-* .coverage .coverage.* htmlcov build dist demo-output
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment only: .ci/run makes several at once. With the byte code of everything, which else each of the workers
# makes at the same time as the others; what cannot be imported is told by the tests.
environment: $(TEST)
environment-to-check: $(CHECK)
environment environment-to-check:
	@$(BIN)/python -m pytest --collect-only -qqq $(ARGS) >/dev/null 2>&1 || true

$(BIN)/pip:
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or later found; name one: make PYTHON=/path/to/python" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): pyproject.toml | $(BIN)/pip
	$(INSTALL) -e '.[scheduler]'
	@touch $@

$(TEST): pyproject.toml | $(BIN)/pip
	$(INSTALL) -e '.[test]'
	@touch $@ $(RUNTIME)

$(CHECK): pyproject.toml | $(BIN)/pip
	$(INSTALL) -e '.[test,lint]'
	@touch $@ $(TEST) $(RUNTIME)

$(DEV): pyproject.toml | $(BIN)/pip
	$(INSTALL) -e '.[dev]'
	@touch $@ $(CHECK) $(TEST) $(RUNTIME)
