# `make demo` and `make test` do all of their own set-up, in .venv.
# Needed beforehand: Python 3.11 and a C++ compiler.
PYTHON ?= $(firstword $(shell command -v python3.11 python3.12 python3.13 python3.10 python3 2>/dev/null))
VENV := .venv
BIN := $(VENV)/bin
# Processes that share the tests.
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
# The native module is compiled again when any of these change; Python files are used where they lie.
BUILT_FROM := pyproject.toml setup.py constraints.txt $(shell find csrc -type f)

.PHONY: demo test test-long test-ecosystem bench lint docs clean triton-3.6
.DELETE_ON_ERROR:

demo: $(VENV)/.ready-demo
	mkdir -p out
	$(BIN)/aafast demo --out out/demo

test: $(VENV)/.ready-test
	$(BIN)/python -m pytest tests -n $(JOBS) --dist worksteal

test-long: $(VENV)/.ready-test
	$(BIN)/python -m pytest tests --long -n $(JOBS) --dist worksteal

# The tests beside deepinv, which the usual set-up leaves out: it brings some 60 MB.
test-ecosystem: $(VENV)/.ready-ecosystem
	$(BIN)/python -m pytest tests/compat tests/bench/test_anderson.py

bench: $(VENV)/.ready-test
	mkdir -p out
	$(BIN)/aafast bench --out out/bench.jsonl

# The Triton tests once more under the oldest release that is supported, a download of some 200 MB kept in build/.
triton-3.6: build/triton-3.6/.ready $(VENV)/.ready-test
	PYTHONPATH=build/triton-3.6 $(BIN)/python -m pytest tests/kernels

build/triton-3.6/.ready: $(VENV)/.ready-base
	rm -rf $(@D)
	$(PIP) install --no-deps --target $(@D) "triton==3.6.*" "numpy<2.4"
	@touch $@

lint: $(VENV)/.ready-test
	$(BIN)/ruff check
	$(BIN)/mypy

# The documents as a site, in build/site.
docs: $(VENV)/.ready-test
	$(BIN)/python -m mkdocs build --strict

clean:
	rm -rf $(VENV) build dist out *.egg-info aafast/_C*.so .pytest_cache .ruff_cache .mypy_cache .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch first and from the pin: left to itself, pip may pick a build with gigabytes of GPU libraries.
$(VENV)/.ready-base: constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python found; install 3.11, or call make PYTHON=/its/path"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt torch numpy "setuptools>=77" "pybind11>=2.13" ninja
	@touch $@

$(VENV)/.ready-demo: $(VENV)/.ready-base $(BUILT_FROM)
	$(PIP) install -c constraints.txt --no-build-isolation -e ".[survey,report,baselines]"
	@touch $@

$(VENV)/.ready-test: $(VENV)/.ready-base $(BUILT_FROM)
	$(PIP) install -c constraints.txt --no-build-isolation -e ".[test]"
	@touch $@

$(VENV)/.ready-ecosystem: $(VENV)/.ready-test
	$(PIP) install -c constraints.txt --no-build-isolation -e ".[test,deepinv]"
	@touch $@
