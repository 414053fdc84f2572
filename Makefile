# The verbs of this project; CI calls only them. `make help` lists them.
# Everything is made inside the checkout: .venv from the locked wheels, target/ from Cargo.lock.

.DEFAULT_GOAL := help
SHELL := /bin/sh
export PATH := $(PATH):$(HOME)/.cargo/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_QUIET := 1
VENV := .venv
BIN := $(VENV)/bin
CORE := $(shell find rust_ext -name target -prune -o \( -name '*.rs' -o -name Cargo.toml \) -print 2>/dev/null)
PYTHON_SOURCES := pyledger server tests $(wildcard benchmarks loadtests)
RUST_MINOR_MIN := 88
# PyO3 asks a Python how to link; always the project's own.
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python

.PHONY: help
help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' Makefile

.PHONY: run
run: build ## build what changed and serve on 127.0.0.1:8080 with an embedded PostgreSQL
	@exec $(BIN)/python -m pyledger.cli serve --dev

.PHONY: test
test: build ## run the tests, Rust and Python
	cargo test --locked --package pyledger-core --package pyledger-faults
	$(BIN)/python -m pytest -m "not speed and not planted" $(PYTEST_ARGS)

.PHONY: bench
bench: build ## measure everything, with proof, in about five minutes (BENCH_ARGS=--full for the sizes that are kept)
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

.PHONY: load
load: build ## Locust against a server of its own; judged, priced, reported (LOAD_ARGS=--gate for 60 seconds)
	$(BIN)/python -m loadtests $(LOAD_ARGS)

.PHONY: faults
faults: build ## do every kind of harm, half a minute or one cycle of each (FAULTS_ARGS=all: whole; "C1 --cycles 300")
	$(BIN)/python -m tests.faults $(or $(FAULTS_ARGS),all --minutes 0.5)

.PHONY: planted
planted: build ## can the fault program fail? every bug on purpose, each against the row that must see it
	$(BIN)/python -m pytest -m "planted or not planted" tests/faults/test_core_rows.py tests/faults/test_simulation.py tests/faults/test_planted.py

.PHONY: gates
gates: build ## did anything get slower? planted slow-downs, ratios of one run against their margins, Locust
	$(BIN)/python -m pytest -m speed -k "sleep_in_commit or double_the_engine" tests/benchmarks
	$(BIN)/python -m benchmarks.gates $(GATES_ARGS)
	$(BIN)/python -m loadtests --gate

.PHONY: lint
lint: build ## formatting, types, layers and warnings, in both languages
	$(BIN)/ruff check $(PYTHON_SOURCES)
	$(BIN)/ruff format --check $(PYTHON_SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

.PHONY: build
build: tools $(VENV)/.built ## make .venv and the extension, if anything changed

$(VENV)/.built: $(VENV)/.installed $(CORE) Cargo.toml Cargo.lock pyproject.toml
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/maturin develop --release --quiet
	@touch $@

# A venv that was left half made, or whose Python has gone, is made anew.
$(VENV)/.installed: requirements.lock
	@$(BIN)/python -c '' 2>/dev/null || { python=$$($(find_python)) && "$$python" -m venv --clear $(VENV); }
	$(BIN)/python -m pip install --require-hashes --only-binary :all: --requirement requirements.lock
	@touch $@

# The first of these that is a Python the lock file was made for.
define find_python
for python in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && \
	{ echo "$$python"; exit 0; }; done; exit 1
endef

.PHONY: tools
tools:
	@missing=0; miss() { echo "missing: $$1" >&2; missing=1; }; \
	python=$$($(find_python)) || miss "Python 3.11, 3.12 or 3.13 (say PYTHON=/path/to/python if it is not on PATH)"; \
	[ -z "$$python" ] || "$$python" -c 'import ensurepip, venv' 2>/dev/null || \
		miss "Python's venv module (Debian and Ubuntu: apt-get install python3-venv)"; \
	rust=$$(rustc --version 2>/dev/null | sed -n 's/^rustc 1\.\([0-9]*\)\..*/\1/p'); \
	[ "$${rust:-0}" -ge $(RUST_MINOR_MIN) ] && cargo --version >/dev/null 2>&1 || \
		miss "a Rust toolchain of 1.$(RUST_MINOR_MIN) or newer (rustup installs one)"; \
	command -v cc >/dev/null 2>&1 || miss "a C linker, cc (Debian and Ubuntu: apt-get install gcc libc6-dev)"; \
	exit $$missing
