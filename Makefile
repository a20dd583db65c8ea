# Everything runs in a virtual environment of its own; `make` alone lists the targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Stages call `python`: it must be the environment's.
export PATH := $(abspath $(BIN)):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup scm test test-reliability test-slurm test-engine prove-resume lint repro report experiments check paper sweep bench dashboard clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready ## Create the environment with the pinned versions

$(VENV)/.ready: pyproject.toml constraints.txt setup.py $(wildcard src/rewire/engine/native/*)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[pipeline,attacks,dev]'
	touch $@

test: setup ## Run all tests
	$(BIN)/python -m pytest -n 2

test-reliability: setup ## Run the proofs that take minutes: kills, fuzzing, load
	$(BIN)/python -m pytest -n 2 -m reliability --durations=15

test-slurm: setup ## Run the tests on a Slurm of one node, where slurm-wlm and munge are installed
	$(BIN)/python -m pytest -m slurm -rs --durations=5

test-engine: setup ## Run the engine's tests on kernels with sanitizers (minutes; needs g++)
	$(BIN)/python -m pytest -m sanitizers -rs --durations=5 tests/engine

prove-resume: setup ## Kill 100 trainings at random moments; all must end with the bits of undisturbed ones
	python -m rewire prove-resume

lint: setup ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# An export of the sources, alone or inside another repository: DVC does without git there.
scm:
	@git ls-files --error-unmatch dvc.yaml >/dev/null 2>&1 || dvc config --local core.no_scm true

repro: setup scm ## Reproduce every table and figure at the scale that params.yaml says (default: quick)
	python -m rewire repro

REPORT ?= outputs/quick
report: setup ## Show the results of one profile as a page in the browser (REPORT=outputs/paper for another)
	python -m rewire report --open $(REPORT)

experiments: setup ## DVC's experiments on one screen
	python -m rewire experiments

check: setup ## Rehash all results against dvc.lock, and name damaged ones
	python -m rewire check

paper: setup ## The same at the documents' full scale
	python -m rewire repro --profile paper

sweep: setup ## Six trainings of the thesis in one Hydra sweep, with a summary table
	python train.py -m sparsity=0.95,0.99 rewire=random,l2,weighted

bench: setup ## Time the hot paths against their peers
	python -m benchmarks

dashboard: setup ## Browse the tracked runs in the terminal
	python -m rewire dashboard outputs/wandb

clean: ## Remove the environment and everything that was computed
	rm -rf $(VENV) .dvc/cache .dvc/tmp outputs/quick outputs/cpu outputs/gpu outputs/paper outputs/structure outputs/tables outputs/figures outputs/metrics outputs/curves outputs/report outputs/bench outputs/wandb
