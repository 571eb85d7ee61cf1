# Two commands matter: `make demo` and `make test`. Both set themselves up; they need python3 with venv, and a
# package index. What is installed stays under .envs/.

PYTHON ?= python3
FUZZ_SECONDS ?= 120
ENVS := .envs
DEV := $(ENVS)/dev
DEV_BIN := $(DEV)/bin
UV := $(ENVS)/uv/bin/uv
STAMP := $(DEV)/.installed
MATRIX = PATH="$(abspath $(ENVS)/uv/bin):$$PATH" $(ENVS)/uv/bin/python tests/packaging/matrix.py
export UV_PYTHON_DOWNLOADS = never
# Where pip has been pointed at another index, uv is pointed there too.
ifdef PIP_INDEX_URL
export UV_INDEX_URL = $(PIP_INDEX_URL)
endif

.PHONY: demo test test-all lint types layers unit wheel replay matrix frameworks bench bench-adapters bench-asgi bench-guard fuzz format clean
.PHONY: matrix-newest matrix-rotating redis

demo: $(ENVS)/demo/.installed  ## show what the library does
	@$(ENVS)/demo/bin/python -m highflame_middleware demo

test: lint types layers unit wheel matrix-newest matrix-rotating  ## everything that must pass before a change lands

test-all: lint types layers unit wheel matrix frameworks replay  ## test, with the whole matrix and every recording

lint: $(STAMP)
	$(DEV_BIN)/ruff check .
	$(DEV_BIN)/ruff format --check .

types: $(STAMP)
	$(DEV_BIN)/mypy
	$(DEV_BIN)/pyright --pythonpath $(DEV_BIN)/python

layers: $(STAMP)
	$(DEV_BIN)/lint-imports

unit: $(STAMP) redis
	$(DEV_BIN)/python -m pytest -n auto --dist worksteal

redis:  # the tests of sessions want a server of their own; without one they are skipped, and say so
	@command -v redis-server >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get && apt-get update -qq \
	  && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server; \
	} >/dev/null 2>&1 || true

wheel: $(STAMP)  ## the built wheel, installed alone, imported, run
	$(DEV_BIN)/python tests/packaging/check_wheel.py

replay: $(STAMP)  ## recorded traffic of TRAFFIC_DIR, through the SDK, bare and instrumented
	$(DEV_BIN)/python -m tests.replay.replaying

matrix: $(UV)  ## the seams on the floor, the last of each major and the newest of every SDK, on Python 3.11 to 3.13
	$(MATRIX) seams

frameworks: $(UV)  ## a real call through each framework, and beside other instrumentors
	$(MATRIX) frameworks

matrix-newest matrix-rotating: matrix-%: $(UV)
	$(MATRIX) $*

bench: $(STAMP)  ## costs as ratios; slow, and only meaningful on a quiet machine
	$(DEV_BIN)/python benchmarks/imports.py
	$(DEV_BIN)/python benchmarks/calls.py

bench-asgi: $(STAMP)  ## the ASGI door beside others, each goal of its costs with the figure; about a minute
	$(DEV_BIN)/python -m benchmarks.asgi

bench-adapters: $(UV) pyproject.toml  ## what a guard costs an agent's turn, and how often it is asked
	$(UV) venv --quiet --allow-existing --python $(ENVS)/uv/bin/python $(ENVS)/bench-crewai
	$(UV) pip install --quiet --python $(ENVS)/bench-crewai/bin/python --editable '.[crewai,testing]'
	$(ENVS)/bench-crewai/bin/python benchmarks/adapter_crewai.py
	$(UV) venv --quiet --allow-existing --python $(ENVS)/uv/bin/python $(ENVS)/bench-langgraph
	$(UV) pip install --quiet --python $(ENVS)/bench-langgraph/bin/python --editable '.[langgraph,testing]'
	$(ENVS)/bench-langgraph/bin/python benchmarks/adapter_langgraph.py

bench-guard: $(UV) pyproject.toml  ## the engine's figures, each beside its gate; needs GUARD_DATA; about ten minutes
	$(UV) venv --quiet --allow-existing --python $(ENVS)/uv/bin/python $(ENVS)/bench
	$(UV) pip install --quiet --python $(ENVS)/bench/bin/python --editable . --group training
	$(ENVS)/bench/bin/python -m benchmarks.guard

fuzz: $(UV) pyproject.toml  ## the tests in tests/asgi/test_fuzz*.py, led by coverage; FUZZ_SECONDS in all
	$(UV) venv --quiet --allow-existing --python $(ENVS)/uv/bin/python $(ENVS)/fuzz
	$(UV) pip install --quiet --python $(ENVS)/fuzz/bin/python --editable . --group dev --group fuzz
	$(ENVS)/fuzz/bin/python -m benchmarks.fuzz_asgi $(FUZZ_SECONDS)

format: $(STAMP)
	$(DEV_BIN)/ruff check --fix .
	$(DEV_BIN)/ruff format .

clean:
	rm -rf $(ENVS) dist build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

$(UV):
	$(PYTHON) -m venv $(ENVS)/uv
	$(ENVS)/uv/bin/python -m pip install --quiet --disable-pip-version-check uv

$(STAMP): $(UV) pyproject.toml
	$(UV) venv --quiet --allow-existing --python $(ENVS)/uv/bin/python $(DEV)
	$(UV) pip install --quiet --python $(DEV_BIN)/python --editable . --group dev
	@touch $@

$(ENVS)/demo/.installed: $(UV) pyproject.toml
	$(UV) venv --quiet --allow-existing --python $(ENVS)/uv/bin/python $(ENVS)/demo
	$(UV) pip install --quiet --python $(ENVS)/demo/bin/python --editable '.[demo]'
	@touch $@
