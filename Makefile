SHELL := /bin/bash
BIN := .venv/bin
TYPED := $(wildcard libs/*/src/*) $(wildcard services/*/src/*) $(wildcard cli/src/*)

.PHONY: setup demo up test check schemas images chaos bench clean

setup:            ## The virtual environment and the bundled model; does nothing the second time
	@scripts/set_up.sh

demo: setup       ## Fine-tune the bundled model through the whole system
	@exec $(BIN)/tunedeck demo

up: setup         ## Run the whole stack until Ctrl-C
	@exec $(BIN)/tunedeck up

test: setup       ## Every test: two files at a time, then those of failure, which want the machine for themselves
	@$(BIN)/python -m pytest tests --ignore=tests/chaos -n 2 --dist loadfile
	@exec $(BIN)/python -m pytest tests/chaos

check: setup      ## Lint, format, types, import rules, schemas and documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict $(TYPED)
	$(BIN)/python -m pytest -q tests/unit/test_architecture.py tests/contracts

schemas: setup    ## Write all that is generated: schemas, OpenAPI, AsyncAPI, settings, NATS users, licences
	$(BIN)/python scripts/write_schemas.py
	$(BIN)/python -m scripts.write_openapi
	$(BIN)/python -m scripts.write_asyncapi
	$(BIN)/python -m scripts.write_settings
	$(BIN)/python -m scripts.write_nats_users
	$(BIN)/python -m scripts.write_licences

images: setup     ## Install and run what each image holds, with the compose files' settings; about ten minutes
	@exec $(BIN)/python -m pytest tests/images -m ""

chaos: setup      ## The long form of the tests of failure, with what was measured and the seed; about an hour
	@TUNEDECK_LONG=1 exec $(BIN)/python -m pytest tests/chaos \
	  tests/unit/trainer/test_resume.py tests/connected/jobs/test_state_machine.py tests/e2e/test_schemathesis.py

bench: setup      ## Measure ours beside a peer, in turn in one run; appends to bench/results.json
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-bench.txt -c constraints.txt
	@exec $(BIN)/python -m bench

clean:            ## Remove the virtual environment, caches, and all data of the stack
	rm -rf .venv .tunedeck .mypy_cache .ruff_cache .pytest_cache .hypothesis
