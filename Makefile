# Everything a developer runs. Each target first makes the environment, if it is not there yet.
#   make demo ARGS='--help'    make test ARGS='tests/qc -x'    make bench ONLY=ingest    make PYTHON=python3.12

PYTHON ?= $(firstword $(shell command -v python3) $(shell command -v python) \
	$(foreach minor,16 15 14 13 12 11,$(shell command -v python3.$(minor))))
BIN := .venv/bin
ARGS ?=
ONLY ?=
LOCKED_EXTRAS := server science local dashboard notebooks dev

.PHONY: help env demo test check bench soak lock check-ruff check-format check-types check-imports

help:
	@echo 'make demo    the whole path on this machine: instruments, MQTT, database, QC, inversion, report'
	@echo 'make test    all tests'
	@echo 'make check   style, types, import arrows'
	@echo 'make bench   benchmarks, one JSON object a line (ONLY=ingest: one family)'
	@echo 'make soak    the tests that take long'
	@echo 'make env     the environment .venv, which the others make by themselves'
	@echo 'make lock    requirements.lock anew from pyproject.toml (UPGRADE=1: newest versions)'

env:
	@test -n "$(PYTHON)" || { echo 'make: no Python found on PATH; skyledger needs 3.11 or newer' >&2; exit 1; }
	@$(PYTHON) bootstrap.py

demo: env
	@$(BIN)/skyledger demo $(ARGS)

# Matrices of tests are small: threads of BLAS would only wait for one another where other processes run beside them.
test soak: export OPENBLAS_NUM_THREADS ?= 1

test: env
	@$(BIN)/python -m pytest $(ARGS)

soak: env
	@$(BIN)/python -m pytest -m soak $(ARGS)

bench: env
	@$(BIN)/python -m tests.bench $(ONLY)

check: env
	@$(MAKE) --no-print-directory --keep-going --jobs 4 --output-sync=target \
		check-ruff check-format check-types check-imports

check-ruff:
	@$(BIN)/ruff check

check-format:
	@$(BIN)/ruff format --check

check-types:
	@$(BIN)/mypy

check-imports:
	@$(BIN)/lint-imports

lock: env
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet $(if $(UPGRADE),--upgrade) \
		$(addprefix --extra ,$(LOCKED_EXTRAS)) --output-file requirements.lock
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet \
		--constraint requirements.lock --extra server --extra science --output-file deploy/requirements.lock
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet $(if $(UPGRADE),--upgrade) \
		--extra compliance --extra peers --output-file .ci/compliance.lock
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet $(if $(UPGRADE),--upgrade) \
		--constraint requirements.lock --extra science --extra dev --extra sample --output-file .ci/sample.lock
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.12 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet $(if $(UPGRADE),--upgrade) \
		--extra interchange --output-file .ci/primap2.lock
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet $(if $(UPGRADE),--upgrade) \
		--extra machines --output-file .ci/machines.lock
