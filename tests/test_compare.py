"""`pipelines compare` on small run folders: ranking, verdicts, Pareto front, and runs that cannot be compared."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.corpora import read_examples
from pipelines.corpora.predictions import read_predictions
from pipelines.corpora.writing import write_predictions
from pipelines.errors import DataError, UserError
from pipelines.evaluation.comparison import compare_predictions, pareto_front
from pipelines.evaluation.reports import evaluate_classes, evaluate_language_model, evaluate_spans
from pipelines.evaluation.tasks import TASKS
from pipelines.examples import Example, Prediction
from pipelines.reporting.compare import compare_runs, differing_options
from pipelines.reporting.comparison import comparison_as_text, write_comparison

ROOT = Path(__file__).parent.parent
TEXT = "colon cancer, flu"


def write_gold(path, sentences=60):
    rows = [
        {
            "id": f"{i // 4}-{i % 4}",
            "sentence": TEXT,
            "entities": [
                {"start": 0, "end": 12, "text": "colon cancer", "type": "Disease"},
                {"start": 14, "end": 17, "text": "flu", "type": "Disease"},
            ],
        }
        for i in range(sentences)
    ]
    path.write_text(json.dumps(rows))
    return path


def make_run(folder, gold, *, found, seconds=10.0, seed=0, cost=True):
    """A run that finds each mention with the chance `found`."""
    examples, chance = read_examples(gold), random.Random(seed)
    predictions = [
        Prediction(
            example.id, spans=tuple(span for span in example.spans if chance.random() < found)
        )
        for example in examples
    ]
    write_predictions(folder / "predictions" / "dev.jsonl", predictions)
    report = {"split": "dev", **evaluate_spans(examples, predictions)}
    if cost:
        report["cost"] = {
            "parameters": 2_000_000,
            "trained_parameters": 1000,
            "training_tokens_per_second": 500.0,
            "seconds": {"training": 90.0, "predict_dev": seconds},
            "peak_memory": 3 * 2**30,
        }
        (folder / "model").mkdir()
        (folder / "model" / "weights").write_bytes(b"0" * 4096)
        (folder / "provenance.json").write_text(
            json.dumps({"hardware": {"cpu": "A CPU", "threads": 2, "gpus": []}})
        )
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "config.yaml").write_text(yaml.safe_dump({"dev_file": str(gold), "test_file": None}))
    return folder


@pytest.fixture
def gold(tmp_path):
    return write_gold(tmp_path / "gold.json")


@pytest.fixture
def runs(tmp_path, gold):
    return [
        make_run(tmp_path / "worse", gold, found=0.5, seconds=6.0, seed=1),
        make_run(tmp_path / "better", gold, found=0.9, seconds=60.0, seed=2),
        make_run(tmp_path / "wasteful", gold, found=0.5, seconds=66.0, seed=1),
    ]


def compare(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "compare", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def test_table_verdicts_json_and_page(runs, gold, tmp_path):
    done = compare(*runs, "--json", "out/c.json", "--html", "out/c.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    comparison = json.loads((tmp_path / "out/c.json").read_text())
    assert [row["name"] for row in comparison["runs"]] == ["better", "worse", "wasteful"]
    first = comparison["runs"][0]
    report = json.loads((runs[1] / "report.json").read_text())
    assert (first["value"], first["interval"]) == (
        report["strict"]["f1"],
        report["strict"]["interval"],
    )
    assert (first["ms_per_example"], first["disk"], first["training_seconds"]) == (
        1000.0,
        4096,
        90.0,
    )
    expected = compare_predictions(
        TASKS["span_extraction"],
        read_examples(gold),
        *(read_predictions(run / "predictions/dev.jsonl") for run in (runs[1], runs[0])),
    )
    assert comparison["verdicts"][0] == {"first": "better", "second": "worse"} | expected
    assert expected["better"] == "a"
    lines = done.stdout.splitlines()
    assert [lines[i].split()[0] for i in (2, 4, 5, 6)] == ["run", "better", "worse", "wasteful"]
    low, high = (f"{100 * end:.2f}" for end in expected["interval"])
    assert (
        f"better > worse, Δ = {100 * expected['delta']:.2f} [{low}, {high}], p = {expected['p']:.2g}"
        in lines
    )
    assert "worse and wasteful do not differ significantly, Δ = 0.00 [0.00, 0.00], p = 1" in lines
    assert "Pareto front, ms per example at prediction: better, worse" in lines
    page = (tmp_path / "out/c.html").read_text()
    assert page.count("<svg") == 4
    assert re.search(r">3(\.0+)?\s*</text>.*GiB of peak memory\s*</text>", page, re.S)
    assert "better &gt; worse" in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_other_gold_is_refused_with_the_reason(runs, tmp_path):
    other = make_run(
        tmp_path / "other", write_gold(tmp_path / "other.json", sentences=40), found=0.9
    )
    done = compare(runs[0], other, cwd=tmp_path)
    assert done.returncode == 2
    assert "different gold" in done.stderr
    assert "worse: 60 examples of dev" in done.stderr
    assert "other: 40 examples of dev" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_bad_folder_is_named_at_once(runs, tmp_path):
    (tmp_path / "empty").mkdir()
    (runs[1] / "report.json").write_text((runs[1] / "report.json").read_text()[:100])
    (runs[2] / "report.json").write_text(json.dumps({"cost": {}}))
    with pytest.raises(UserError) as caught:
        compare_runs([*runs, tmp_path / "empty"])
    message = str(caught.value).splitlines()
    assert len(message) == 3
    assert ["better" in message[0], "wasteful" in message[1], "empty" in message[2]] == [True] * 3
    assert [
        "cut off" in message[0],
        "no scores" in message[1],
        "so it is no run" in message[2],
    ] == [True] * 3


def test_gold_that_moved_is_asked_for_and_taken(runs, gold, tmp_path):
    elsewhere = tmp_path / "elsewhere.json"
    gold.rename(elsewhere)
    with pytest.raises(UserError, match=r"gold\.json.*--gold FILE"):
        compare_runs(runs)
    assert compare_runs(runs, gold=elsewhere)["examples"] == 60


def test_gold_that_changed_is_refused(runs, gold):
    write_gold(gold, sentences=61)
    with pytest.raises(DataError, match="changed since"):
        compare_runs(runs)


def test_predictions_that_changed_are_refused(runs):
    file = runs[0] / "predictions" / "dev.jsonl"
    write_predictions(
        file, [Prediction(prediction.id, spans=()) for prediction in read_predictions(file)]
    )
    with pytest.raises(DataError, match=r"report\.json says"):
        compare_runs(runs)


def test_gold_of_the_sample_corpus_is_found_by_what_the_run_recorded(runs, gold, tmp_path):
    recorded = gold.rename(tmp_path / "dev.json")
    for run in runs:
        (run / "config.yaml").write_text("dev_file: null\n")
        (run / "provenance.json").write_text(
            json.dumps({"data": {"train.json": "0", str(recorded): "0"}})
        )
    assert compare_runs(runs)["examples"] == 60


def test_a_run_that_counted_missing_answers_as_empty(runs, gold):
    file = runs[0] / "predictions" / "dev.jsonl"
    kept = read_predictions(file)[20:]
    write_predictions(file, kept)
    report = evaluate_spans(read_examples(gold), kept, allow_missing=True)
    (runs[0] / "report.json").write_text(json.dumps({"split": "dev", **report}))
    names = [row["name"] for row in compare_runs(runs)["runs"]]
    assert names[-1] == "worse"


def test_an_outside_system_needs_no_cost(runs, gold, tmp_path):
    bare = make_run(tmp_path / "bare", gold, found=0.8, seed=3, cost=False)
    comparison = compare_runs([runs[0], bare])
    assert comparison["pareto"]["ms_per_example"] == ["worse"]
    text = comparison_as_text(compare_runs([bare]))
    assert "parameters" not in text
    assert "Pareto" not in text
    write_comparison(comparison, tmp_path / "c.html")
    assert "<svg" not in (tmp_path / "c.html").read_text()


def test_runs_of_one_name_are_reported_by_their_folders(gold, tmp_path):
    twins = [make_run(tmp_path / seed / "run", gold, found=0.8, seed=seed) for seed in "ab"]
    assert {row["name"] for row in compare_runs(twins)["runs"]} == set(map(str, twins))
    with pytest.raises(UserError, match="twice"):
        compare_runs([twins[0], twins[0]])


def other_task(folder, examples, predictions, evaluate, gold):
    write_predictions(folder / "predictions" / "test.jsonl", predictions)
    (folder / "report.json").write_text(json.dumps(evaluate(examples, predictions)))
    (folder / "config.yaml").write_text(yaml.safe_dump({"test_file": str(gold)}))
    return folder


def test_classes_are_tested_by_mcnemar(tmp_path):
    rows = [
        {"id": str(i), "text": f"review {i}", "label": "books" if i % 2 else "music"}
        for i in range(40)
    ]
    (tmp_path / "gold.json").write_text(json.dumps(rows))
    examples = [Example(row["id"], row["text"], label=row["label"]) for row in rows]
    folders = [
        other_task(
            tmp_path / name,
            examples,
            [
                Prediction(example.id, label=example.label if i >= wrong else "dvd")
                for i, example in enumerate(examples)
            ],
            evaluate_classes,
            tmp_path / "gold.json",
        )
        for name, wrong in (("b", 12), ("a", 2))
    ]
    verdict = compare_runs(folders)["verdicts"][0]
    assert (verdict["first"], verdict["test"], verdict["better"]) == ("a", "mcnemar", "a")
    assert verdict["p"] == pytest.approx(2 * 0.5**10)


def test_less_perplexity_is_better(tmp_path):
    rows = [{"id": str(i), "text": "a b c"} for i in range(30)]
    (tmp_path / "gold.json").write_text(json.dumps(rows))
    examples = [Example(row["id"], row["text"]) for row in rows]
    folders = [
        other_task(
            tmp_path / name,
            examples,
            [Prediction(example.id, value=nats + i % 3) for i, example in enumerate(examples)],
            evaluate_language_model,
            tmp_path / "gold.json",
        )
        for name, nats in (("high", 9.0), ("low", 3.0))
    ]
    comparison = compare_runs(folders)
    assert [row["name"] for row in comparison["runs"]] == ["low", "high"]
    assert "low < high" in comparison_as_text(comparison)


def test_what_differs_stands_in_the_terminal_in_json_and_on_the_page(runs, gold, tmp_path):
    shared = {"dev_file": str(gold), "dropout": 0.5, "test_file": None}
    for run, own in zip(
        runs,
        (
            {"hidden_size": 64, "seed": 1, "run_dir": "a", "train_file": "a.json"},
            {"hidden_size": 128, "seed": 2, "run_dir": "b", "train_file": "a.json"},
            {"hidden_size": 128, "seed": 1, "run_dir": "c", "train_file": "b.json"},
        ),
        strict=True,
    ):
        (run / "config.yaml").write_text(yaml.safe_dump(shared | own))
    done = compare(*runs, "--json", "c.json", "--html", "c.html", cwd=tmp_path)
    rows = json.loads((tmp_path / "c.json").read_text())["runs"]
    assert {row["name"]: row["differs"] for row in rows} == {
        "worse": {"hidden_size": 64, "seed": 1, "train_file": "a.json"},
        "better": {"hidden_size": 128, "seed": 2, "train_file": "a.json"},
        "wasteful": {"hidden_size": 128, "seed": 1, "train_file": "b.json"},
    }
    for text in (done.stdout, (tmp_path / "c.html").read_text()):
        assert "what differs" in text
        assert "hidden_size 64, seed 1, train_file a.json" in text
        assert "dropout" not in text


def test_runs_with_the_same_options_have_no_column_of_differences(runs, tmp_path):
    assert "what differs" not in comparison_as_text(compare_runs(runs))


def test_options_of_other_recipes_count_where_they_were_changed(tmp_path):
    class Known:
        def __init__(self, config, options):
            self.config, self.provenance = (lambda: config), (lambda: {"options": options})

    runs = {
        "svm": Known({"c": 1.0, "alpha": 0.1, "seed": 1}, {"c": 1.0}),
        "encoder": Known({"lora_r": 16, "bias": None, "seed": 1}, {"lora_r": 16}),
        "outside": None,
    }
    expected = {"svm": {"c": 1.0}, "encoder": {"lora_r": 16}, "outside": {}}
    assert differing_options(runs) == expected


def test_pareto_front_by_hand():
    points = [
        ("cheap", 1, 50),
        ("good", 10, 90),
        ("beaten", 10, 80),
        ("dear", 20, 90),
        ("twin", 1, 50),
    ]
    assert pareto_front(points) == ["cheap", "good", "twin"]


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=8))
def test_pareto_front_beats_all_the_others(numbers):
    points = {str(i): pair for i, pair in enumerate(numbers)}
    front = pareto_front([(name, *pair) for name, pair in points.items()])

    def beats(a, b):
        return (
            points[a] != points[b] and points[a][0] <= points[b][0] and points[a][1] >= points[b][1]
        )

    assert front
    assert not any(beats(a, b) for a in points for b in front)
    assert all(any(beats(a, b) for a in front) for b in set(points) - set(front))


def test_an_outside_systems_answers_stand_in_the_same_table(runs, gold, tmp_path):
    # As a Hugging Face pipeline gives them: a list for each text, in the order of the texts.
    answers = [
        [
            {
                "entity_group": span.label,
                "score": 0.9,
                "word": example.text[span.start : span.end],
                "start": span.start,
                "end": span.end,
            }
            for span in example.spans
        ]
        for example in read_examples(gold)
    ]
    (tmp_path / "theirs.json").write_text(json.dumps(answers))
    done = compare(runs[0], "theirs.json", "--json", "c.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ranked = json.loads((tmp_path / "c.json").read_text())["runs"]
    assert [row["name"] for row in ranked] == ["theirs.json", "worse"]
    assert ranked[0]["value"] == 1
    (tmp_path / "short.json").write_text(json.dumps(answers[:-1]))
    done = compare(runs[0], "short.json", cwd=tmp_path)
    assert done.returncode == 2
    assert str(len(answers) - 1) in done.stderr
    assert compare("theirs.json", cwd=tmp_path).returncode == 2
