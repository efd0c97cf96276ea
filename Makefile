# Needs make and Python 3.11 or newer, and builds the rest itself. `make help` lists what there is.
#   PYTHON=…   the Python that .venv is made of (default: the first of a list that runs and can make one)
#   JOBS=…     processes that run the tests (default: 2; tests with servers stay in one of them)
#   RUNTIME=…  gpu (CUDA from wheels), gpu-system (CUDA from the system, or none) or cpu; default: what .venv has, else
#              gpu where nvidia-smi answers, else cpu

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
export PIP_DISABLE_PIP_VERSION_CHECK := 1

BIN := .venv/bin
JOBS ?= 2
STAMP = .venv/.runtime-$(RUNTIME)
RUNTIME ?= $(or $(patsubst .venv/.runtime-%,%,$(firstword $(wildcard .venv/.runtime-*))),$(if $(shell nvidia-smi -L 2>/dev/null || true),gpu,cpu))

# $(call find-python,NAMES,FIRST,LAST): the first of NAMES that starts (a shim may not), can make a virtual environment,
# and is of version 3.FIRST to 3.LAST.
find-python = $(shell for p in $(1); do \
	"$$p" -c 'import sys, venv, ensurepip; sys.exit(not (3, $(2)) <= sys.version_info[:2] <= (3, $(3)))' >/dev/null 2>&1 \
	&& echo "$$p" && break; done)
ifeq ($(origin PYTHON),undefined)
PYTHON = $(call find-python,python3.12 python3.13 python3.11 python3.14 python3 python,11,99)
endif

# The oldest gRPC that is supported writes the stubs (newer ones write stubs that old ones refuse), and the light client
# is tried with it. Its wheels end at Python 3.12.
OLD_GRPC := 1.66.0
ifeq ($(origin OLD_PYTHON),undefined)
OLD_PYTHON = $(call find-python,python3.10 python3.11 python3.12 $(BIN)/python python3,10,12)
endif
need-old-python = test -n "$(OLD_PYTHON)" || { echo "grpcio-tools $(OLD_GRPC) needs a Python 3.10 to 3.12: OLD_PYTHON=…"; exit 1; }

.PHONY: help setup demo test check lint types contracts serve proto proto-check floor bench fuzz fuzz-serve soak drain gpu-test \
	wheels clean

help:  ## show this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP)  ## make .venv with everything that demo, test and check need

demo: $(STAMP)  ## explain a real model on real images, from upload to overlay
	$(BIN)/python deploy/demo/demo.py $(ARGS)

test: $(STAMP)  ## run the tests (but those that need a GPU or minutes)
	$(BIN)/python -m pytest -q -n $(JOBS) --dist loadgroup $(ARGS)

check: lint types contracts proto-check  ## lint, formatting, types, import contracts, protos (make -k check: all of them)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

contracts: $(STAMP)
	$(BIN)/lint-imports --no-cache

serve: $(STAMP)  ## serve the demo's models on 127.0.0.1:50051, metrics on :9464; ARGS="--flag …" adds flags
	$(BIN)/assayd serve --listen 127.0.0.1:50051 --metrics 127.0.0.1:9464 --store .store --models deploy/demo/models $(ARGS)

bench: .venv-bench/.stamp-$(RUNTIME)  ## what explaining costs beside the model, other packages and other callers; ARGS="--quick"
	PYTHONPATH=. .venv-bench/bin/python -m tests.bench $(ARGS)

fuzz: $(STAMP)  ## requests and models that are nearly right, for long; EXAMPLES=200000 of each, or SECONDS=1800 for each
	FUZZ_EXAMPLES=$(or $(EXAMPLES),$(if $(SECONDS),0,200000)) FUZZ_SECONDS=$(or $(SECONDS),0) \
		$(BIN)/python -m pytest -q tests/robustness/test_fuzz.py --timeout 0 $(ARGS)

fuzz-serve: $(STAMP)  ## mutated models over gRPC beside a good caller, for long; SECONDS=3600
	$(BIN)/python -m tests.robustness.mutants --seconds $(or $(SECONDS),3600) $(ARGS)

soak: $(STAMP)  ## a mixed load for long, and whether anything grows with it; SECONDS=1800
	$(BIN)/python -m tests.robustness.soak --seconds $(or $(SECONDS),1800) $(ARGS)

drain: $(STAMP)  ## SIGTERM under load, again and again; TIMES=100
	$(BIN)/python -m tests.robustness.drain --times $(or $(TIMES),100) $(ARGS)

