# SPDX-License-Identifier: GPL-2.0-only
# `make demo` and `make test` set up what they need in a virtual environment of
# their own; nothing is installed outside it.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
export PIP_ROOT_USER_ACTION := ignore

.PHONY: help setup build demo test test-long faults lint bench bench-smoke cost-report sanitize tsan clean

help:
	@echo "make demo         fork's helpers over a real kernel's page tables"
	@echo "make test         the tests"
	@echo "make test-long    the tests that make test has only a sample of: minutes"
	@echo "make build        compiles what has changed in csrc/; make -C csrc check tests the C without Python"
	@echo "make faults       kills, signals, full disks, closed descriptors: minutes; make test has a sample"
	@echo "make lint         ruff and mypy"
	@echo "make bench        the benchmarks: minutes; bench-smoke: seconds"
	@echo "make cost-report  what the helpers cost: measures, and writes bench/COST.md; SMOKE=1: seconds"
	@echo "make sanitize     the tests with address and undefined-behaviour sanitizers"
	@echo "make tsan         threads that do everything at once, with the thread sanitizer"
	@echo "make clean        remove what was built"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "pgtable needs Python 3.11; try: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	    { echo "no virtual environment: apt-get install python3-venv" >&2; rm -rf $(VENV); exit 1; }

$(VENV)/.test: $(BIN)/python pyproject.toml setup.py
	@$(PYTHON) -c 'import pathlib, sys, sysconfig; \
	    sys.exit(not (pathlib.Path(sysconfig.get_path("include")) / "Python.h").exists())' || \
	    { echo "no Python.h: apt-get install python3-dev" >&2; exit 1; }
	@echo "setting up $(VENV): compiles the helpers for every instruction set, about a minute"
	@$(PIP) install --editable '.[test]'
	@touch $@

# Only what an extra adds: installing the project again would compile it again.
$(VENV)/.dev $(VENV)/.bench: $(VENV)/.%: $(VENV)/.test | build
	@$(BIN)/python -c 'import sys, tomllib; project = tomllib.load(open("pyproject.toml", "rb")); \
	    print("\n".join(project["project"]["optional-dependencies"][sys.argv[1]]))' $* > $(VENV)/$*.txt
	@$(PIP) install --requirement $(VENV)/$*.txt
	@touch $@

setup: build

# One edit of csrc/ compiles what includes it and links again: no need of pip.
build: $(VENV)/.test
	@$(BIN)/python setup.py -q build_ext --inplace

bench: $(VENV)/.bench
	$(BIN)/python -m bench

bench-smoke: $(VENV)/.bench
	$(BIN)/python -m bench --smoke

# SMOKE=1 writes below build/ only; REPEAT=1 measures twice and says how the two agree
cost-report: $(VENV)/.bench
	$(BIN)/python -m pgtable.cost.report $(if $(filter-out 0,$(SMOKE)),--smoke) $(if $(filter-out 0,$(REPEAT)),--repeat)

demo: build
	@$(BIN)/python bench/demo.py

# JOBS=1: one after the other, in one process
JOBS ?= auto
ON_JOBS := $(if $(filter-out 1,$(JOBS)),-n $(JOBS) --dist worksteal)
PYTEST := $(BIN)/python -m pytest $(ON_JOBS)

test: build
	$(PYTEST)

test-long: build
	$(PYTEST) -m long

faults: $(VENV)/.test | build
	PGTABLE_FAULTS=long $(BIN)/python -m pytest tests/faults

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A build of its own: its objects must not be taken for the others'.  The test
# tests/engines/test_sanitized.py shows that the sanitizers are there.
SANITIZE_BASE := build/sanitize
# what runs our C in every way that memory can be passed; which values come out is for the plain run
SANITIZE_TESTS ?= tests/engines tests/images tests/test_census.py --ignore tests/kernel_trees \
    -k "not every_combination_of_the_bits and not forms_are_the and not forms_with_an_argument"
sanitize: $(VENV)/.dev
	PGTABLE_SANITIZE=1 $(BIN)/python setup.py -q build --build-base $(SANITIZE_BASE) \
	    --build-lib $(SANITIZE_BASE)/lib
	PGTABLE_SANITIZE=1 PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/$(SANITIZE_BASE)/lib \
	    PYTHONMALLOC=malloc LD_PRELOAD=$$(gcc -print-file-name=libasan.so) \
	    ASAN_OPTIONS=detect_leaks=0 $(BIN)/python -m pytest $(ON_JOBS) -o pythonpath= $(SANITIZE_TESTS)

# A sample of the rules and instruction sets, for it is compiled anew: TSAN_SECONDS=600 for long.
# Python is not instrumented; its locks are seen, so that what runs under its lock is no race.
TSAN_BASE := build/thread
TSAN_SECONDS ?= 20
tsan: $(VENV)/.dev
	RULES=cow ISA="baseline avx2" PGTABLE_SANITIZE=thread $(BIN)/python setup.py -q build \
	    --build-base $(TSAN_BASE) --build-lib $(TSAN_BASE)/lib
	PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/$(TSAN_BASE)/lib \
	    $(BIN)/python tests/engines/tsan.py --seconds $(TSAN_SECONDS)

clean:
	rm -rf $(VENV) build dist *.egg-info demo-output pgtable/engines/_*.so
