"""What several tests share: no network, a tiny random Llama, a small corpus, and one run of the recipe on them."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import hypothesis
import pytest

# The same cases in each run, and none that fails because the machine is busy.
hypothesis.settings.register_profile("project", deadline=None, derandomize=True)
hypothesis.settings.load_profile("project")
# Before any library reads them.
os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
SAMPLE_CORPUS = ROOT / "data" / "samples" / "disease_ner"


def run_python(
    *arguments: object, timeout: float = 600, **options: object
) -> subprocess.CompletedProcess[str]:
    """Runs this Python with the arguments, as a user would, and returns what it wrote and its exit code."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        **({"cwd": ROOT} | options),
    )


@pytest.fixture(autouse=True)
def tiny_numbers():
    """The taggers' training flushes numbers below 1e-38 to zero in its process; tests of other things have them."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Llama of two layers with random weights, a token a byte, and TinyLlama's chat template."""
    from tiny_llama import write

    return write(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a BERT of two layers with random weights, a token a letter, without a head."""
    from tiny_encoder import write

    return str(write(tmp_path_factory.mktemp("models") / "bert"))


@pytest.fixture(scope="session")
def tokenizer(tiny_llama: Path):
    from pipelines.families.causal_lm import load_tokenizer

    return load_tokenizer(str(tiny_llama))


@pytest.fixture
def network(tiny_llama: Path):
    """A fresh copy of the tiny Llama, in float32 and on the CPU."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32).eval()


@pytest.fixture(scope="session")
def answering(tmp_path_factory: pytest.TempPathFactory):
    """A tiny Llama that knows the answers to `ANSWERED` by heart, in float32, and is not quite sure of them."""
    import torch
    from tiny_llama import learn_by_heart, write

    from pipelines.families import causal_lm
    from pipelines.families.causal_lm import sft

    folder = str(write(tmp_path_factory.mktemp("models") / "answering", hidden=64))
    tokenizer, model = (
        causal_lm.load_tokenizer(folder),
        causal_lm.load_network(folder, dtype=torch.float32),
    )
    prompt = causal_lm.prompt_for(
        tokenizer, format="list", labels=["Disease"], style="plain", constrained=True
    )
    rows = sft.training_rows(answered(), tokenizer, prompt, max_length=512).rows
    pairs = []
    for row in rows:
        start = next(place for place, label in enumerate(row["labels"]) if label != -100)
        pairs.append((row["input_ids"][:start], row["input_ids"][start:]))
    learn_by_heart(model, pairs, steps=300)
    with torch.no_grad():
        model.lm_head.weight *= (
            0.7  # the same answers, at probabilities that tell right from wrong figures
        )
    return causal_lm.Loaded(model.eval(), tokenizer, prompt)


ANSWERED = {
    "Colon cancer is no flu, she said.": [(0, 12), (19, 22)],
    "BRCA1 was read.": [],
    "A flu, then an even worse flu, was noted.": [(2, 5), (26, 29)],
    "It was all WAS.": [(11, 14)],
}


def answered():
    from pipelines.examples import Example, Span

    return [
        Example(str(number), text, spans=tuple(Span(start, end, "Disease") for start, end in spans))
        for number, (text, spans) in enumerate(ANSWERED.items())
    ]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A few rows of the sample corpus: train, dev, test, and the test split without its entities."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = {
        split: json.loads((SAMPLE_CORPUS / f"{split}.json").read_text(encoding="utf-8"))[:count]
        for split, count in (("train", 24), ("dev", 6), ("test", 8))
    }
    rows["unlabelled"] = [{"id": row["id"], "sentence": row["sentence"]} for row in rows["test"]]
    for split, content in rows.items():
        (folder / f"{split}.json").write_text(json.dumps(content), encoding="utf-8")
    return {split: folder / f"{split}.json" for split in rows}


@pytest.fixture(scope="session")
def recipe() -> ModuleType:
    return load_recipe("sft_tinyllama")


def load_recipe(name: str) -> ModuleType:
    """A recipe as a module: recipes/ is no package, so it is loaded by its path."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "recipes" / f"{name}.py")
        assert spec
        assert spec.loader
        # Dataclasses look their module up while it is being loaded.
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def smoke_arguments(tiny_llama: Path, corpus: dict[str, Path]) -> list[object]:
    """What `python` takes to run the recipe on the tiny Llama and the small corpus, but for the run folder."""
    return [
        ROOT / "recipes" / "sft_tinyllama.py",
        "--config",
        ROOT / "recipes" / "configs" / "sft_smoke.yaml",
        "--model_name_or_path",
        tiny_llama,
        "--train_file",
        corpus["train"],
        "--dev_file",
        corpus["dev"],
        "--test_file",
        corpus["test"],
    ]


@pytest.fixture(scope="session")
def smoke_run(smoke_arguments: list[object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of one run of the recipe, the merged model saved too; what it printed is in `stdout.txt`."""
    folder = tmp_path_factory.mktemp("runs") / "smoke"
    done = run_python(*smoke_arguments, "--run_dir", folder, "--save_merged", "true")
    assert done.returncode == 0, done.stderr
    (folder / "stdout.txt").write_text(done.stdout, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL server that runs for the tests alone, where its programs are installed."""
    installed = [
        *Path("/usr/lib/postgresql").glob("*/bin/initdb"),
        *filter(None, [shutil.which("initdb")]),
    ]
    if not installed:
        pytest.skip("PostgreSQL is not installed")
    folder, programs = (
        tempfile.mkdtemp(prefix="pg-"),
        Path(installed[0]).parent,
    )  # the path of a socket has to be short
    owner = {}
    if os.geteuid() == 0:  # the server refuses to be run by root
        owner = {"user": "nobody"}
        shutil.chown(folder, "nobody")
    for command in (
        [programs / "initdb", "-D", f"{folder}/data", "-U", "tests", "-A", "trust", "--no-sync"],
        [
            programs / "pg_ctl",
            "-D",
            f"{folder}/data",
            "-w",
            "-l",
            f"{folder}/log",
            "-o",
            f"-c listen_addresses='' -k {folder}",
            "start",
        ],
    ):
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, **owner)
    try:
        yield f"postgresql://tests@/postgres?host={folder}"
    finally:
        subprocess.run(
            [programs / "pg_ctl", "-D", f"{folder}/data", "-m", "immediate", "stop"],
            check=True,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            **owner,
        )
        shutil.rmtree(folder)


def class_files(folder: Path, **sizes: int) -> list[str]:
    """Files of texts with two classes, as the options that name them: split -> number of texts."""
    words = []
    for split, texts in sizes.items():
        rows = [
            {"id": f"{split}{n}", "text": f"text {n} of {split}", "label": "ab"[n % 2]}
            for n in range(texts)
        ]
        file = folder / f"{split}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        words += [f"--{split}_file", str(file)]
    return words
