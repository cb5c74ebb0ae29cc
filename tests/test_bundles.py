"""Submission packages: ranges by hand, round trips, the same bytes, and everything that is refused."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from conftest import run_python
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from pipelines.corpora import read_examples
from pipelines.errors import DataError, UserError
from pipelines.examples import Example, Prediction, Span, write_predictions
from pipelines.spans import join_tokens, tags_to_token_ranges, token_ranges_to_tags
from pipelines.submission.package import MANIFEST, validate_bundle, write_bundle
from pipelines.submission.token_ranges import (
    Tokens,
    numbered_tokens,
    ranges_as_csv,
    ranges_from_csv,
    type_ranges,
)

FILE = {
    "text": [
        ["Ada", "Lovelace", "met", "Bo", "in", "Rome"],
        ["Rome", "fell"],
        ["So", "it", "goes"],
    ],
    "index": [[0, 1, 2, 3, 4, 5], [6, 7], [8, 9, 10]],
}
PREDICTED = {"0": [(0, 12, "PER"), (17, 19, "PER"), (23, 27, "LOC")], "1": [(0, 4, "LOC")], "2": []}
CSV = "type,ranges\nLOC,5-5 6-6\nORG,\nPER,0-1 3-3\n"


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path, "rnn")


def make_run(folder: Path, name: str) -> Path:
    run = folder / name
    (run / "model").mkdir(parents=True)
    for split in ("dev", "test"):
        (folder / f"{split}.json").write_text(json.dumps(FILE))
        write_predictions(
            run / "predictions" / f"{split}.jsonl",
            [
                Prediction(id, spans=tuple(Span(*span, 0.5) for span in spans))
                for id, spans in PREDICTED.items()
            ],
        )
    (run / "config.yaml").write_text(
        f"dev_file: {folder / 'dev.json'}\ntest_file: {folder / 'test.json'}\nseed: 1\n"
    )
    (run / "model" / "config.json").write_text(
        json.dumps({"id2label": {"0": "O", "1": "B-PER", "2": "I-PER", "3": "B-ORG", "4": "B-LOC"}})
    )
    save_file({"w": torch.arange(6.0)}, run / "model" / "model.safetensors")
    (run / "model" / "training_args.bin").write_bytes(b"pickled")
    return run


def test_ranges_by_hand(run, tmp_path):
    names = write_bundle([run], tmp_path / "out.zip", kind="final")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert (
            set(archive.namelist())
            == set(names)
            == {
                "rnn/config.yaml",
                "rnn/model/config.json",
                "rnn/model/model.safetensors",
                "rnn/predictions/dev.jsonl",
                "rnn/predictions/dev.csv",
                "rnn/predictions/test.jsonl",
                "rnn/predictions/test.csv",
                MANIFEST,
            }
        )
        assert archive.read("rnn/predictions/test.csv").decode() == CSV
        manifest = json.loads(archive.read(MANIFEST))
        assert (
            archive.read("rnn/model/model.safetensors")
            == (run / "model" / "model.safetensors").read_bytes()
        )
    assert manifest["bundle"] == "final"
    assert manifest["runs"] == ["rnn"]
    assert validate_bundle(tmp_path / "out.zip") == manifest


@pytest.mark.parametrize(
    ("kind", "splits"),
    [("milestone", {"dev"}), ("leaderboard", {"test"}), ("final", {"dev", "test"})],
)
def test_what_each_kind_holds(run, tmp_path, kind, splits):
    names = write_bundle([run], tmp_path / "out.zip", kind=kind)
    assert {
        name.split("/")[-1].removesuffix(".csv") for name in names if name.endswith(".csv")
    } == splits


def test_the_same_runs_give_the_same_bytes(run, tmp_path):
    other = make_run(tmp_path, "gru")
    for name in ("a.zip", "b.zip"):
        write_bundle([run, other], tmp_path / name, kind="final")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert validate_bundle(tmp_path / "a.zip")["runs"] == ["rnn", "gru"]


def test_numbers_are_those_of_the_index_column(tmp_path):
    (tmp_path / "cut.json").write_text(
        json.dumps({"text": [["Rome", "fell"]], "index": [[100, 101]]})
    )
    tokens = numbered_tokens(tmp_path / "cut.json", read_examples(tmp_path / "cut.json"))
    predictions = [Prediction("0", spans=(Span(0, 9, "LOC"),))]
    assert type_ranges(tokens, predictions) == {"LOC": [(100, 101)]}


def test_a_file_without_index_is_counted_through(tmp_path):
    (tmp_path / "a.conll").write_text("Rome B-LOC\nfell O\n\nBo B-PER\n")
    tokens = numbered_tokens(tmp_path / "a.conll", read_examples(tmp_path / "a.conll"))
    answers = [Prediction(example.id, spans=example.spans) for example in tokens.examples]
    assert ranges_as_csv(type_ranges(tokens, answers)) == "type,ranges\nLOC,0-0\nPER,2-2\n"


@given(
    st.lists(
        st.lists(
            st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]), min_size=1, max_size=8
        ),
        min_size=1,
        max_size=5,
    )
)
def test_ranges_give_the_mentions_back(corpus):
    """For any tags: numbers through the file, to a CSV and back, are the mentions of the sentences."""
    examples, predictions, wanted, start, numbers = [], [], set(), 0, {}
    for row, tags in enumerate(corpus):
        ranges = tags_to_token_ranges(tags)
        assert tags_to_token_ranges(token_ranges_to_tags(ranges, len(tags))) == ranges
        text, offsets = join_tokens(["w"] * len(tags))
        examples.append(Example(str(row), text, tokens=offsets))
        predictions.append(
            Prediction(
                str(row),
                spans=tuple(
                    Span(offsets[first][0], offsets[past - 1][1], label)
                    for first, past, label in ranges
                ),
            )
        )
        wanted |= {(start + first, start + past - 1, label) for first, past, label in ranges}
        numbers[str(row)] = range(start, start + len(tags))
        start += len(tags)
    read = ranges_from_csv(ranges_as_csv(type_ranges(Tokens(examples, numbers), predictions)))
    assert {
        (first, last, label) for label, found in read.items() for first, last in found
    } == wanted


def repacked(source: Path, out: Path, **changed: bytes | None) -> Path:
    """A copy of a zip with files changed, or left out where None."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = changed.get(name.split("/")[-1].replace(".", "_"), old.read(name))
            if content is not None:
                new.writestr(name, content)
    return out


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"config_yaml": b"seed: 2\n"}, "rnn/config.yaml: its checksum"),
        (
            {"model_safetensors": None},
            "rnn/model/model.safetensors: in the manifest, not in the zip",
        ),
        ({"test_csv": b"type,ranges\nLOC,9-2\n"}, "a range is not FIRST-LAST"),
        ({"test_csv": b"type,ranges\nLOC,5-5\n"}, "its ranges are not those of test.jsonl"),
        ({"model_safetensors": b"\x08\0\0\0\0\0\0\0{}"}, "cannot be read: not a safetensors file"),
    ],
)
def test_a_damaged_package_is_reported(run, tmp_path, changed, expected):
    write_bundle([run], tmp_path / "out.zip", kind="leaderboard")
    with pytest.raises(DataError, match=expected.replace(".", r"\.")):
        validate_bundle(repacked(tmp_path / "out.zip", tmp_path / "changed.zip", **changed))


