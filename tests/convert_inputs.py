"""Examples of each answer, and helpers, for the tests of other tools' formats."""

import json

from pipelines.corpora.convert import convert, gold_content
from pipelines.examples import Example, Span

TEXT = "Acute gout, no flu 😀 then flu."

MENTIONS = Example("7-0", TEXT, spans=(Span(0, 10, "Disease"), Span(26, 29, "Sign or Symptom")))

NO_MENTION = Example("7-1", "No pain.", spans=())

UNLABELLED = Example("7-2", "Who knows?")

CLASSES = [
    Example("a", "good", label="pos"),
    Example("b", 'said "x", so', label="neg"),
    Example("c", "unsaid"),
]

SETS = [Example("a", "both", label=("pos", "neg")), Example("b", "none", label=())]

NUMBERS = [
    Example("a", "good", label=4.5, pair="better"),
    Example("b", "bad", label=-1.0, pair="x"),
]


def written(tmp_path, name, examples, to=None):
    path = tmp_path / name
    done = convert(gold_content(examples), path, to=to)
    return path, done


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
