"""Answering a corpus of shards on Ray: rows a second of one worker and of two, each of one thread.

    python benchmarks/corpus_prediction.py --sentences 5000
    python benchmarks/corpus_prediction.py --sentences 200000 --folder runs/corpus_prediction

The texts are abstracts of PubMed, a sentence each (those of the sample corpus where they are
absent), repeated as often as it takes, in Parquet shards. The models are a CRF and MiniLM that
tags, trained for a moment on the NCBI disease corpus (or the sample corpus). Each job is a command
of its own; its time begins when the first batch is answered, so that starting Python, Ray and the
model is left out, and is shown beside it. All jobs, and the embedded engine, have to write the same
bytes. With `--folder` the runs and shards are kept, and not made again. The last line ends with the
speed of the most workers over that of one, for the last model.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet

from pipelines.corpora import read_examples

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("PIPELINES_DATA", ROOT.parent / "shared" / "data"))
SAMPLE = ROOT / "data" / "samples" / "disease_ner"
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
RECIPES: dict[str, list[str | Path]] = {
    "crf": ["train_tagger.py", "--network", "crf", "--max_iterations", "30"],
    "minilm": [
        "finetune_token_tagger.py",
        *("--config", ROOT / "recipes" / "configs" / "tagger_minilm.yaml"),
        *("--max_steps", "60"),
    ],
}
SAID = re.compile(r"(\d+) rows read now in ([\d.]+) s.*?\(and ([\d.]+) s to start\)")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sentences", type=int, default=200_000)
    parser.add_argument("--shards", type=int, default=20)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--models", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--embedded", action="store_true", help="time the embedded engine too")
    parser.add_argument("--folder", type=Path, help="keep runs and shards here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        shards = folder / f"shards-{options.sentences}-{options.shards}"
        if not shards.exists():
            write_shards(shards, options.sentences, options.shards)
        for model in options.models:
            run = folder / model
            if not (run / "model").exists():
                train(model, run)
            measure(model, run, shards, options)


def texts() -> Iterator[str]:
    """Sentences without end."""
    file = DATA / "pubmed_text" / "sentences.txt.gz"
    if file.exists():
        with gzip.open(file, "rt", encoding="utf-8") as f:
            found = [line.strip() for line in f if line.strip()]
    else:
        found = [example.text for example in read_examples(SAMPLE / "train.json")]
    return itertools.cycle(found)


def write_shards(folder: Path, n_sentences: int, n_shards: int) -> None:
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    sentences = texts()
    for shard in range(n_shards):
        numbers = range(n_sentences * shard // n_shards, n_sentences * (shard + 1) // n_shards)
        columns = {
            "id": [str(number) for number in numbers],
            "text": [next(sentences) for _ in numbers],
        }
        pyarrow.parquet.write_table(pyarrow.table(columns), partial / f"{shard:04}.parquet")
    partial.rename(folder)


def train(model: str, run: Path) -> None:
    corpus = DATA / "ncbi_disease"
    corpus = corpus if corpus.exists() else SAMPLE
    files: list[str | Path] = []
    for split in ("train", "dev", "test"):
        files += [f"--{split}_file", corpus / f"{split}.json"]
    recipe, *more = RECIPES[model]
    command([ROOT / "recipes" / recipe, *more, *files, "--run_dir", run])


def command(words: list[str | Path]) -> str:
    """Runs Python with one thread in each process; what it printed."""
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        env=os.environ | ONE_THREAD,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def measure(model: str, run: Path, shards: Path, options: argparse.Namespace) -> None:
    jobs = {
        f"{count} on Ray": ["--engine", "ray", "--workers", str(count)] for count in options.workers
    }
    if options.embedded:
        jobs = {"embedded": [], **jobs}
    speeds: dict[str, float] = {}
    first: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory(dir=shards.parent) as temporary:
        for name, more in jobs.items():
            out = Path(temporary, name.replace(" ", "-"))
            words: list[str | Path] = ["-m", "pipelines.cli", "predict", "--run", run]
            words += ["--input", shards / "*.parquet", "--output", out, *more]
            found = SAID.search(command(words))
            if found is None:
                raise SystemExit("the command did not say what it did")
            rows, seconds, start = int(found[1]), float(found[2]), float(found[3])
            speeds[name] = rows / seconds
            took = f"{rows} rows in {seconds:8.1f} s (and {start:.1f} s to start)"
            print(f"{model:<8} {name:<10} {took}  {speeds[name]:8.1f} rows/s", flush=True)
            written = {path.name: path.read_bytes() for path in sorted(out.glob("*.parquet"))}
            first = first or written
            if written != first:
                raise SystemExit(f"{model}, {name}: other bytes than the first job's")
    few, many = options.workers[0], options.workers[-1]
    slow, fast = speeds[f"{few} on Ray"], speeds[f"{many} on Ray"]
    print(
        f"{model}: {few} worker {slow:.0f} rows/s, {many} workers {fast:.0f} rows/s, "
        f"{fast / slow:.2f}x",
        flush=True,
    )


if __name__ == "__main__":
    main()