def test_a_file_that_is_no_package(tmp_path):
    (tmp_path / "a.zip").write_text("no zip")
    with pytest.raises(UserError, match="not a submission package"):
        validate_bundle(tmp_path / "a.zip")


def test_faults_of_runs_are_reported_at_once(run, tmp_path):
    other = make_run(tmp_path, "gru")
    (run / "predictions" / "test.jsonl").unlink()
    shutil.rmtree(other / "model")
    (other / "config.yaml").unlink()
    with pytest.raises(UserError) as caught:
        write_bundle([run, other, tmp_path / "none"], tmp_path / "out.zip", kind="final")
    expected = str(caught.value).splitlines()
    assert [line.split(": ")[1].split(";")[0].split(",")[0] for line in expected] == [
        "no predictions/test.jsonl",
        "no config.yaml",
        "no weights (model/*.safetensors)",
        "no such run folder",
    ]
    assert not (tmp_path / "out.zip").exists()


def test_weights_that_are_cut_off_are_refused_and_nothing_is_left(run, tmp_path):
    whole = (run / "model" / "model.safetensors").read_bytes()
    (run / "model" / "model.safetensors").write_bytes(whole[:-4])
    with pytest.raises(DataError, match="its header says"):
        write_bundle([run], tmp_path / "out.zip", kind="leaderboard")
    assert not list(tmp_path.glob("*.zip*"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda run: (run.parent / "test.json").unlink(), "give it with --test_file"),
        (
            lambda run: write_predictions(
                run / "predictions" / "test.jsonl", [Prediction("0", spans=())]
            ),
            "2 ids missing from the predictions: 1, 2",
        ),
        (
            lambda run: (run / "provenance.json").write_text(
                json.dumps({"data": {str(run.parent / "test.json"): "0" * 64}})
            ),
            "has changed since the run predicted it",
        ),
        (
            lambda run: (run.parent / "test.json").write_text(
                json.dumps(FILE | {"index": [[0], [1, 2], [3, 4, 5]]})
            ),
            "row 0: 6 tokens, 1 numbers in index",
        ),
    ],
)
def test_predictions_that_do_not_fit_are_refused(run, tmp_path, change, expected):
    change(run)
    with pytest.raises(UserError, match=expected):
        write_bundle([run], tmp_path / "out.zip", kind="leaderboard")
    assert not (tmp_path / "out.zip").exists()


