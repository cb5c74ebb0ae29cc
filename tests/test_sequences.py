"""Files of sequences: each form is read alike, and what is not sure or not sound is refused."""

import gzip
import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest

from pipelines import cli
from pipelines.corpora import Columns, read_corpora, read_corpus, read_examples
from pipelines.corpora.stream import stream_examples
from pipelines.errors import DataError, UserError

RANDOM = np.random.default_rng(0)
SEQUENCES = [RANDOM.normal(size=(length, 3)).astype(np.float32) for length in (4, 1, 2, 5)]
VALUES = [0.5, -1.25, 3.0, 2.0]


def objects(items):
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def padded():
    array = np.full((4, 6, 3), np.nan, dtype=np.float32)
    for row, steps in enumerate(SEQUENCES):
        array[row, : len(steps)] = steps
    return array


def lists():
    return [[[float(str(x)) for x in step] for step in steps] for steps in SEQUENCES]


def json_lines():
    rows = [{"id": f"s{i}", "features": x, "value": y} for i, (x, y) in rows_of()]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def rows_of():
    return enumerate(zip(lists(), VALUES, strict=True))


def npz(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def pairs():
    array = np.empty((4, 2), dtype=object)
    for row, (steps, value) in enumerate(zip(SEQUENCES, VALUES, strict=True)):
        array[row, 0], array[row, 1] = steps, value
    return array


LENGTHS = np.array([4, 1, 2, 5])
FILES = {
    "lines.jsonl": json_lines(),
    "lines.jsonl.gz": gzip.compress(json_lines()),
    "list.json": json.dumps([{"x": x, "y": y} for _, (x, y) in rows_of()], indent=1).encode(),
    "columns.json": json.dumps({"sequences": lists(), "target": VALUES}).encode(),
    "objects.npz": npz(X=objects(SEQUENCES), y=VALUES),
    "padded.npz": npz(features=padded(), lengths=LENGTHS, value=np.array(VALUES)),
    "joined.npz": npz(x=np.concatenate(SEQUENCES), lengths=LENGTHS, labels=np.array(VALUES)),
    "pairs.npy": npy(pairs()),
    "dict.pkl": pickle.dumps({"X": objects(SEQUENCES), "y": np.array(VALUES)}),
    "tuple.pickle": pickle.dumps((objects(SEQUENCES), np.array(VALUES))),
    "list.pkl": pickle.dumps([SEQUENCES, VALUES], protocol=0),
    "pairs.pkl": pickle.dumps(list(zip(SEQUENCES, VALUES, strict=True)), protocol=2),
    "rows.pkl": pickle.dumps(
        [{"features": x, "value": y} for x, y in zip(SEQUENCES, VALUES, strict=True)]
    ),
    "gzipped.pkl.gz": gzip.compress(pickle.dumps((lists(), VALUES))),
}


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content)
    return path


def content_of(examples):
    return [(one.features.width, one.features.values) for one in examples]


@pytest.mark.parametrize("name", FILES)
def test_each_form_is_read_alike(name, tmp_path):
    path = write(tmp_path, name, FILES[name])
    corpus = read_corpus(path, answer="value")
    assert corpus.faults == []
    assert [example.label for example in corpus.examples] == VALUES
    assert content_of(corpus.examples) == [(3, steps.tobytes()) for steps in SEQUENCES]
    assert all(example.text == "" for example in corpus.examples)
    streamed = list(stream_examples(str(path), columns=Columns()))
    assert content_of(streamed) == content_of(corpus.examples)
    assert [one.id for one in streamed] == [one.id for one in corpus.examples]


def test_sequences_alone_are_unlabelled(tmp_path):
    for name, content in {
        "a.npy": npy(objects(SEQUENCES)),
        "b.npy": npy(padded()[:, :1]),
        "c.npz": npz(features=objects(SEQUENCES)),
        "d.pkl": pickle.dumps(SEQUENCES),
    }.items():
        examples = read_corpus(write(tmp_path, name, content)).examples
        assert [example.label for example in examples] == [None] * 4


def test_a_line_by_itself_is_one_sequence(tmp_path):
    path = write(tmp_path, "one.jsonl", b'{"features": [[1, 2], [3, 4]], "value": 0.5}\n')
    [example] = read_examples(path, answer="value")
    assert len(example.features) == 2


@pytest.mark.parametrize(
    "row",
    [
        {"text": "Gout hurts.", "x": [[0, 4]]},
        {"tokens": ["Gout"], "features": [[0, 1]]},
        {"sentence": "Gout", "label": [[0, 4, "Disease"]], "x": [[1.0]]},
    ],
)
def test_a_row_with_a_text_is_none(row, tmp_path):
    path = write(tmp_path, "text.jsonl", (json.dumps(row) + "\n").encode())
    assert read_corpus(path, answer="text").examples[0].features is None


