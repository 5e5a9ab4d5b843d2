# make demo   a detection in a synthetic head, then the whole loop: masks, split, training, evaluation
# make test   style, types and tests
# Both set up .venv by themselves; all they need is Python >= 3.11 with venv, and make.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python -m
UNFINISHED := $(VENV).unfinished
# Without an NVIDIA GPU, the version of PyTorch in constraints-cpu.txt; with one, PyTorch's default build.
CONSTRAINTS := $(shell nvidia-smi >/dev/null 2>&1 || echo "--constraint constraints-cpu.txt")

.PHONY: help
help: ## show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-8s %s\n", $$1, $$2}'

.PHONY: demo
demo: $(VENV)/train.stamp ## find the landmarks of a synthetic head, then train a model that does; results in demo/
	$(RUN) train_cli demo --output demo

.PHONY: test
test: system lint ## style, types and all tests
	OMP_NUM_THREADS=1 $(RUN) pytest -n 2

.PHONY: system
system: ## see that the system has what Qt, VTK and CMake need
	Testing/system_packages.sh

.PHONY: lint
lint: $(VENV)/all.stamp ## style and types only
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

.PHONY: format
format: $(VENV)/all.stamp ## put the code in the style that lint asks for
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

.PHONY: pictures
pictures: system $(VENV)/all.stamp ## draw the pictures of the documentation; trains the demo first if there is none
	test -f demo/run/model/model.json || $(RUN) train_cli demo --output demo
	PYTHONPATH=Testing $(VENV)/bin/python Testing/pictures.py demo docs/pictures

.PHONY: fuzz
fuzz: $(VENV)/all.stamp ## give N damaged files (100000) to every reader; hours, and nothing may break
	OMP_NUM_THREADS=1 $(RUN) Testing.fuzz.fuzz --inputs $(or $(N),100000) --keep fuzz-failures $(if $(SEED),--seed $(SEED))

.PHONY: bench
bench: $(VENV)/all.stamp ## measure how fast it is, into docs/benchmarks.md; SCAN=a mouse skull HEAD_MODEL=a bundle
	$(RUN) Testing.benchmarks.bench $(if $(SCAN),--scan $(SCAN)) $(if $(HEAD_MODEL),--head-model $(HEAD_MODEL))

.PHONY: venv
venv: $(VENV)/all.stamp ## set up .venv with everything

.PHONY: clean
clean: ## remove .venv, caches and builds
	rm -rf $(VENV) $(UNFINISHED) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

$(VENV)/train.stamp: EXTRAS := train
$(VENV)/all.stamp: EXTRAS := train,cluster,dicom,onnx,slicer-test,dev

# A stamp says that an install came to its end. The file UNFINISHED stands while one runs: an install that
# was killed is done again from an empty environment.
$(VENV)/%.stamp: pyproject.toml constraints-cpu.txt
	@if [ ! -d $(VENV) ] || [ -e $(UNFINISHED) ]; then \
		touch $(UNFINISHED); \
		$(PYTHON) -m venv --clear $(VENV); \
	fi
	@touch $(UNFINISHED)
	$(RUN) pip install --disable-pip-version-check --editable ".[$(EXTRAS)]" $(CONSTRAINTS)
	@touch $(VENV)/train.stamp $@
	@rm $(UNFINISHED)
