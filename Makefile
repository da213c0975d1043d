# `make help` lists the commands. Each one sets up what it needs first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := UV_NO_PROGRESS=1 $(BIN)/uv
COMPILE := $(UV) pip compile -q --universal --python-version 3.11 \
	--generate-hashes --no-header --no-annotate --no-emit-index-url
CRATE := src/spanrun/rust
RUST := $(shell find $(CRATE) -name target -prune -o -type f -print)
DENY = $(CARGO) deny --locked check licenses bans sources
CARGO := $(or $(CARGO),$(shell command -v cargo),$(wildcard $(HOME)/.cargo/bin/cargo))
NATIVE := hatch_build.py $(wildcard native/*) $(RUST)
MISSING := src/spanrun/_core.missing.txt
COMMA := ,
ARGS ?=
MINUTES ?= 30
# Tests of a file stay together: what a session starts is started in each worker. The
# files keep the order that tests/conftest.py gives them. A worker that dies ends the run,
# as the others would wait for its tests for ever.
WORKERS ?= -n auto --dist loadfile --no-loadscope-reorder --max-worker-restart 0
# Hundreds of programs import spanrun in the tests: compile it once.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*/\1/p' $(MAKEFILE_LIST))

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) \
		| awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: $(VENV)/run.stamp ## run the main job on real text, and show where the time went
	@$(BIN)/spanrun demo $(ARGS)

test: $(VENV)/dev.stamp ## lint, types, then all tests (ARGS="-k name" for pytest)
	@$(MAKE) --no-print-directory -j2 check
	@$(BIN)/python -m pytest $(WORKERS) $(ARGS)

check: lint page rust types ## lint and types only

check-fast: $(VENV)/dev.stamp lint page rust ## lint, and the tests that start nothing: a minute
	@$(BIN)/python -m pytest $(WORKERS) -q -m "not slow" $(ARGS)

lint: $(VENV)/dev.stamp ## ruff: rules and format
	@echo "· ruff"
	@$(BIN)/ruff check -q .
	@$(BIN)/ruff format -q --check .

page: $(VENV)/dev.stamp ## oxlint: the page's JavaScript (needs the browser's packages)
	@echo "· oxlint"
	@$(BIN)/python instrumentation/lint_page.py

ifeq ($(CARGO),)
rust: $(VENV)/dev.stamp
	@echo "· cargo wasn't found: the Rust part isn't checked"
	@test -z "$$SPANRUN_REQUIRE_NATIVE"
else
rust: $(VENV)/rust.stamp ## cargo: format, clippy and tests, after a change in Rust

$(VENV)/rust.stamp: $(RUST) | $(VENV)/dev.stamp
	@echo "· cargo fmt, clippy, test"
	@cd $(CRATE); log=$(CURDIR)/$(VENV)/rust.log; \
	if ! $(CARGO) fetch -q --locked > $$log 2>&1; then \
		echo "  left out, without its crates: $$(head -n 1 $$log)"; \
		test -z "$$SPANRUN_REQUIRE_NATIVE"; exit; \
	fi; \
	export PYO3_PYTHON=$(CURDIR)/$(BIN)/python; \
	{ $(CARGO) fmt --check \
		&& $(CARGO) clippy -q --locked --all-targets -- -D warnings \
		&& $(CARGO) test -q --locked \
		&& { ! command -v cargo-deny || $(DENY); }; } > $$log 2>&1 \
		|| { cat $$log; exit 1; }; \
	touch $(CURDIR)/$@
endif

audit: ## the crates' licences and sources (ARGS=advisories; needs cargo-deny)
	@cd $(CRATE) && $(DENY) $(ARGS)

types: mypy pyright ## pyright strict and mypy strict

mypy: $(VENV)/dev.stamp
	@echo "· mypy"
	@$(BIN)/mypy --no-error-summary

pyright: $(VENV)/dev.stamp
	@echo "· pyright"
	@$(BIN)/pyright --level error > $(VENV)/pyright.log || { cat $(VENV)/pyright.log; exit 1; }

fmt: $(VENV)/dev.stamp ## format, and fix what ruff can fix
	@$(BIN)/ruff check -q --fix . ; $(BIN)/ruff format -q .

viewer: ## build the page of reports from viewer/ (needs node)
	@cd viewer && { [ ! -L node_modules ] || rm node_modules; } && npm ci --silent --ignore-scripts --no-audit --no-fund && npm run --silent build
	@ls -l src/spanrun/view/page.*

bench-viewer: $(VENV)/dev.stamp ## the page with 100,000 jobs, in a headless browser
	@$(BIN)/python -m bench.viewer $(ARGS)

backends: ## provide the servers of the tests, and a headless browser (cached)
	@$(PYTHON) instrumentation/backends/provide.py $(ARGS)

stack: $(VENV)/dev.stamp ## Prometheus, Jaeger and a Collector on loopback, until Ctrl-C
	@$(BIN)/python instrumentation/stack.py

workload: $(VENV)/dev.stamp ## four runners in which all happens, and what did (ARGS="--seed 2")
	@$(BIN)/python -m instrumentation.workload $(ARGS)

questions: $(VENV)/dev.stamp ## what an on-call engineer asks of it, and what the backends answer (ARGS=--write)
	@$(BIN)/python -m instrumentation.workload.ask $(ARGS)

bench: $(VENV)/dev.stamp ## what a job costs, beside its rivals (ARGS=--quick; 8 min)
	@$(BIN)/python -m bench.runner $(ARGS)

