"""Which texts to annotate next: worth, diversity, label audits, and the command there and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import SAMPLE_CORPUS

import pipelines
from pipelines import cli
from pipelines.corpora import read_examples
from pipelines.errors import UserError
from pipelines.evaluation.annotation import choose, not_known, suspicious, worths
from pipelines.examples import Example, Prediction, Span


def spans(id: str, *ends: tuple[int, int, float | None]) -> Prediction:
    return Prediction(id, tuple(Span(start, end, "D", score) for start, end, score in ends))


def classes(id: str, label: str, **scores: float) -> Prediction:
    return Prediction(id, label=label, scores=scores or None)


def test_worth_of_mentions_by_hand():
    first = [spans("a", (0, 3, 0.9), (5, 8, 0.6)), spans("b", (0, 3, None)), spans("c")]
    assert worths([first]) == pytest.approx([0.1 + 0.4, 0.5, 0.0])
    second = [spans("a", (0, 3, 0.7)), spans("b", (0, 2, 1.0)), spans("c")]
    # Mean of what each is unsure of, and the mentions that only one of them has.
    assert worths([first, second]) == pytest.approx([(0.5 + 0.3) / 2 + 1, 0.5 / 2 + 2, 0.0])


def test_worth_of_classes_by_hand():
    first = [classes("a", "x", x=0.6, y=0.4), classes("b", "x", x=1.0, y=0.0), classes("c", "x")]
    assert worths([first]) == pytest.approx([0.4, 0.0, 0.5])
    second = [classes("a", "y", x=0.2, y=0.8), *first[1:]]
    assert worths([first, second])[0] == pytest.approx((0.4 + 0.2) / 2 + 1)
    several = [Prediction("a", label=("x",), scores={"x": 0.9, "y": 0.4})]
    assert worths([several]) == pytest.approx([0.1 + 0.4])


def test_numbers_want_several_runs():
    first, second = ([Prediction("a", value=value)] for value in (1.0, 3.0))
    assert worths([first, second]) == [1.0]
    with pytest.raises(UserError, match="give several"):
        worths([first])


def texts(*lines: str) -> list[Example]:
    return [Example(str(number), line) for number, line in enumerate(lines)]


def test_copies_of_what_is_chosen_come_last():
    pool = texts("colon cancer grows", "colon cancer grows", "the flu came", "the flu comes back")
    assert choose(pool, [1.0, 0.99, 0.5, 0.4], 3) == [0, 2, 3]
    assert choose(pool, [1.0, 0.99, 0.5, 0.4], 9) == [0, 2, 3, 1]


def test_texts_like_known_ones_come_later():
    pool = texts("colon cancer grows", "the flu came")
    assert choose(pool, [1.0, 0.5], 2) == [0, 1]
    assert choose(pool, [1.0, 0.5], 2, known=texts("colon cancer grows")) == [1, 0]


def test_without_any_doubt_what_is_new_decides():
    pool = texts("a cold", "colon cancer grows", "a cold again")
    assert choose(pool, [0.0] * 3, 2, known=texts("a cold"))[0] == 1
    assert choose([], [], 2) == []


def test_known_texts_and_duplicates_are_left_out():
    pool = texts("a", "b", "a", "c")
    assert [example.text for example in not_known(pool, texts("b"))] == ["a", "c"]


def test_suspicious_labels_by_hand():
    gold = [
        Example("a", "colon cancer", spans=(Span(0, 12, "D"),)),
        Example("b", "flu", spans=()),
    ]
    runs = [[spans("a", (0, 12, 1.0)), spans("b", (0, 3, 0.9))]] * 2
    positions, entries = suspicious(gold, runs, 5)
    assert positions == [1]
    assert [entry["answer"]["string"] for entry in entries] == ["flu"]
    with pytest.raises(UserError, match="two or more runs"):
        suspicious(gold, runs[:1], 5)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two taggers of the sample corpus that answer differently."""
    folder = tmp_path_factory.mktemp("annotate")
    data = {split: SAMPLE_CORPUS / f"{split}.json" for split in ("train", "dev")}
    names = ("dictionary", "most_frequent_tag")
    return [str(pipelines.fit(name, run_dir=folder / name, **data).folder) for name in names]