gpu-test: $(STAMP)  ## run the tests that need CUDA
	$(BIN)/python -m pytest -q -m gpu $(ARGS)

wheels: $(STAMP)  ## packages of RUNTIME into build/wheels, for a machine without a registry (deploy/README.md)
	$(BIN)/python -m pip download -q -d build/wheels '.[cli,server,dev,$(RUNTIME)]' 'hatchling>=1.27' editables

# --- protos ----------------------------------------------------------------------------------------------------------

# The API as it was last accepted, as text, without comments. What breaks it fails `proto` and `proto-check`.
API := protos/assay.v1.txtpb

# $(call stubs,FOLDER): write the stubs into FOLDER/assay/v1. Only *_service.proto define services.
define stubs
.venv-proto/bin/python -m grpc_tools.protoc -Iprotos --python_out=$(1) --pyi_out=$(1) protos/assay/v1/*.proto
.venv-proto/bin/python -m grpc_tools.protoc -Iprotos --grpc_python_out=$(1) protos/assay/v1/*_service.proto
endef
api = $(BIN)/buf build protos --path protos/assay --exclude-source-info -o

proto: $(STAMP) .venv-proto/.stamp  ## write the stubs and the API's text from protos/
	@test ! -e $(API) || $(BIN)/buf breaking protos --against $(API) \
		|| { echo "This breaks callers. If that is meant, remove $(API) and run it again."; exit 1; }
	rm -f clients/python/assay/v1/*_pb2*
	$(call stubs,clients/python)
	$(api) $(API)

proto-check: $(STAMP) .venv-proto/.stamp  ## lint the protos; fail where they break callers, or stubs and text have drifted
	$(BIN)/buf lint protos
	$(BIN)/buf format --diff --exit-code protos
	$(BIN)/buf breaking protos --against $(API)
	rm -rf .venv-proto/fresh && mkdir .venv-proto/fresh
	$(call stubs,.venv-proto/fresh)
	$(api) .venv-proto/fresh/api.txtpb
	diff -r -x __pycache__ -x __init__.py .venv-proto/fresh/assay/v1 clients/python/assay/v1
	diff -uw $(API) .venv-proto/fresh/api.txtpb

floor: $(STAMP)  ## install the light client alone, at the lower bounds of pyproject.toml, and import everything
	@$(need-old-python)
	rm -rf .venv-floor && $(OLD_PYTHON) -m venv .venv-floor
	$(BIN)/python tests/floor/constraints.py pyproject.toml > .venv-floor/constraints.txt
	.venv-floor/bin/python -m pip install -q -c .venv-floor/constraints.txt .
	.venv-floor/bin/python -W error tests/floor/light_client.py .venv-floor/constraints.txt

# --- environments ------------------------------------------------------------------------------------------------------

# The stamp's name holds the runtime. onnxruntime and onnxruntime-gpu share a folder, so that the other goes first.
$(STAMP): pyproject.toml
	@test -e $(BIN)/python || test -n "$(PYTHON)" || { echo "Assay needs Python 3.11 or newer, with venv: PYTHON=…"; exit 1; }
	test -e $(BIN)/python || $(PYTHON) -m venv .venv
	@rm -f .venv/.runtime-*
	$(BIN)/python -m pip uninstall -q -y $(if $(filter cpu,$(RUNTIME)),onnxruntime-gpu,onnxruntime)
	$(BIN)/python -m pip install -q -e '.[cli,server,dev,$(RUNTIME)]'
	@touch $@

# Its server and its peers share one environment, apart from that of the tests.
.venv-bench/.stamp-$(RUNTIME): pyproject.toml tests/bench/requirements.txt tests/bench/requirements-alone.txt
	@test -n "$(PYTHON)" || { echo "Assay needs Python 3.11 or newer, with venv: PYTHON=…"; exit 1; }
	rm -rf .venv-bench && $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install -q -e '.[cli,server,$(RUNTIME)]' -r tests/bench/requirements.txt
	.venv-bench/bin/python -m pip install -q --no-deps -r tests/bench/requirements-alone.txt
	@touch $@

.venv-proto/.stamp: Makefile
	@$(need-old-python)
	rm -rf .venv-proto && $(OLD_PYTHON) -m venv .venv-proto
	.venv-proto/bin/python -m pip install -q grpcio-tools==$(OLD_GRPC)
	@touch $@

clean:  ## remove what the other targets have made
	rm -rf .venv .venv-bench .venv-proto .venv-floor .store build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
