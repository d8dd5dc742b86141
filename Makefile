# Each target sets up what it needs. VENV and PYTHON may be given: make test PYTHON=python3.12 VENV=.venv-3.12

VENV ?= .venv
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name) 2>/dev/null)))
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.ready-to-bench
FUZZ_READY := $(VENV)/.ready-to-fuzz
MINUTES ?= 5
ARGS ?=

.PHONY: help demo test schedules soak check fuzz format bench bench-rpc bench-connections bench-remote interop clean

help:  ## show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

demo: $(READY)  ## live stock prices from a server that crashes and comes back; ARGS="--seconds 5 --plain"
	@$(BIN)/python -m samples.stocks $(ARGS)

test: $(READY)  ## all tests, with the coverage floors
	@rm -f .coverage
	$(BIN)/python -m pytest -q --cov --cov-report= -p no:cacheprovider $(ARGS)
	@$(if $(ARGS),,$(BIN)/python tests/coverage_floor.py)

schedules: $(READY)  ## 10,000 random schedules of calls and broken links, in two processes
	@for half in 1 2; do \
		REFUSION_SCHEDULES=5000 $(BIN)/python -m pytest -q -p no:cacheprovider tests/unit/rpc/test_random_links.py & \
		running="$$running $$!"; \
	done; \
	for process in $$running; do wait $$process || failed=1; done; test -z "$$failed"

soak: $(READY)  ## a server and its clients under edits, cuts and restarts for MINUTES=5, one seed after another; ARGS="--seed 7"
	$(BIN)/python -m tests.soak --minutes $(MINUTES) $(ARGS)

check: $(READY) $(FUZZ_READY)  ## format, lint, types, layers, and every fuzzer for a moment
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy
	$(BIN)/basedpyright
	$(BIN)/python tests/typing/run.py
	$(BIN)/python -m fuzzing.run --seconds 1 --jobs 2 --fresh --seed 1

fuzz: $(FUZZ_READY)  ## each fuzzer for MINUTES=5, one after another; ARGS="--jobs 2 http" for two at a time, or for some
	$(BIN)/python -m fuzzing.run --seconds $$(( $(MINUTES) * 60 )) $(ARGS)
	$(BIN)/python -m fuzzing.extremes

format: $(READY)  ## format and fix what can be fixed
	$(BIN)/ruff check --fix-only -q .
	$(BIN)/ruff format -q .

bench: $(BENCH_READY)  ## the kernel beside its peers; ARGS=--quick for a look, here and below
	$(BIN)/python -m benchmarks.bench_kernel $(ARGS)

bench-rpc: $(BENCH_READY)  ## remote calls beside grpc.aio, hand-written JSON-RPC and others
	$(BIN)/python -m benchmarks.bench_rpc $(ARGS)

bench-connections: $(BENCH_READY)  ## memory of idle connections, and telling thousands of clients
	$(BIN)/python -m benchmarks.bench_connections $(ARGS)

bench-remote: $(BENCH_READY)  ## a read-mostly service over REST, plain calls and replicas; how clients start
	$(BIN)/python -m benchmarks.bench_remote $(ARGS)

interop: $(READY)  ## with the TypeScript packages of Fusion; REFUSION_TS is their built `ts` folder
	REFUSION_TS="$(REFUSION_TS)" $(BIN)/python -m pytest -q -p no:cacheprovider tests/interop $(ARGS)

clean:  ## remove everything that was made
	rm -rf $(VENV) .venv-* build dist .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# uv is used where it is there; otherwise the interpreter's own venv and pip do the same.
$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { echo "refusion needs Python 3.11 or newer on PATH" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11" >&2; exit 1; }
	@if command -v uv >/dev/null 2>&1; then \
		uv venv -q --allow-existing --python "$(PYTHON)" $(VENV) && \
		uv pip install -q --python $(BIN)/python -e ".[all]" --group dev; \
	else \
		$(PYTHON) -m venv $(VENV) && \
		$(BIN)/python -m pip install -q --disable-pip-version-check --upgrade "pip>=25.1" && \
		$(BIN)/python -m pip install -q --disable-pip-version-check -e ".[all]" --group dev; \
	fi
	@touch $@

# atheris has no wheel for some interpreters and platforms; then fuzzers do without, and say so.
$(FUZZ_READY): $(READY) pyproject.toml
	@if command -v uv >/dev/null 2>&1; then \
		uv pip install -q --only-binary atheris --python $(BIN)/python --group fuzz; \
	else \
		$(BIN)/python -m pip install -q --disable-pip-version-check --only-binary atheris --group fuzz; \
	fi || echo "atheris can't be installed here"
	@touch $@

# What only benchmarks need isn't installed for tests.
$(BENCH_READY): $(READY) pyproject.toml
	@if command -v uv >/dev/null 2>&1; then \
		uv pip install -q --python $(BIN)/python --group bench; \
	else \
		$(BIN)/python -m pip install -q --disable-pip-version-check --group bench; \
	fi
	@touch $@