def test_rows_with_faults_may_be_without_an_answer_and_good_ones_not(run, tmp_path, caplog):
    tags = [
        ["B-PER", "I-PER", "O", "B-PER", "O", "B-LOC"],
        ["B-LOC", "O"],
        ["O", "B-LOC"],
    ]  # a tag short
    (run.parent / "test.json").write_text(json.dumps(FILE | {"NER": tags}))
    with (run / "config.yaml").open("a") as f:
        f.write("skip_bad_rows: true\n")
    answers = [
        Prediction(id, spans=tuple(Span(*span, 0.5) for span in PREDICTED[id])) for id in ("0", "1")
    ]
    write_predictions(run / "predictions" / "test.jsonl", answers)
    write_bundle([run], tmp_path / "out.zip", kind="leaderboard")
    assert "skipped 1 bad row of 3" in caplog.text
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.read("rnn/predictions/test.csv").decode() == CSV
    write_predictions(run / "predictions" / "test.jsonl", answers[:1])
    with pytest.raises(DataError, match=r"1 ids? missing from the predictions: 1"):
        write_bundle([run], tmp_path / "out.zip", kind="leaderboard")


def ranges_of(package: Path) -> str:
    with zipfile.ZipFile(package) as archive:
        return archive.read("rnn/predictions/test.csv").decode()


def test_a_file_is_read_by_the_columns_of_the_run(run, tmp_path):
    # By its names the file has its tokens in `tokens`; the run was set to read `form` and `nr`.
    pieces = [["x", *row] for row in FILE["text"]]
    file = run.parent / "test.json"
    file.write_text(
        json.dumps({"tokens": pieces, "form": FILE["text"], "nr": ["0", "1", "2"][::-1]})
    )
    answers = [
        Prediction(nr, spans=tuple(Span(*span) for span in spans))
        for nr, spans in zip("210", PREDICTED.values(), strict=True)
    ]
    write_predictions(run / "predictions" / "test.jsonl", answers)
    write_bundle([run], tmp_path / "out.zip", kind="leaderboard")
    assert ranges_of(tmp_path / "out.zip") != CSV
    with (run / "config.yaml").open("a") as f:
        f.write("text_column: form\nid_column: nr\n")
    write_bundle([run], tmp_path / "out.zip", kind="leaderboard")
    assert ranges_of(tmp_path / "out.zip") == CSV


def test_a_column_of_row_numbers_is_not_the_index_of_tokens(tmp_path):
    file = tmp_path / "rows.json"
    file.write_text(json.dumps({"text": [["Rome", "fell"], ["So"]], "index": [7, 8]}))
    tokens = numbered_tokens(file, read_examples(file))
    assert [list(numbers) for numbers in tokens.numbers.values()] == [[0, 1], [2]]


def test_the_command(run, tmp_path):
    done = run_python(
        "-m",
        "pipelines.cli",
        "submit",
        "--bundle",
        "leaderboard",
        "--runs",
        run,
        "--out",
        tmp_path / "out.zip",
    )
    assert done.returncode == 0, done.stderr
    assert "7 files" not in done.stderr
    assert done.stdout.splitlines()[-1] == (
        f"{tmp_path / 'out.zip'}: 6 files, test predictions of the one run that "
        "competes; opened again and valid"
    )
    done = run_python(
        "-m",
        "pipelines.cli",
        "submit",
        "--bundle",
        "leaderboard",
        "--runs",
        run,
        run,
        "--out",
        tmp_path / "two.zip",
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: --bundle leaderboard got 2 runs; wanted 1 with --runs")
    done = run_python("-m", "pipelines.cli", "submit", "--out", tmp_path / "none.csv")
    assert done.returncode == 2
    assert "--predictions and --sample" in done.stderr
