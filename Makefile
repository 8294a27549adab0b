# Set-up and the common commands. Everything runs in .venv, made from the project's pinned files.
CORES ?= 2
PYTHON ?= python3
BIN := .venv/bin
export HF_HUB_OFFLINE ?= 1

.PHONY: quick test test-slurm lint format clean-intermediates

.venv/.installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

quick: .venv/.installed  ## the default experiment: every table and figure, small
	$(BIN)/snakemake --cores $(CORES)
	@echo "Report: results/quick/report/report.html"

test: .venv/.installed  ## the tests
	$(BIN)/python -m pytest

SLURM_TESTS ?= test
test-slurm: .venv/.installed  ## the Slurm profile and its faults on a real one-node Slurm; SLURM_TESTS chooses some of them
	$(BIN)/python -m pytest -m slurm -rs --durations=0 -k "$(SLURM_TESTS)"

lint: .venv/.installed  ## style and workflow checks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

format: .venv/.installed  ## apply the style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile rules

clean-intermediates:  ## gradients, activations and scores of finished experiments: large, and made again when needed
	rm -rf results/*/gradients results/*/activations results/*/scores
