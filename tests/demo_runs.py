"""Runs for the tests of the demo: a dictionary in a folder, and models that are slow or say what they are told."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import yaml

from pipelines.corpora import Columns
from pipelines.demo.answering import ServedRun
from pipelines.examples import Example, Prediction, Span
from pipelines.families import lexical

TRAIN = [
    Example("0", "She has gout.", spans=(Span(8, 12, "Disease"),)),
    Example("1", "No flu was seen.", spans=(Span(3, 6, "Disease"),)),
    Example("2", "BRCA1 was read.", spans=(Span(0, 5, "Gene"),)),
    Example("3", "All is well.", spans=()),
]


def write_dictionary(folder: Path) -> Path:
    """A run folder with a dictionary, and dev examples that it names."""
    (folder / "model").mkdir(parents=True)
    lexical.save(folder / "model", lexical.fit(TRAIN))
    dev = folder.parent / "dev.jsonl"
    rows = [
        {
            "id": example.id,
            "text": example.text,
            "spans": [{"start": s.start, "end": s.end, "label": s.label} for s in example.spans],
        }
        for example in TRAIN
    ]
    dev.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (folder / "config.yaml").write_text(yaml.safe_dump({"dev_file": str(dev)}), encoding="utf-8")
    return folder


@dataclass
class Scripted:
    """A model that gives one prediction to every text, after a while.

    Attributes:
        calls: sizes of the batches it was given.
        at_once: the most calls that ran at one time.
    """

    prediction: Prediction
    seconds: float = 0.0
    calls: list[int] = field(default_factory=list)
    running: int = 0
    at_once: int = 0


def predict(model: Scripted, examples, *, progress=True):
    del progress
    model.running += 1
    model.at_once = max(model.at_once, model.running)
    model.calls.append(len(examples))
    time.sleep(model.seconds * len(examples))
    model.running -= 1
    answer = model.prediction
    return [
        Prediction(e.id, spans=answer.spans, label=answer.label, scores=answer.scores)
        for e in examples
    ]


def served(model: Scripted, name: str = "scripted", **fields) -> ServedRun:
    values = {"columns": Columns(), "like": None, "answer": "spans", "pairs": False} | fields
    return ServedRun(name=name, family=SimpleNamespace(predict=predict), model=model, **values)
