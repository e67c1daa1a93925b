# `make demo` and `make test` are all that a fresh machine with Python 3.11 needs; re-runs skip what is done.
PYTHON ?= python3
BIN := .venv/bin

export HF_HUB_OFFLINE ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test lint serve protos bench clean

demo: .venv/server.done  ## ingest the sample papers and ask them
	$(BIN)/python scripts/demo.py

test: .venv/dev.done lint  ## lint, types, all tests
	$(BIN)/pytest -n 2 --dist loadfile

lint: .venv/dev.done
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint

serve: .venv/server.done  ## both services, until Ctrl-C
	$(BIN)/rag serve

protos: .venv/dev.done  ## the stubs in rag_papers/v1
	$(BIN)/python scripts/generate_stubs.py .

bench: .venv/dev.done  ## a collection in BEIR layout: make bench COLLECTION=DIRECTORY
	$(BIN)/python benchmarks/collection.py $(COLLECTION)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find data -mindepth 1 -maxdepth 1 ! -name corpus -exec rm -rf {} +

# Constraints hold the versions that are tested; torch without one would bring gigabytes of GPU libraries.
.venv/%.done: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$*]"
	touch $@
