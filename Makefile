# The commands of this project; `make help` lists them. Everything is installed into .venv from the locks in requirements/.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup run test crash bench lint format docs lock clean profile fuzz

BIN := .venv/bin
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip --quiet install
LOCKED := $(PIP) --require-hashes
# Two cores are what the smallest machine for this has; more are used when they are there.
TEST_WORKERS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n > 8 ? 8 : n < 2 ? 2 : n)))
PYTEST_ARGS ?=
BENCH_ARGS ?=
PROFILE_ARGS ?=
FUZZ_MINUTES ?= 10
TARGET ?=
ROUNDS ?= 5000
SERVERS ?= $(TEST_WORKERS)
SEED ?= 1

help: ## this list
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/\1|\2/p' Makefile | while IFS='|' read -r name what; do printf 'make %-8s %s\n' "$$name" "$$what"; done

setup: .venv/.runtime ## .venv with the locked packages and gatepost itself; then .venv/bin/gatepost
	@echo "ready: $(BIN)/gatepost"

run: .venv/.runtime ## a demo under demo/: the server on loopback ports, one message through it, where to look
	@$(BIN)/python scripts/demo.py

test: .venv/.test ## everything the tests need, then all tests (PYTEST_ARGS="-k spool" for some)
	@scripts/debian-packages.sh
	@scripts/unpacked-packages.sh
	@$(BIN)/python -m pytest --numprocesses $(TEST_WORKERS) --no-loadscope-reorder $(PYTEST_ARGS)

crash: .venv/.test ## kills servers under load at every named point of their writes, 5000 times (ROUNDS=200 SEED=7 for others)
	@ROUNDS=$(ROUNDS) SERVERS=$(SERVERS) SEED=$(SEED) $(BIN)/python -m pytest -q --capture=no tests/crash/test_every_point.py

bench: .venv/.test ## side by side with other mail servers, in one run (BENCH_ARGS="--quick --only accept-4k-s50")
	@$(BIN)/python -m bench $(BENCH_ARGS)

profile: .venv/.profile ## a flame graph of the accept path under load: profile/accept.svg (PROFILE_ARGS="--seconds 30")
	@$(BIN)/python -m bench.profile $(PROFILE_ARGS)

fuzz: .venv/.fuzz ## feeds every parser what nobody thought of, 10 minutes each (FUZZ_MINUTES=2 TARGET=smtp-server)
	@$(BIN)/python -m tests.fuzz --minutes $(FUZZ_MINUTES) $(TARGET)

lint: .venv/.lint ## formatter, linter, types, layering
	@$(BIN)/ruff format --check --quiet . || { echo 'lint: "make format" rewrites these files:'; $(BIN)/ruff format --check --output-format concise .; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest --quiet -p no:randomly tests/test_layering.py tests/test_packaging.py

format: .venv/.lint ## rewrite the files as the formatter wants them, repair what the linter can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: .venv/.docs ## the manual as web pages in site/; a link that leads nowhere is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "ready: site/index.html"

lock: .venv/.runtime ## write requirements/*.txt anew (UPGRADE=1: with newer versions)
	@$(LOCKED) -r requirements/lock.txt
	@scripts/lock.sh

clean: ## remove .venv, the demo and all caches
	rm -rf .venv demo dist build site profile .mypy_cache .pytest_cache .ruff_cache .hypothesis htmlcov .coverage*

.venv/bin/python:
	@scripts/venv.sh

.venv/.runtime: .venv/bin/python requirements/runtime.txt requirements/build.txt pyproject.toml
	@echo "setup: installing the locked packages (about 90 MB)"
	@$(LOCKED) -r requirements/runtime.txt -r requirements/build.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.test: .venv/.runtime requirements/test.txt
	@echo "setup: installing what the tests need"
	@$(LOCKED) -r requirements/test.txt
	@touch $@

.venv/.lint: .venv/.test requirements/lint.txt
	@echo "setup: installing what the linter needs"
	@$(LOCKED) -r requirements/lint.txt
	@touch $@

.venv/.profile: .venv/.test requirements/profile.txt
	@$(LOCKED) -r requirements/profile.txt
	@touch $@

.venv/.fuzz: .venv/.test requirements/fuzz.txt
	@$(LOCKED) -r requirements/fuzz.txt
	@touch $@

.venv/.docs: .venv/.runtime requirements/docs.txt
	@echo "setup: installing what the manual needs"
	@$(LOCKED) -r requirements/docs.txt
	@touch $@