bench-outage: $(VENV)/dev.stamp ## what a dead collector costs, the SDK beside the spool
	@$(BIN)/python -m bench.outage $(ARGS)

bench-clients: $(VENV)/dev.stamp ## the embeddings client and the transport, beside httpx and aiohttp
	@$(BIN)/python -m bench.clients $(ARGS)

bench-settings: $(VENV)/dev.stamp ## a traced job in each setting, beside `gather`
	@$(BIN)/python -m bench.settings $(ARGS)

bench-recordings: $(VENV)/dev.stamp ## the local store: its file, its reader, its memory
	@$(BIN)/python -m bench.recordings $(ARGS)

bench-ingest: $(VENV)/dev.stamp ## the pipeline, beside a plain loop
	@$(BIN)/python -m bench.ingest $(ARGS)

test-cluster: $(VENV)/dev.stamp ## the tests of RayEngine on a cluster of two nodes
	@$(BIN)/python -m tests.engines.cluster $(ARGS)

bench-engines: $(VENV)/dev.stamp ## jobs in other processes, with workers killed (ARGS=ray)
	@$(BIN)/python -m bench.engines $(ARGS)

kill-workers: $(VENV)/dev.stamp ## 100,000 jobs while workers are killed (ARGS=ray)
	@$(BIN)/python -m bench.engines_killed $(ARGS)

bench-logs: $(VENV)/dev.stamp ## 100,000 log records while the collector is down (4 min)
	@$(BIN)/python -m bench.logs $(ARGS)

soak: $(VENV)/dev.stamp ## all kinds of runs at full rate: whether memory grows (MINUTES=30)
	@MALLOC_MMAP_THRESHOLD_=131072 $(BIN)/python -m bench.soak --minutes $(MINUTES)

bench-resume: $(VENV)/dev.stamp ## 20,000 texts, an outage, a kill and a Ctrl-C: what it costs
	@$(BIN)/python -m bench.resume $(ARGS)

bench-rows: $(VENV)/dev.stamp ## 10 M rows through a checkpoint: whether memory grows (ARGS="--rows 2000000")
	@$(BIN)/python -m bench.rows $(ARGS)

test-long: $(VENV)/dev.stamp ## the long tests in full: 10,000 schedules, 600 kills, 1 M jobs
	@SPANRUN_SOAK=10000 $(BIN)/python -m pytest tests/stateful \
		tests/telemetry/queue/test_kills.py tests/policies/test_outage.py \
		tests/telemetry/recordings/test_kills.py tests/faults \
		-o faulthandler_timeout=14400 $(ARGS)

kills: $(VENV)/dev.stamp ## kill runs with a checkpoint at 1,000 points (10 min)
	@$(BIN)/python -m tests.faults.kills 1000 1

fuzz: $(VENV)/dev.stamp ## read what hostile services and files say: 1,000 of each kind
	@SPANRUN_FUZZ=1000 $(BIN)/python -m pytest tests/fuzz $(ARGS)

generate: $(VENV)/dev.stamp ## write the generated files anew
	@$(BIN)/python instrumentation/generate.py
	@$(BIN)/python dashboards/build.py
	@$(BIN)/spanrun slo compile instrumentation/slo/*.yaml --health \
		--out instrumentation/prometheus/rules
	@$(BIN)/python docs/_generate.py

changelog: $(VENV)/dev.stamp ## CHANGELOG.md from the news fragments (VERSION=0.1.0: release them)
	@$(if $(VERSION),$(BIN)/towncrier build --yes --version $(VERSION))
	@$(BIN)/python docs/_generate.py

lock: $(VENV)/dev.stamp ## resolve the dependencies anew, with hashes
	@$(COMPILE) requirements/bootstrap.in -o requirements/bootstrap.lock
	@$(COMPILE) pyproject.toml --extra all --extra ray --group build --group dev \
		-o requirements/dev.lock
	@$(COMPILE) pyproject.toml --extra all --group build \
		-c requirements/dev.lock -o requirements/run.lock

clean: ## remove what make made here (not the cached backends)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis dist build $(CRATE)/target

# The environment: made once, then again when a lock, the project file or what is
# compiled changes.
$(VENV)/bootstrap.stamp: requirements/bootstrap.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "spanrun needs Python 3.11 or later; $(PYTHON) is older. \
	Name another: make PYTHON=python3.12 …"; exit 78; }
	@echo "[1/3] making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check \
		--require-hashes -r requirements/bootstrap.lock
	@touch $@

define install
	@echo "[2/3] installing $$(grep -c == $(1)) locked packages ($(1))"
	@$(UV) pip install -q --python $(BIN)/python --require-hashes -r $(1)
	@echo "[3/3] installing spanrun$(if $(CARGO),: compiling $$(grep -c '^name' \
		$(CRATE)/Cargo.lock) crates of Rust$(COMMA) about 30 s the first time)"
	@$(UV) pip install -q --python $(BIN)/python --no-deps \
		--no-build-isolation -e .
	@test ! -f $(MISSING) || echo "      without its Rust part: $$(cat $(MISSING))"
	@touch $@
endef

$(VENV)/run.stamp: requirements/run.lock pyproject.toml $(NATIVE) $(VENV)/bootstrap.stamp
	$(call install,requirements/run.lock)

$(VENV)/dev.stamp: requirements/dev.lock pyproject.toml $(NATIVE) $(VENV)/bootstrap.stamp
	$(call install,requirements/dev.lock)
