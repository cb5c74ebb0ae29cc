"""Damaged files: whatever is in one, it is read or refused by one message, never by another exception."""

import contextlib
import io
import json
import os
import random
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from mutators import mutated

from pipelines.corpora import read_corpus
from pipelines.corpora.predictions import read_predictions
from pipelines.errors import UserError
from pipelines.examples import Example, Prediction, Span
from pipelines.submission import write_submission

CASES, FAST = 4_000, 100
SLOWEST = 5.0  # seconds for one file of a few hundred bytes
SHOWN = 15

ROWS = [
    {
        "id": "a",
        "text": "Mutations cause breast cancer.",
        "entities": [{"start": 16, "end": 29, "type": "Disease"}],
    },
    {"id": "b", "text": "No finding at all.", "entities": []},
    {
        "id": "c",
        "text": "Gout hurts, caf\u00e9.",
        "entities": [{"start": 0, "end": 4, "type": "Disease"}],
    },
]
TAGGED = [
    ("Gout", "B-Disease"),
    ("hurts", "O"),
    (".", "O"),
    ("", ""),
    ("Breast", "B-Disease"),
    ("cancer", "I-Disease"),
    ("too", "O"),
    ("", ""),
]
REVIEWS = [
    ("A good film", "pos"),
    ("Bad, really bad", "neg"),
    ("So so", "neg"),
    ("What a treat", "pos"),
]
STEPS = [[[0.5, 1], [2, -1.5]], [[1, 0]], [[0, 0], [1e3, 2], [3, 4]]]
EXAMPLES = [Example(str(i), text) for i, (text, _) in enumerate(REVIEWS)]
SPANS = [Prediction(example.id, spans=(Span(0, 1, "X"),)) for example in EXAMPLES]
CLASSES = [
    Prediction(str(i), label=label, scores={"pos": 0.5, "neg": 0.5})
    for i, (_, label) in enumerate(REVIEWS)
]


def lines(rows):
    return "\n".join(rows) + "\n"


def conllu():
    word = "{}\t{}\t{}\tNOUN\tNN\t_\t0\troot\t_\tNER={}"
    tokens = [
        word.format(i, token, token.lower(), tag)
        for i, (token, tag) in enumerate(TAGGED[:3], start=1)
    ]
    return lines(
        [
            "# sent_id = a",
            "# text = Gout hurts.",
            *tokens,
            "1-2\tGouthurts\t_\t_\t_\t_\t_\t_\t_\t_",
            "",
        ]
    )


def read_with_sample(path):
    """Submits classes to a sample, and mentions if it does not ask for classes."""
    out = path.with_name("submission.csv")
    try:
        write_submission(CLASSES, EXAMPLES, sample=path, out=out)
    except UserError:
        write_submission(SPANS, EXAMPLES, sample=path, out=out)


class Family(NamedTuple):
    """Files of one layout: their ending, how their structure is changed, what they hold, and what reads them."""

    ending: str
    kind: str
    seeds: list[str]
    read: Callable[[Path], object] = read_corpus


