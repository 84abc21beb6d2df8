# Every target explains itself: `make help`.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PY := .venv/bin/python
PROTO_OUT ?= .
PROTOS := $(wildcard proto/liqserver/v1/*.proto)
# Only files with a service get gRPC code.
SERVICES := $(shell grep -lE '^service ' $(PROTOS))

.PHONY: help
help: ## show this help
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk -F ':.*?## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: proto
proto: ## regenerate the gRPC code below liqserver/v1 (PROTO_OUT=DIR for elsewhere)
	$(PY) -m grpc_tools.protoc -Iproto --plugin=protoc-gen-mypy=.venv/bin/protoc-gen-mypy \
		--python_out=$(PROTO_OUT) --mypy_out=quiet:$(PROTO_OUT) $(PROTOS)
	$(PY) -m grpc_tools.protoc -Iproto --plugin=protoc-gen-mypy_grpc=.venv/bin/protoc-gen-mypy_grpc \
		--grpc_python_out=$(PROTO_OUT) --mypy_grpc_out=quiet:$(PROTO_OUT) $(SERVICES)

# The first interpreter of at least 3.12 wins; uv serves where there is none.
.venv/installed: requirements.txt pyproject.toml
	@if [ ! -x $(PY) ]; then \
	  found=; \
	  for p in python3.14 python3.13 python3.12 python3; do \
	    if "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1; then found=$$p; break; fi; \
	  done; \
	  if [ -n "$$found" ]; then echo "environment: $$("$$found" --version) in .venv"; "$$found" -m venv .venv; \
	  elif command -v uv >/dev/null 2>&1; then echo "environment: Python 3.12 by uv in .venv"; uv venv --seed --python 3.12 .venv; \
	  else echo "liqserver needs Python 3.12 or newer (package python3.12 and python3.12-venv of your system, or uv): none was found" >&2; exit 1; fi; \
	fi
	$(PY) -m pip install -q --disable-pip-version-check --require-hashes -r requirements.txt
	$(PY) -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@mkdir -p build
	@touch $@

.PHONY: env
env: .venv/installed ## create the environment in .venv from hashed requirements

.PHONY: lint
lint: env ## ruff, mypy (strict), import directions, buf
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	@mkdir -p build
	.venv/bin/lint-imports --no-cache >build/import-linter.txt || (cat build/import-linter.txt; exit 1)
	.venv/bin/buf lint proto
	.venv/bin/buf format --diff --exit-code proto
	.venv/bin/buf breaking proto --against '.git#ref=HEAD,subdir=proto'

.PHONY: format
format: env ## let ruff and buf format the sources
	.venv/bin/ruff check --fix --exit-zero .
	.venv/bin/ruff format .
	.venv/bin/buf format --write proto

.PHONY: test
test: lint ## lint, then all tests (ARGS="-k name" to choose)
	$(PY) -m pytest $(ARGS)

.PHONY: demo
demo: env ## the whole path once, ends by itself (DATA=dir for archive files of your own)
	.venv/bin/liqserver demo $(if $(DATA),--data $(DATA))

.PHONY: serve
serve: env ## serve the default database (DB=file for another)
	.venv/bin/liqserver serve $(if $(DB),--db $(DB))

.PHONY: bench
bench: env ## run benchmarks, write build/bench.json (BENCH="kernel levels" to choose)
	$(PY) -m benchmarks $(BENCH)

.PHONY: screenshots
screenshots: demo ## draw docs/levels.png from the demo's chart (needs chromium)
	chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1200,820 --virtual-time-budget=8000 \
		--user-data-dir=build/chromium --screenshot=docs/levels.png "file://$(CURDIR)/build/demo/levels.html"

.PHONY: nt-demo
nt-demo: env ## Nautilus Trader backtest with levels and without (DATA=dir for archive files of your own)
	$(PY) clients/examples/nt/demo.py $(if $(DATA),--data $(DATA))

.PHONY: model-charts
model-charts: env ## draw docs/models/*.png from a simulated market (needs chromium)
	rm -rf build/models
	.venv/bin/liqserver simulate build/models/market --days 10
	.venv/bin/liqserver ingest build/models/market --db build/models/models.duckdb
	$(PY) docs/draw_models.py build/models/models.duckdb

.PHONY: requirements
requirements: env ## pin the newest versions the bounds allow, with hashes
	.venv/bin/pip-compile --quiet --upgrade --all-extras --generate-hashes --strip-extras --allow-unsafe --no-header \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file requirements.txt pyproject.toml

.PHONY: clean
clean: ## remove what was built, but for the environment
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