def annotate(*words: object) -> int:
    return cli.main(["annotate", *map(str, words)])


def test_there_and_back_through_label_studio(runs, tmp_path, capsys):
    out = tmp_path / "tasks.json"
    both = [word for run in runs for word in ("--run", run)]
    code = annotate(*both, "--input", SAMPLE_CORPUS / "test.json", "--n", 12, "--out", out)
    assert code == 0
    assert "12 of 150 texts as label-studio" in capsys.readouterr().out
    tasks = json.loads(out.read_text())
    assert len(tasks) == 12
    pool = {example.id: example for example in read_examples(SAMPLE_CORPUS / "test.json")}
    for task in tasks:
        assert task["data"]["text"] == pool[task["data"]["id"]].text
        task["annotations"] = [{"result": task["predictions"][0]["result"]}]  # all accepted
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    assert (
        cli.main(["convert", str(tmp_path / "export.json"), "--out", str(tmp_path / "m.jsonl")])
        == 0
    )
    back = read_examples(tmp_path / "m.jsonl", answer="spans")
    assert [example.id for example in back] == [task["data"]["id"] for task in tasks]
    regions = [len(task["predictions"][0]["result"]) for task in tasks]
    assert [len(example.spans) for example in back] == regions
    assert cli.main(["check", str(tmp_path / "m.jsonl")]) == 0


def test_the_runs_own_training_texts_are_left_out(runs, tmp_path, capsys):
    words = ("--run", runs[0], "--out", tmp_path / "t.jsonl", "--to", "prodigy")
    with pytest.raises(SystemExit):
        annotate(*words, "--input", SAMPLE_CORPUS / "train.json")
    assert "annotated already" in capsys.readouterr().err
    code = annotate(
        *words,
        "--input",
        SAMPLE_CORPUS / "train.json",
        "--known",
        SAMPLE_CORPUS / "dev.json",
        "--n",
        3,
    )
    assert code == 0
    assert len((tmp_path / "t.jsonl").read_text().splitlines()) == 3


def test_an_audit_goes_the_same_way(runs, tmp_path, capsys):
    rows = json.loads((SAMPLE_CORPUS / "train.json").read_text())
    # A mention that both taggers find loses its label.
    found = [
        {
            (prediction.id, span.start, span.end)
            for prediction in pipelines.predict(run, SAMPLE_CORPUS / "train.json")
            for span in prediction.spans
        }
        for run in runs
    ]
    common = {id for id, _, _ in found[0] & found[1]}
    wrong = next(row for row in rows if row["id"] in common and len(row["entities"]) == 1)
    wrong["entities"] = []
    file, out = tmp_path / "gold.json", tmp_path / "tasks.json"
    file.write_text(json.dumps(rows))
    both = [word for run in runs for word in ("--run", run)]
    code = annotate(*both, "--audit", "--input", file, "--n", 800, "--out", out)
    assert code == 0
    ids = [task["data"]["id"] for task in json.loads(out.read_text())]
    assert wrong["id"] in ids
    assert f"{wrong['id']}: gold nothing; 2 runs say" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        annotate("--run", runs[0], "--audit", "--input", file, "--out", out)
    assert "two or more runs" in capsys.readouterr().err


def test_bad_options_are_refused(runs, tmp_path, capsys):
    for words, message in (
        (("--n", 0), "wanted 1 or more"),
        (("--to", "label-studo"), "label-studio"),
    ):
        with pytest.raises(SystemExit) as stop:
            annotate(
                "--run",
                runs[0],
                "--input",
                SAMPLE_CORPUS / "test.json",
                "--out",
                tmp_path / "t.json",
                *words,
            )
        assert stop.value.code == 2
        assert message in capsys.readouterr().err
    file: Path = tmp_path / "pool.json"
    file.write_text((SAMPLE_CORPUS / "test.json").read_text())
    with pytest.raises(SystemExit):
        annotate("--run", runs[0], "--input", file, "--out", file)
    assert "overwritten" in capsys.readouterr().err
