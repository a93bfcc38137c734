# Two commands on a fresh machine: `make demo` and `make test`. Both make .venv and install what is needed.
PYTHON ?= python3
BIN := .venv/bin
DEMO ?= demo

.PHONY: help install demo test check lint types bench faults audit ablate docs clean

help:  ## What can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

.venv/.installed: pyproject.toml setup.py
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv (a few minutes the first time; PyTorch is large)"
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

install: .venv/.installed  ## The environment

demo: .venv/.installed  ## The whole pipeline on a small generated set; prints results, report and UI
	$(BIN)/mscl demo-data $(DEMO)/data
	$(BIN)/mscl run demo data.root=$(DEMO)/data/videos --workspace $(DEMO)/workspace

test: .venv/.installed check  ## Lint, types, import contracts and every test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

check: lint types  ## Lint, types, import contracts

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/lint-imports

types: .venv/.installed
	$(BIN)/mypy

bench: .venv/.installed  ## Ratios against what one would pick instead
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

faults: .venv/.installed  ## The long storms: kills, fuzzed videos, flipped bits
	$(BIN)/python -m pytest -m storm --timeout=3600

audit: .venv/.installed  ## Known weaknesses of the installed packages; needs a network
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/pip install --quiet --disable-pip-version-check pip-audit
	.venv/audit/bin/pip-audit --path "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

ABLATE_SEED ?= 11
ablate: .venv/.installed  ## The method against its baselines on a fresh generated set: table and picture (hours on a CPU)
	$(BIN)/mscl demo-data $(DEMO)/data-$(ABLATE_SEED) --seed $(ABLATE_SEED)
	$(BIN)/mscl ablate mscl moco mscl-no-fra mscl-no-lmcl mscl-no-mds supervised --base demo --name motion-only \
		data.root=$(DEMO)/data-$(ABLATE_SEED)/videos pretrain.min_steps=216 pretrain.epochs=6 finetune.epochs=8 \
		--seeds 10,11,12 --sweep moco:pretrain.optim.lr=0.001,0.003,0.01 --equal-time moco --workspace $(DEMO)/ablation

docs: .venv/.installed  ## The documentation, as HTML in docs/_build/html
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[docs]'
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

clean:  ## Remove the environment and the demo
	rm -rf .venv $(DEMO)
