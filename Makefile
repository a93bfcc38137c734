# Two commands on a fresh machine: `make demo` and `make test`. Both make .venv and install what is needed.
PYTHON ?= python3
BIN := .venv/bin
DEMO ?= demo
TEST_WORKERS ?= 2

.PHONY: help install demo test test-gpu check lint types bench faults lowest audit ablate settings docs clean

help:  ## What can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

# What is compiled is part of it: a library of other sources is refused.
SOURCES := pyproject.toml setup.py $(wildcard kernels/*.cpp kernels/tvl1/*.cpp kernels/tvl1/*.h storage/flow_store/*.cpp)

.venv/.installed: $(SOURCES)
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv what runs and what tests need (a few minutes the first time; PyTorch is large)"
	$(BIN)/pip install --disable-pip-version-check -e '.[dev]'
	@touch $@

.venv/.runs: $(SOURCES)
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv what runs need (a few minutes the first time; PyTorch is large)"
	$(BIN)/pip install --disable-pip-version-check -e .
	@touch $@

install: .venv/.installed  ## The environment

demo: $(if $(wildcard .venv/.installed),.venv/.installed,.venv/.runs)  ## The whole pipeline on a small generated set; prints results, report and UI
	$(BIN)/mscl demo-data $(DEMO)/data
	$(BIN)/mscl run demo+kind data.root=$(DEMO)/data/videos --workspace $(DEMO)/workspace

# Hundreds of processes are started, and each would compile our modules where compiled ones may not be written.
test: .venv/.installed check  ## Lint, types, import contracts and every test
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

check: lint types  ## Lint, types, import contracts

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/lint-imports

types: .venv/.installed
	$(BIN)/mypy

# The others want a folder of videos, a GPU or hours, and say so at their top.
BENCHMARKS ?= embed extract flow flow_spans imports loader motion orchestration process_end reader report retrieval \
	startup step tvl1
bench: .venv/.installed  ## Ratios against what one would pick instead
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[bench]'
	@for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python -m benchmarks.$$name || exit 1; done

test-gpu: .venv/.installed  ## What only a GPU can show: a minute on one card, skipped where there is none
	$(BIN)/python -m pytest -m gpu -rs

faults: .venv/.installed  ## The long storms: kills, fuzzed videos, flipped bits
	$(BIN)/python -m pytest -m storm --timeout=3600

# A virtual environment of its own; several GB where the lowest PyTorch is not on disk.
lowest: .venv/.installed  ## One small run on the lowest versions that pyproject.toml allows
	$(PYTHON) -m venv .venv/lowest
	.venv/lowest/bin/pip install --quiet --disable-pip-version-check uv
	.venv/lowest/bin/uv pip compile --quiet --resolution lowest-direct pyproject.toml -o .venv/lowest/requirements.txt
	.venv/lowest/bin/pip install --disable-pip-version-check -r .venv/lowest/requirements.txt
	.venv/lowest/bin/pip install --quiet --disable-pip-version-check --no-deps -e .
	.venv/lowest/bin/pip install --quiet --disable-pip-version-check pytest pytest-timeout pytest-xdist hypothesis
	OMP_NUM_THREADS=1 .venv/lowest/bin/python -m pytest tests/mscl/demo tests/mscl/pipeline tests/flows/test_full_flow.py

audit: .venv/.installed  ## Known weaknesses of the installed packages; needs a network
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/pip install --quiet --disable-pip-version-check pip-audit
	.venv/audit/bin/pip-audit --strict --path "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

# What docs/results holds, but motion-only, whose videos were an earlier generator's. A GPU is used where there is one; the
# committed numbers of the suite were made with ABLATE_WITH='runtime.device=cuda flow.backend=cpp', those of
# stills and shortcut with cpu.
# VIDEOS has weizmann64/<action>/ and ucf101/<class>/; LISTS the official lists of the latter.
VIDEOS ?= ../shared/data/videos
LISTS ?= ../shared/data/annotations/ucf101_3class_subset
ABLATE_WITH ?=
ABLATE := $(BIN)/mscl ablate --export docs/results --workspace $(DEMO)/ablation runtime.threads=1 $(ABLATE_WITH)
ON_SUITE := $(ABLATE) mscl moco mscl-rotation-negatives --control mscl --control moco --control mscl-rotation-negatives \
	supervised finetune.epochs=15
ON_VIDEOS := $(ABLATE) mscl moco mscl-no-fra mscl-no-lmcl mscl-no-mds released-d5 released-d6 released-d7 supervised \
	--base demo --seeds 0,1,2 --sweep moco:pretrain.optim.lr=0.001,0.003,0.01 --equal-time moco pretrain.epochs=6
REST_OF_GRID := mscl-no-fra mscl-rotation-hard mscl-no-lmcl mscl-no-mds
OWN_MOCO := --sweep moco:pretrain.loss.temperature=0.1,0.07
folds = $(foreach seed,$(2),--fold data.root=$(DEMO)/suite-$(seed)/$(1)/videos)
SIX := 101 102 103 104 105 106
ablate: .venv/.installed  ## The method against its baselines: tables and pictures in docs/results (hours)
	for seed in $(SIX); do $(BIN)/mscl demo-data --suite $(DEMO)/suite-$$seed --seed $$seed || exit 1; done
	$(ON_SUITE) --name direction --base demo+kind $(REST_OF_GRID) \
		--seeds 101,102,103,104,105,106 $(call folds,direction,$(SIX))
	$(ABLATE) mscl moco --control mscl --base demo+kind $(OWN_MOCO) --name direction-on-cpu runtime.device=cpu \
		--seeds 101,102,103,104,105,106 $(call folds,direction,$(SIX))
	$(ON_SUITE) --name order mscl-no-fra mscl-no-lmcl --seeds 101,102,103,104,105,106 $(call folds,order,$(SIX))
	$(ABLATE) mscl mscl-rotation-hard mscl-no-mds --control mscl --base demo --name order-on-cpu runtime.device=cpu \
		--seeds 101,102,103,104,105,106 $(call folds,order,$(SIX))
	$(ON_SUITE) --base demo --name shortcut $(REST_OF_GRID) $(OWN_MOCO) \
		--seeds 101,102,103,104,105,106 $(call folds,shortcut,$(SIX))
	$(ABLATE) mscl moco mscl-rotation-negatives $(REST_OF_GRID) supervised finetune.epochs=15 --base demo --name stills \
		--seeds 101,102,103,104,105,106 $(call folds,stills,$(SIX))
	$(ON_VIDEOS) --name weizmann64 data.root=$(VIDEOS)/weizmann64 data.max_segment_seconds=1 \
		--fold 'data.test_pattern=subject0[012]' --fold 'data.test_pattern=subject0[345]' \
		--fold 'data.test_pattern=subject0[678]' pretrain.min_steps=160 finetune.epochs=60
	$(ON_VIDEOS) --name ucf101-3 data.root=$(VIDEOS)/ucf101 data.annotations=$(LISTS) data.max_bad_fraction=0.9 \
		--fold data.split=1 --fold data.split=2 --fold data.split=3 pretrain.min_steps=96 finetune.epochs=30

settings: .venv/.installed  ## docs/settings.md, from the docstrings of the settings
	$(BIN)/python -m mscl.config.settings_page > docs/settings.md

docs: .venv/.installed  ## The documentation, as HTML in docs/_build/html
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[docs]'
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

clean:  ## Remove the environment and the demo
	rm -rf .venv $(DEMO)
