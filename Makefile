# Everything starts here. `make help` lists what there is; nothing but Python ≥ 3.11, Go, npm and make is assumed.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
READY := .venv/.ready

# Nothing of the project reads or writes the user's own kubeconfig unless CLUSTER=current says so.
export CLUSTER ?= kwok
export PYTHONUNBUFFERED := 1

##@ See it work

.PHONY: demo
demo: $(READY) ## Show the main job: a pipeline on a real API server, every promise checked (Ctrl-C ends it)
	@exec $(BIN)/python -m tests.demo

.PHONY: cluster-up
cluster-up: $(READY) ## Start a real Kubernetes control plane and leave it up: build/kubeconfig, build/bin/kubectl
	@$(BIN)/python -m tests.cluster up

.PHONY: cluster-down
cluster-down: $(READY) ## End it
	@$(BIN)/python -m tests.cluster down

##@ Change it

.PHONY: test
test: lint ## All of it: lint, types, layout, unit, contract and cluster tests
	@$(BIN)/pytest $(PYTEST_FLAGS)

.PHONY: check
check: lint ## The quick part: the same without a cluster, a node, Prometheus, helm and faults
	@$(BIN)/pytest -m "not cluster and not node and not prometheus and not helm and not faults" -q $(PYTEST_FLAGS)

.PHONY: test-faults
test-faults: $(READY) ## Break it on purpose: SIGKILL, failing disks, overload, clocks that jump, a failing API server (FAULT_SEED repeats a run)
	@$(BIN)/pytest -m faults $(PYTEST_FLAGS)

.PHONY: test-e2e
test-e2e: $(READY) ## The product where it lives: in pods of a real node, as root on Debian, or with CLUSTER=kind
	@$(BIN)/pytest -m node $(PYTEST_FLAGS)

.PHONY: images
images: $(READY) ## Build both images into build/images, each with its SBOM: with Docker, or as root with buildah
	@$(BIN)/python -m tests.images

.PHONY: lint
lint: $(READY) ## Format, lint, types and layers, as the tests require them
	@$(BIN)/ruff format --check --quiet || { echo "run 'make format'"; exit 1; }
	@$(BIN)/ruff check --quiet
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

.PHONY: format
format: $(READY) ## Format and fix what can be fixed
	@$(BIN)/ruff format --quiet
	@$(BIN)/ruff check --fix

.PHONY: generate
generate: $(READY) ## Write what is generated: the CRD, pages of reference, chart and kustomize files, the dashboards
	@$(BIN)/python -m notification_operator.crd crds
	@$(BIN)/python -m notification_operator.reference docs/reference/notificationpipeline.md
	@$(BIN)/python -m tests.docs docs/reference
	@$(BIN)/python -m tests.deploy
	@$(BIN)/python -m notification_operator.dashboards grafana/notification-dashboard.json \
		operator/src/notification_operator/dashboards/pipeline.json
	@$(BIN)/python -m notification_operator.advice docs/troubleshooting.md

.PHONY: lock
lock: $(READY) ## Bring uv.lock up to date with pyproject.toml
	@$(BIN)/uv lock

.PHONY: clean
clean: ## Remove everything that make made, but the cached binaries
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m tests.cluster down || true; fi
	@rm -rf .venv build dist

.PHONY: bench-dispatcher
bench-dispatcher: $(READY) ## Measure the dispatcher beside its peers and bare aiohttp (10 minutes)
	@exec $(BIN)/python -m bench.dispatcher --json-file build/bench-dispatcher.json $(BENCH_FLAGS)

.PHONY: bench-operator
bench-operator: $(READY) ## Measure the operator beside a bare client that writes the same (25 minutes)
	@exec $(BIN)/python -m bench.operator --json-file build/bench-operator.json $(BENCH_FLAGS)

##@ More

.PHONY: help
help: ## This text
	@awk 'BEGIN { FS = ":.*## "; print "usage: make TARGET" } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: venv
venv: $(READY) ## Only prepare .venv, from the lock file

$(READY): uv.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or later is needed, and $(PYTHON) is $$($(PYTHON) --version 2>&1). Try PYTHON=python3.12 make …" >&2; exit 1; }
	@echo "preparing .venv from uv.lock …" >&2
	@$(PYTHON) -m venv .venv || { echo "python3 -m venv failed: on Debian, install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"
	@UV_PROJECT_ENVIRONMENT=.venv $(BIN)/uv sync --locked --inexact --all-extras --quiet
	@touch $@
