# Everything here works from a clean clone; `make setup` is what the other targets call first.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
# Hundreds of processes are started: each would compile torch and all else anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test lint audit sbom bench clean

help:
	@echo "make setup   a virtual environment, Kafka's jars and MinIO (once; the other targets call it)"
	@echo "make demo    the whole way on real parts: signed requests in, pictures and a usage table out"
	@echo "make test    the tests, against a real Kafka and a real object store"
	@echo "make lint    ruff and mypy --strict"
	@echo "make audit   the packages beside easel: as pinned, listed, and without known vulnerabilities where those can be had"
	@echo "make sbom    docs/sbom.json, the list of them (CycloneDX), made anew"
	@echo "make bench   throughput and latency, as ratios against bare loops"
	@echo "make clean   stop what runs here, and remove what these targets made"

setup:
	@test -n "$(PYTHON)" || { echo "easel needs Python 3.11 or newer: install it, or name it: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m ops.setup

demo: setup
	@$(BIN)/easel demo

# Most tests wait for a process or a time limit: three at a time keep two cores busy, and who is
# done takes over from the others. Each has a broker and store of its own.
test: setup
	@$(BIN)/python -m pytest -n 3 --dist worksteal

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

audit: setup
	@$(BIN)/python -m ops.dependencies audit

sbom: setup
	@test -x .venv-audit/bin/pip-audit || { $(PYTHON) -m venv .venv-audit && .venv-audit/bin/pip install -q -r ops/audit-tools.txt; }
	@$(BIN)/python -m ops.dependencies sbom

bench: setup
	@$(BIN)/easel bench

clean:
	@if test -x $(BIN)/easel; then $(BIN)/easel down; fi
	rm -rf .venv .venv-audit .easel easel-out .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