FAMILIES = {
    "json": Family(
        "json",
        "json",
        [
            json.dumps(ROWS),
            json.dumps({"data": ROWS}),
            json.dumps(
                [
                    {"tokens": ["Gout", "hurts"], "ner_tags": ["B-Disease", "O"]},
                    {"tokens": ["No"], "ner_tags": ["O"]},
                ]
            ),
            json.dumps(
                [{"id": i, "text": text, "label": label} for i, (text, label) in enumerate(REVIEWS)]
            ),
        ],
    ),
    "json lines": Family(
        "jsonl",
        "json lines",
        [
            lines(map(json.dumps, ROWS)),
            lines(json.dumps({"text": t, "label": c}) for t, c in REVIEWS),
            lines(
                json.dumps({"text": text, "labels": [[0, len(text.split()[0]), "X"]]})
                for text, _ in REVIEWS
            ),
            lines(json.dumps({"text": t, "score": i / 2}) for i, (t, _) in enumerate(REVIEWS)),
        ],
    ),
    "sequences": Family(
        "jsonl",
        "json lines",
        [
            lines(
                json.dumps({"id": i, "features": x, "value": i / 2}) for i, x in enumerate(STEPS)
            ),
            lines([json.dumps({"x": STEPS, "y": [0.5, 1.5, 2.5]})]),
        ],
    ),
    "csv": Family(
        "csv",
        "table",
        [
            lines(
                [
                    "id,text,label",
                    *(f'{i},"{text}",{label}' for i, (text, label) in enumerate(REVIEWS)),
                ]
            ),
            lines(
                [
                    "text,toxic,insult",
                    *(f'"{text}",{i % 2},0' for i, (text, _) in enumerate(REVIEWS)),
                ]
            ),
            lines(
                ["sentence,entities", '"Gout hurts","[{""start"": 0, ""end"": 4}]"', '"No","[]"']
            ),
            lines(
                [
                    "Sentence #,Word,Tag",
                    "Sentence: 1,Gout,B-Disease",
                    ",hurts,O",
                    "Sentence: 2,No,O",
                ]
            ),
        ],
    ),
    "tsv": Family(
        "tsv",
        "table",
        [
            lines(["text\tlabel", *(f"{text}\t{label}" for text, label in REVIEWS)]),
            lines(
                [
                    "sentence1\tsentence2\tscore",
                    *(f"{text}\tanother\t{i}.5" for i, (text, _) in enumerate(REVIEWS)),
                ]
            ),
        ],
    ),
    "conll": Family(
        "conll",
        "lines",
        [
            lines(f"{token}\t{tag}".strip() for token, tag in TAGGED),
            "-DOCSTART- -X- O\n\n"
            + lines(f"{token} NN {tag}" if token else "" for token, tag in TAGGED),
        ],
    ),
    "conllu": Family("conllu", "lines", [conllu()]),
    "pubtator": Family(
        "txt",
        "lines",
        [
            "1|t|Gout hurts.\n1|a|No abstract.\n1\t0\t4\tGout\tDisease\tD006073\n\n2|t|Nothing\n2|a|\n"
        ],
    ),
    "review lines": Family(
        "txt",
        "lines",
        [
            lines(f"{int(label == 'pos')} {text}" for text, label in REVIEWS),
            lines(f"{text}\t{int(label == 'pos')}" for text, label in REVIEWS),
        ],
    ),
    "fasttext lines": Family(
        "txt",
        "lines",
        [
            lines(f"__label__{label} {text}" for text, label in REVIEWS),
            lines(f"__label__{label} __label__film {text}" for text, label in REVIEWS),
        ],
    ),
    "predictions": Family(
        "jsonl",
        "json lines",
        [
            lines(
                json.dumps(
                    {"id": row["id"], "spans": [{"start": 0, "end": 2, "label": "X", "score": 0.5}]}
                )
                for row in ROWS
            ),
            lines(
                json.dumps({"id": i, "label": label, "scores": {"pos": 0.25, "neg": 0.75}})
                for i, (_, label) in enumerate(REVIEWS)
            ),
            lines(json.dumps({"id": i, "value": i / 2}) for i in range(3)),
        ],
        read_predictions,
    ),
    "sample submission": Family(
        "csv",
        "table",
        [
            lines(["id,label", *(f"{i},{label}" for i, (_, label) in enumerate(REVIEWS))]),
            lines(["id,pos,neg", *(f"{i},0.5,0.5" for i in range(4))]),
            lines(["id,entities", *(f'{i},"[""a"", ""b""]"' for i in range(4))]),
            lines(["id,PredictionString", *(f"{i},0 1 2" for i in range(4))]),
        ],
        read_with_sample,
    ),
}


def case(name: str, number: int) -> bytes:
    """The damaged file of a number, the same each time."""
    rng = random.Random(f"{name} {number}")
    family = FAMILIES[name]
    return mutated(rng.choice(family.seeds).encode(), family.kind, rng)


def failures(name: str, numbers: range, folder: Path) -> list[str]:
    """Reads damaged files; one line for each different place where an exception that is no UserError came from."""
    family = FAMILIES[name]
    path = folder / f"file.{family.ending}"
    found: dict[object, str] = {}
    for number in numbers:
        content = case(name, number)
        path.write_bytes(content)
        started = time.process_time()
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                family.read(path)
        except UserError as error:
            if not str(error).strip():
                found.setdefault("empty", f"{number}: an error without a message")
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = type(error).__name__, frame.filename, frame.lineno
            place = f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
            said = f"{type(error).__name__}: {str(error)[:100]} ({place})"
            found.setdefault(where, f"{number}: {said}, read {content[:300]!r}")
        taken = time.process_time() - started
        if taken > SLOWEST:
            found.setdefault("slow", f"{number}: {taken:.1f} s for {len(content)} bytes")
    return list(found.values())


@pytest.fixture
def folder():
    """A folder in memory, where the system has one: a million small files are written."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as path:
        yield Path(path)


def check(name, numbers, folder):
    found = failures(name, numbers, folder)
    assert not found, (
        f"{len(found)} kinds of failure in {name}; `case(name, number)` makes the file:\n"
        + "\n".join(found[:SHOWN])
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_a_whole_file_of_each_layout_is_read(name, folder):
    family = FAMILIES[name]
    for number, seed in enumerate(family.seeds):
        path = folder / f"{number}.{family.ending}"
        path.write_text(seed, encoding="utf-8")
        family.read(path)


@pytest.mark.parametrize("name", FAMILIES)
def test_damaged_files_are_read_or_refused(name, folder):
    check(name, range(FAST), folder)


@pytest.mark.extensive
@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_many_damaged_files_are_read_or_refused(name, folder):
    check(name, range(CASES), folder)


def test_mutators_change_most_files_and_give_the_same_ones_each_time():
    for name, family in FAMILIES.items():
        damaged = [case(name, number) for number in range(FAST)]
        assert damaged == [case(name, number) for number in range(FAST)]
        seeds = {seed.encode() for seed in family.seeds}
        assert sum(content not in seeds for content in damaged) > FAST // 2
