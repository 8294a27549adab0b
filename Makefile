# Set-up and the common commands. Everything runs in .venv, made from the project's pinned files.
CORES ?= 2
PYTHON ?= python3
BIN := .venv/bin
export HF_HUB_OFFLINE ?= 1

.PHONY: bench bench-statistics quick test test-slurm test-compat test-pipeline lint format clean-intermediates

# Address of PyTorch's index of CPU wheels. Where it is given and no NVIDIA device is there, torch comes from it.
CPU_INDEX ?=
WITHOUT_GPU := $(if $(wildcard /dev/nvidia[0-9]* /dev/dxg),,yes)

.venv/.installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(if $(WITHOUT_GPU),$(if $(CPU_INDEX),$(BIN)/python -m pip install --quiet --disable-pip-version-check --index-url $(CPU_INDEX) $$(grep ^torch== requirements.txt),@echo "No NVIDIA device here: make CPU_INDEX=... installs torch without its GPU libraries (README.md)."))
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

environment.yml: requirements.txt  ## the same pins for conda
	{ sed '/^  - pip:/q' $@; sed -n 's/^[^#].*/      - &/p' requirements.txt; } >$@.part
	mv $@.part $@

quick: .venv/.installed  ## the default experiment: every table and figure, small
	$(BIN)/snakemake --cores $(CORES)
	@echo "Report: results/quick/report/report.html"

test: .venv/.installed  ## the tests
	$(BIN)/python -m pytest -n $(CORES) --dist loadfile --no-loadscope-reorder

test-pipeline: .venv/.installed  ## whole experiments of minutes: commands and model families through Snakemake
	$(BIN)/python -m pytest -m pipeline -n $(CORES) --dist loadfile --durations=0

SLURM_TESTS ?= test
test-slurm: .venv/.installed  ## the Slurm profile and its faults on a real one-node Slurm; SLURM_TESTS chooses some of them
	$(BIN)/python -m pytest -m slurm -rs --durations=0 -k "$(SLURM_TESTS)"

# So old a transformers wants older releases of these two as well, and the same torch.
COMPAT := .compat
COMPAT_PACKAGES := transformers==4.45.2 tokenizers==0.20.3 huggingface_hub==0.26.5
$(COMPAT)/.installed: Makefile | .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(COMPAT) $(COMPAT_PACKAGES)
	touch $@

test-compat: $(COMPAT)/.installed  ## exported models in transformers 4.45, which is installed in a folder of its own
	WAGLE_COMPAT=$(CURDIR)/$(COMPAT) $(BIN)/python -m pytest -m compat -rs tests/test_portable.py

BENCH_MODEL ?= results/tofu-smollm2-cpu/models/target/checkpoint
BENCH_EMBEDDER ?= results/tofu-smollm2-cpu/models/embedder/model
BENCH_ROWS ?= results/tofu-smollm2-cpu/data
DATA ?=
bench-statistics: .venv/.installed  ## error rates of the statistics engine, into results/bench_statistics.md
	$(BIN)/python benchmarks/bench_statistics.py

bench: .venv/.installed  ## the CPU benchmarks, into results/bench.json: make bench DATA=/path/to/data, after tofu-smollm2-cpu
	$(BIN)/python benchmarks/bench_selection.py
	$(BIN)/python benchmarks/bench_training.py --model $(BENCH_MODEL) --data $(DATA)
	$(BIN)/python benchmarks/bench_evaluation.py --model $(BENCH_MODEL) --embedder $(BENCH_EMBEDDER) --data $(BENCH_ROWS) --rows 4
	$(BIN)/python benchmarks/bench_gpu.py --size small

lint: .venv/.installed  ## style and workflow checks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint
	$(BIN)/lint-imports

format: .venv/.installed  ## apply the style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile rules

clean-intermediates:  ## gradients, curvatures, activations and scores of finished experiments: large, and made again when needed
	rm -rf results/*/gradients results/*/row_gradients results/*/curvature results/*/activations results/*/scores