def test_named_columns_are_read(tmp_path):
    row = {"steps": [[1, 2]], "x": [[5, 6]], "a": 0.5, "y": 1.5, "key": "k"}
    path = write(tmp_path, "named.jsonl", (json.dumps(row) + "\n").encode())
    columns = Columns(text_column="steps", label_column="a", id_column="key")
    [example] = read_examples(path, columns=columns, answer="value")
    assert (example.id, example.label) == ("k", 0.5)
    assert np.frombuffer(example.features.values, "<f4").tolist() == [1, 2]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"features": [[1]], "x": [[1]], "y": 1}\n', "features, x, each of which"),
        ("a.jsonl", b'{"x": [[1]], "y": 1, "value": 2}\n', "name one by --label_column"),
        ("a.npz", npz(a=padded()), "got the arrays a; wanted sequences"),
        ("a.npz", npz(x=padded(), lengths=np.array([9, 1, 2, 5])), "the lengths do not fit"),
        ("a.npz", npz(x=padded(), lengths=np.array([1.5])), "the lengths do not fit"),
        ("a.npz", npz(x=objects(SEQUENCES), y=[1.0]), r"different lengths \(x 4, y 1\)"),
        ("a.npz", b"PK\x03\x04 no archive", "not an .npz file"),
        ("a.npy", b"no array", "not an array"),
        ("a.npy", npy(padded())[:200], "not an array"),
        ("a.pkl", b"\x80\x04", "a damaged pickle"),
        ("a.pkl", pickle.dumps(3), "got a int; wanted sequences"),
        ("a.pkl", pickle.dumps({1: 2}), "a dict with the keys 1"),
        ("a.pkl", pickle.dumps(["a", "b", "c"]), "got 3 items of str"),
    ],
)
def test_what_is_no_file_of_sequences_is_refused(name, content, message, tmp_path):
    with pytest.raises(UserError, match=message) as error:
        read_corpus(write(tmp_path, name, content), answer="value")
    assert "\n" not in str(error.value)


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path):
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(2**21))
    with pytest.raises(UserError, match="more than 1 MiB; --max_unzipped"):
        read_corpus(path, columns=Columns(max_unzipped=1))


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["p.pkl", "p.npy", "p.npz"])
def test_a_payload_is_refused_and_never_executed(name, tmp_path):
    made = tmp_path / "made"
    array = objects([SEQUENCES[0], Payload(made)])
    content = {"p.pkl": pickle.dumps(array), "p.npy": npy(array), "p.npz": npz(x=array)}[name]
    with pytest.raises(UserError, match=r"\.mkdir, which could run code, and was not loaded"):
        read_corpus(write(tmp_path, name, content))
    assert not made.exists()
    pickle.loads(pickle.dumps(array))
    assert made.exists()


def test_all_faults_of_all_files_are_in_one_list(tmp_path):
    good = {"features": [[1, 2], [3, 4]], "value": 0.5}
    bad = [
        {"features": [], "value": 1},
        {"features": [[1, float("nan")]], "value": 1},
        {"features": [[1, 2], [3]], "value": 1},
        {"features": [[1, None]], "value": 1},
        {"features": [[1, 2]], "value": float("inf")},
        {"features": [[1, 2, 3]], "value": 1},
    ]
    files = {}
    for split, rows in {"train": [good, *bad], "dev": [{"features": [[1]], "value": 1}]}.items():
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        files[split] = write(tmp_path, f"{split}.jsonl", content)
    corpora = read_corpora(files, answer="value")
    faults = [(fault.row, fault.kind) for fault in corpora["train"].faults]
    assert faults == [
        (2, "empty_sequence"),
        (3, "not_finite"),
        (4, "wrong_width"),
        (5, "missing_value"),
        (6, "wrong_type"),
        (7, "wrong_width"),
    ]
    assert [fault.kind for fault in corpora["dev"].faults] == ["wrong_width"]
    with pytest.raises(DataError, match="6 faults in 6 of 7 rows"):
        read_examples(files["train"], answer="value")


def test_what_convert_writes_is_read_again(tmp_path, capsys):
    path, out = write(tmp_path, "d.pkl", FILES["dict.pkl"]), tmp_path / "out.jsonl"
    assert cli.main(["convert", str(path), "--out", str(out), "--answer", "value"]) == 0
    assert content_of(read_examples(out)) == content_of(read_examples(path))
    with pytest.raises(SystemExit):
        cli.main(["convert", str(path), "--out", str(tmp_path / "o.csv"), "--answer", "value"])
    assert "cannot represent sequences; wanted jsonl" in capsys.readouterr().err


def test_copies_are_found_by_their_steps(tmp_path, capsys):
    path = write(tmp_path, "lines.jsonl", FILES["lines.jsonl"])
    other = write(tmp_path, "copies.jsonl", FILES["lines.jsonl"].splitlines()[0] + b"\n")
    assert cli.main(["check", str(path), str(other), "--answer", "value"]) == 0
    said = capsys.readouterr().out
    assert "s0 = s0" in said
    assert "steps 50/95/max" in said
    assert "first: s0: 4 steps of 3 numbers -> 0.5" in said


def test_split_keeps_copies_together(tmp_path, capsys):
    rows = [{"features": [[n // 2, 1]], "value": n / 3} for n in range(40)]
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path = write(tmp_path, "all.jsonl", content)
    assert (
        cli.main(["split", str(path), "--out", str(tmp_path / "parts"), "--answer", "value"]) == 0
    )
    parts = [set(content_of(read_examples(file))) for file in (tmp_path / "parts").glob("*.jsonl")]
    assert len(parts) == 3
    assert sum(map(len, parts)) == len(set.union(*parts)) == 20
