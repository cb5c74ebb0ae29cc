"""Seconds of tagging a corpus with an encoder: PyTorch, ONNX Runtime, OpenVINO, and spaCy's `ner`.

    python benchmarks/tagger_prediction.py --run RUN [--sentences 923] [--rounds 2]

RUN is a run of `finetune_token_tagger`. Its model is exported to ONNX in float32 and int8 first.
All engines but spaCy run the same network behind the same tokenizer, windows and decoder, in turn,
on the dev set of the run. spaCy has a network of its own, with the weights that it starts from: it
is timed, but has no F1 and does not count as a peer. What is not installed is named without a
number. The last line has the medians of the rounds, and ends with the time of the fastest peer over
that of the fastest of ours (PyTorch, or what `pipelines export` writes).
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from pipelines.evaluation.span_scores import score_spans
from pipelines.examples import Example, Prediction
from pipelines.exporting import onnx_format
from pipelines.exporting.source import open_source
from pipelines.families import token_tagger
from pipelines.networks.onnx_network import ONNX_FILE, OnnxNetwork, Output
from pipelines.runs.run import Run

Tag = Callable[[Sequence[Example]], list[Prediction]]
OURS = ("pytorch", "onnx_float32", "onnx_int8")
UNTRAINED = "spacy"


class OpenVinoNetwork(OnnxNetwork):
    """An ONNX file run by OpenVINO."""

    def __init__(self, folder: Path):
        import openvino

        super().__init__(folder)
        options = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "PERFORMANCE_HINT": "LATENCY"}
        self.compiled = openvino.compile_model(str(folder / ONNX_FILE), "CPU", options)

    def __call__(self, **inputs: Tensor) -> Output:
        logits = self.compiled({name: inputs[name].numpy() for name in self.inputs})[0]
        return Output(torch.from_numpy(logits))


def engines(run: Run, folder: Path) -> dict[str, tuple[str, Callable[[], Tag]]]:
    """Name -> the package that it needs, and what makes it ready."""
    source = open_source(run, "onnx")
    loaded = source.load()
    examples = run.examples("dev")[:8]

    def exported(dtype: str) -> Path:
        out = folder / dtype
        if not out.exists():
            out.mkdir()
            onnx_format.write(source, source.load(), examples, out, dtype)
        return out

    def network(model: Any) -> Tag:
        swapped = loaded._replace(model=model)
        return lambda texts: token_tagger.predict(swapped, texts, progress=False)

    def spacy_ner() -> Tag:
        import spacy

        language = spacy.blank("en")
        tagger: Any = language.add_pipe("ner")
        tagger.add_label("Disease")
        language.initialize()

        def run_spacy(texts: Sequence[Example]) -> list[Prediction]:
            documents = language.pipe([example.text for example in texts], batch_size=256)
            return [Prediction(str(i), spans=()) for i, _ in enumerate(documents)]

        return run_spacy

    return {
        "pytorch": ("torch", lambda: network(loaded.model)),
        "onnx_float32": ("onnxruntime", lambda: network(OnnxNetwork(exported("float32")))),
        "onnx_int8": ("onnxruntime", lambda: network(OnnxNetwork(exported("int8")))),
        "openvino_float32": ("openvino", lambda: network(OpenVinoNetwork(exported("float32")))),
        "openvino_int8": ("openvino", lambda: network(OpenVinoNetwork(exported("int8")))),
        UNTRAINED: ("spacy", spacy_ner),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", required=True, help="run folder of a fine-tuned tagger")
    parser.add_argument("--sentences", type=int, help="of the dev set (default: all)")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    run = Run.open(options.run)
    examples = run.examples("dev")[: options.sentences]
    with tempfile.TemporaryDirectory() as folder:
        ready: dict[str, Tag] = {}
        for name, (package, prepare) in engines(run, Path(folder)).items():
            if importlib.util.find_spec(package) is None:
                print(f"{name:<16} not installed ({package})", flush=True)
                continue
            ready[name] = prepare()
            ready[name](examples[:16])
        seconds = measure(ready, examples, options.rounds)
    peers = {name: value for name, value in seconds.items() if name not in (*OURS, UNTRAINED)}
    mine = min((name for name in OURS if name in seconds), key=seconds.__getitem__)
    if not peers:
        print(f"tagging: {mine} {seconds[mine]:.2f} s for {len(examples)} sentences")
        return
    best = min(peers, key=peers.__getitem__)
    print(
        f"tagging {len(examples)} sentences: {best} {peers[best]:.2f} s, {mine} "
        f"{seconds[mine]:.2f} s, {peers[best] / seconds[mine]:.1f}x"
    )


def measure(ready: dict[str, Tag], examples: Sequence[Example], rounds: int) -> dict[str, float]:
    """The median seconds of each engine, in turn; prints each time and the F1."""
    seconds: dict[str, list[float]] = {name: [] for name in ready}
    gold = [example.spans or () for example in examples]
    for _ in range(rounds):
        for name, tag in ready.items():
            start = time.perf_counter()
            predictions = tag(examples)
            taken = time.perf_counter() - start
            seconds[name].append(taken)
            spans = [prediction.spans or () for prediction in predictions]
            scored = f"strict F1 {100 * score_spans(gold, spans)['strict']['f1']:.2f}"
            print(
                f"{name:<16} {taken:7.2f} s  {'untrained' if name == UNTRAINED else scored}",
                flush=True,
            )
    return {name: median(times) for name, times in seconds.items()}


if __name__ == "__main__":
    main()
