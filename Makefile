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
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk -F ':.*?## ' '{printf "  make %-10s %s\n", $$1, $$2}'

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
	@touch $@

.PHONY: env
env: .venv/installed ## create the environment in .venv from hashed requirements

.PHONY: lint
lint: env ## ruff, mypy, import directions, buf
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/buf lint proto

.PHONY: test
test: lint ## lint, then all tests
	$(PY) -m pytest
