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
	@grep -hE '^[a-z0-9-]+:.*?## ' $(MAKEFILE_LIST) | awk -F ':.*?## ' '{printf "  make %-12s %s\n", $$1, $$2}'

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
test: lint ## lint, then all tests, a process for each core (ARGS="-k name" to choose)
	$(PY) -m pytest --numprocesses auto --dist loadfile $(ARGS)

# For the tests of the dashboard, its benchmark and pictures; they skip or say so where it is not.
.PHONY: chromium
chromium: ## install Chromium by the system's package manager, if there is none (root)
	@for name in chromium chromium-browser google-chrome; do \
	  if command -v "$$name" >/dev/null 2>&1; then "$$name" --version 2>/dev/null; exit 0; fi; \
	done; \
	command -v apt-get >/dev/null 2>&1 || { echo "there is no apt-get: install the package chromium of your system" >&2; exit 1; }; \
	test "$$(id -u)" = 0 || { echo "only root can install it: apt-get install chromium" >&2; exit 1; }; \
	apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium

build/nt2/installed: tests/nt2/requirements.txt
	$(PY) -m venv --clear build/nt2
	build/nt2/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r tests/nt2/requirements.txt
	@touch $@

.PHONY: test-nt2
test-nt2: env build/nt2/installed ## the experimental binding to Nautilus Trader 2, in an environment of its own below build/nt2
	PYTHONPATH=clients LIQSERVER_PYTHON=$(CURDIR)/$(PY) build/nt2/bin/python -m pytest -c tests/nt2/own.ini tests/nt2 $(ARGS)

.PHONY: demo
demo: env ## the whole path once, ends by itself (DATA=dir for archive files of your own)
	.venv/bin/liqserver demo $(if $(DATA),--data $(DATA))

.PHONY: serve
serve: env ## serve the default database (DB=file for another)
	.venv/bin/liqserver serve $(if $(DB),--db $(DB))

.PHONY: bench
bench: env ## run benchmarks, write build/bench.json (BENCH="kernel levels" to choose)
	$(PY) -m benchmarks $(BENCH)

# Real data: a folder of archive files with liquidations_1h.csv. The cut is a moment that no parameter has looked beyond.
SCORE_DATA ?= $(or $(LIQSERVER_SHARED_DATA),../shared/data)/binance-btc-2025-12
SCORE_SYMBOL ?= BTCUSDT
SCORE_CUT ?= 2026-01-20T00:00Z

.PHONY: score
score: env ## score models on real and simulated data and known truth, write build/score (KNOWN="--seeds 1" for less)
	@mkdir -p build/score
	@rm -f build/score/$(SCORE_SYMBOL).duckdb
	@if [ ! -f "$(SCORE_DATA)/liquidations_1h.csv" ]; then \
	  echo "skipped: there is no $(SCORE_DATA)/liquidations_1h.csv (SCORE_DATA names another folder)"; \
	else \
	  .venv/bin/liqserver ingest "$(SCORE_DATA)" --symbol $(SCORE_SYMBOL) --db build/score/$(SCORE_SYMBOL).duckdb && \
	  .venv/bin/liqserver score $(SCORE_SYMBOL) --cut $(SCORE_CUT) --db build/score/$(SCORE_SYMBOL).duckdb \
	    --output build/score/$(SCORE_SYMBOL).html > build/score/$(SCORE_SYMBOL).txt && cat build/score/$(SCORE_SYMBOL).txt; \
	fi
	rm -rf build/score/market build/score/simulated.duckdb
	.venv/bin/liqserver simulate build/score/market --days 34 --seed 3 --start 2025-09-01 --trades-per-day 20000
	.venv/bin/liqserver ingest build/score/market --db build/score/simulated.duckdb
	.venv/bin/liqserver score BTCUSDT --cut 2025-09-22T00:00Z --db build/score/simulated.duckdb \
	  --output build/score/simulated.html > build/score/simulated.txt && cat build/score/simulated.txt
	$(PY) -m benchmarks.known_truth $(KNOWN) > build/score/known_truth.txt && cat build/score/known_truth.txt

.PHONY: screenshots
screenshots: demo ## draw docs/levels.png and docs/dashboard from the demo (needs chromium)
	chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1200,820 --virtual-time-budget=8000 \
		--user-data-dir=build/chromium --screenshot=docs/levels.png "file://$(CURDIR)/build/demo/levels.html"
	$(PY) docs/draw_dashboard.py build/demo/demo.duckdb

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
	.venv/bin/pip-compile --quiet --upgrade --generate-hashes --strip-extras --allow-unsafe --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
		--output-file tests/nt2/requirements.txt tests/nt2/requirements.in

.PHONY: clean
clean: ## remove what was built, but for the environment
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
