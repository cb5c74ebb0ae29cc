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
from pipelines.corpora.writing import write_predictions
from pipelines.errors import DataError, UserError
from pipelines.examples import Example, Prediction, Span
from pipelines.spans import join_tokens, tags_to_token_ranges, token_ranges_to_tags
from pipelines.submission.authors import Author
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
AUTHORS = [Author("Ada Lovelace", "al12"), Author("Bo Ek", "be3")]
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
    names = write_bundle([run], tmp_path / "out.zip", kind="final", authors=AUTHORS)
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert (
            set(archive.namelist())
            == set(names)
            == {
                "README.md",
                "rnn/config.yaml",
                "rnn/model/config.json",
                "rnn/model/model.safetensors",
                "rnn/predictions/dev_al12_be3.jsonl",
                "rnn/predictions/dev_al12_be3.csv",
                "rnn/predictions/test_al12_be3.jsonl",
                "rnn/predictions/test_al12_be3.csv",
                MANIFEST,
            }
        )
        assert archive.read("rnn/predictions/test_al12_be3.csv").decode() == CSV
        manifest = json.loads(archive.read(MANIFEST))
        assert (
            archive.read("rnn/model/model.safetensors")
            == (run / "model" / "model.safetensors").read_bytes()
        )
    assert manifest["bundle"] == "final"
    assert manifest["runs"] == ["rnn"]
    assert manifest["authors"] == [author._asdict() for author in AUTHORS]
    assert validate_bundle(tmp_path / "out.zip") == manifest


@pytest.mark.parametrize(
    ("kind", "splits"),
    [("milestone", {"dev"}), ("leaderboard", {"test"}), ("final", {"dev", "test"})],
)
def test_what_each_kind_holds(run, tmp_path, kind, splits):
    names = write_bundle([run], tmp_path / "out.zip", kind=kind, authors=AUTHORS)
    assert {
        name.split("/")[-1].removesuffix("_al12_be3.csv") for name in names if name.endswith(".csv")
    } == splits


def test_the_same_runs_give_the_same_bytes(run, tmp_path):
    other = make_run(tmp_path, "gru")
    for name in ("a.zip", "b.zip"):
        write_bundle([run, other], tmp_path / name, kind="final", authors=AUTHORS)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert validate_bundle(tmp_path / "a.zip")["runs"] == ["rnn", "gru"]


def test_a_leaderboard_takes_any_number_of_runs(run, tmp_path):
    runs = [run, make_run(tmp_path, "gru"), make_run(tmp_path, "lstm")]
    write_bundle(runs, tmp_path / "out.zip", kind="leaderboard")
    assert validate_bundle(tmp_path / "out.zip")["runs"] == ["rnn", "gru", "lstm"]


def test_report_source_and_parameters(run, tmp_path):
    (tmp_path / "broken.csv").write_text("a file of a test, that holds no ranges")
    (tmp_path / "broken.json").write_text("{")
    names = write_bundle(
        [run],
        tmp_path / "out.zip",
        kind="milestone",
        authors=AUTHORS[:1],
        parameters={"rnn": "total 6 | 6"},
        report=b"%PDF-1.4",
        source={name: tmp_path / name for name in ("broken.csv", "broken.json")},
    )
    assert {"report_al12.pdf", "source/broken.csv", "source/broken.json"} <= set(names)
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.read("report_al12.pdf") == b"%PDF-1.4"
        readme = archive.read("README.md").decode()
    assert "| Ada Lovelace | al12 |" in readme
    assert "## Parameters of rnn\n\n````text\ntotal 6 | 6\n````" in readme
    assert "- `source/`: 2 files" in readme
    assert "- `rnn/predictions/dev_al12.csv`: a row a type" in readme


def test_the_readme_has_the_scores_of_the_report(run, tmp_path):
    report = {"task": "span_extraction", "split": "test"}
    report["strict"] = {"f1": 0.8123, "interval": [0.7, 0.9]}
    (run / "report.json").write_text(json.dumps(report))
    write_bundle([run], tmp_path / "out.zip", kind="milestone")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        readme = archive.read("README.md").decode()
    assert "| rnn |  | test | strict F1 81.23 | \\[70.00, 90.00\\] |" in readme


def test_a_final_package_wants_authors(run, tmp_path):
    with pytest.raises(UserError, match="--bundle final got no authors; wanted --authors"):
        write_bundle([run], tmp_path / "out.zip", kind="final")


def test_a_run_named_like_the_folder_of_the_source_is_refused(tmp_path):
    with pytest.raises(UserError, match="rename the run"):
        write_bundle([make_run(tmp_path, "source")], tmp_path / "out.zip", kind="milestone")


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
        write_bundle(
            [run, other, tmp_path / "none"], tmp_path / "out.zip", kind="final", authors=AUTHORS
        )
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


def submit(*arguments: object):
    return run_python("-m", "pipelines.cli", "submit", *arguments)


@pytest.mark.slow
def test_the_command(run, tmp_path):
    authors = ("--authors", "Ada Lovelace <al12>")
    (tmp_path / "packages").mkdir()
    done = submit(
        *("--bundle", "leaderboard", "--runs", run, "--out", tmp_path / "packages", *authors),
        "--with_source",
    )
    assert done.returncode == 0, done.stderr
    package = tmp_path / "packages" / "leaderboard_al12.zip"
    assert done.stdout.splitlines()[-1].startswith(f"{package}: ")
    assert "the README has no parameter table" in done.stderr  # these weights are of no network
    with zipfile.ZipFile(package) as archive:
        assert "source/pipelines/cli.py" in archive.namelist()
        assert "rnn/predictions/test_al12.csv" in archive.namelist()
    refused = {
        ("--bundle", "final", "--runs", run, "--authors", "Ada"): "error: got --authors with 'Ada'",
        ("--bundle", "milestone"): "error: --bundle milestone got no runs; wanted at least 1",
        (): "error: submit wants --predictions and --sample",
        ("--with_report",): "error: --with_report without --bundle has no effect",
    }
    for arguments, expected in refused.items():
        done = submit(*arguments, "--out", tmp_path / "none.zip")
        assert done.returncode == 2
        assert done.stderr.startswith(expected)
