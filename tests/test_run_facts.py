"""What was run, as the headers of pages say it: from a run's folder, without secrets, folded where it is long."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from transformers import TrainingArguments

from pipelines.evaluation.reports import evaluate_spans
from pipelines.examples import Example, Prediction, Span
from pipelines.reporting.comparison import split_facts
from pipelines.reporting.grid import grid_as_text, write_grid
from pipelines.reporting.html import write_report
from pipelines.reporting.run_facts import machine, run_facts
from pipelines.reporting.text import report_as_text
from pipelines.runs.defaults import changed_options

CONFIG = {
    "seed": 0,
    "model_name_or_path": "local:minilm",
    "hub_token": "hf_secret",
    "dev_file": "dev.json",
}
PROVENANCE = {
    "started": "2026-11-27T09:04:11Z",
    "commit": "0db9e39",
    "hardware": {"cpu": "AMD EPYC 9R14 96-Core Processor", "threads": 2, "gpus": []},
    "data": {"train.json": "1f", "<b>dev</b>.json": "2e"},
    "options": {
        "learning_rate": 2e-4,
        "lengths": [1, 2],
        "dev_file": "dev.json",
        "api_key": "hf_secret",
        "study": "postgresql://me:hf_secret@host/heads",
        "epochs": 3,
        "crf": True,
        "run_dir": "runs/a",
    },
}


def test_facts_of_a_run():
    facts = run_facts(CONFIG, PROVENANCE)
    assert facts == {
        "model": "local:minilm",
        "data": ["train.json", "<b>dev</b>.json"],
        "changed options": [
            "crf True",
            "epochs 3",
            "learning_rate 0.0002",
            "lengths 1 2",
            "study postgresql://me:***@host/heads",
        ],
        "date": "2026-11-27 09:04 UTC",
        "seed": "0",
        "commit": "0db9e39",
        "machine": "AMD EPYC 9R14 96-Core, 2 threads",
    }
    assert json.loads(json.dumps(facts)) == facts


def test_what_is_not_known_is_left_out():
    assert run_facts({}, {}) == {}
    assert run_facts({"network": "crf"}, {"commit": None}) == {"model": "crf"}


@pytest.mark.parametrize(
    ("hardware", "name"),
    [
        ({"cpu": "Intel(R) Xeon(R) CPU", "threads": 8, "gpus": ["H100"]}, "H100"),
        ({"gpus": ["T4", "T4"]}, "2 × T4"),
        ({"cpu": "Intel(R) Xeon(R) CPU", "threads": 8}, "Intel Xeon, 8 threads"),
        ({}, ""),
    ],
)
def test_machines(hardware, name):
    assert machine(hardware) == name


@dataclass
class Options:
    rate: float = 0.1
    names: list[str] = field(default_factory=lambda: ["a"])
    hub_token: str | None = None
    path: str | None = None


def test_changed_options_are_those_that_differ_from_the_defaults(tmp_path):
    assert changed_options(Options()) == {}
    options = Options(rate=0.0, names=["a", "b"], hub_token="hf_secret", path="")
    assert changed_options(options) == {"rate": 0.0, "names": ["a", "b"]}
    # A trainer resolves fields when it is made: none of that is a choice of the user.
    training = TrainingArguments(
        output_dir=str(tmp_path),
        learning_rate=1e-3,
        use_cpu=True,
        metric_for_best_model="f1",
    )
    assert training.greater_is_better
    changed = changed_options(Options(), training)
    assert changed["learning_rate"] == 1e-3
    given = {"learning_rate", "output_dir", "use_cpu", "metric_for_best_model"}
    assert changed.keys() <= given | {"dataloader_pin_memory"}


EXAMPLES = [Example("0", "flu", spans=(Span(0, 3, "D"),))]
WARNINGS = ["The model predicts <nothing>.", "It is worse than its baseline."]


@pytest.fixture
def page(tmp_path):
    report = evaluate_spans(EXAMPLES, [Prediction("0", spans=())]) | {"warnings": WARNINGS}
    write_report(
        report,
        EXAMPLES,
        [Prediction("0", spans=())],
        tmp_path / "r.html",
        facts=run_facts(CONFIG, PROVENANCE),
    )
    return (tmp_path / "r.html").read_text(encoding="utf-8")


def test_the_header_says_what_was_run(page):
    header = page[page.index("<header>") : page.index("</header>")]
    for text in (
        "local:minilm",
        "train.json, &lt;b&gt;dev&lt;/b&gt;.json",
        "2026-11-27 09:04 UTC",
        "0db9e39",
        "2 threads",
        "<li>learning_rate 0.0002</li>",
    ):
        assert text in header
    assert header.count("<details>") == 1  # five options fold, two files do not
    assert "hf_secret" not in page


def test_warnings_come_before_the_numbers(page):
    first, second = page.index("predicts &lt;nothing&gt;"), page.index(WARNINGS[1])
    assert first < second < page.index('id="scores"')
    report = evaluate_spans(EXAMPLES, [Prediction("0", spans=())]) | {"warnings": WARNINGS}
    lines = report_as_text(report).splitlines()
    assert lines[2:4] == [f"warning: {sentence}" for sentence in WARNINGS]
    assert "warning" not in report_as_text(report | {"warnings": []})


def test_numbers_keep_their_text_beside_a_bar(page):
    assert '0.00<span class="bar" aria-hidden="true" style="--share:0.0000"></span></td>' in page
    assert '<th scope="col" class="with-bar">F1</th>' in page


def test_facts_that_runs_share_and_those_that_differ():
    shared, table = split_facts(
        {
            "a": {
                "model": "rnn",
                "changed options": ["epochs 3", "rate 1"],
                "machine": "T4",
                "seed": "1",
            },
            "b": {
                "model": "crf",
                "changed options": ["rate 2", "epochs 3"],
                "machine": "A1",
                "seed": "1",
            },
            "theirs": {"seed": "1", "changed options": ["epochs 3"]},
        }
    )
    assert shared == {"changed options": ["epochs 3"], "seed": "1"}
    assert table.head == ("run", "model", "changed options")
    assert table.rows == [("a", "rnn", "rate 1"), ("b", "crf", "rate 2"), ("theirs", "", "")]


def point(pooling, rate, macro_f1):
    return {
        "pooling": pooling,
        "hidden_layer": 0,
        "learning_rate": rate,
        "weight_decay": 0.01,
        "dropout": 0.0,
        "class_weight": "none",
        "epochs": 30,
        "macro_f1": macro_f1,
        "accuracy": 0.5,
        "weighted_f1": 0.5,
        "matthews": -0.25,
    }


GRID = [
    point("cls", 0.01, 0.5),
    point("mean", 0.01, 0.75),
    point("cls", 0.1, 0.25),
    point("mean", 0.1, 0.625),
]


def test_a_grid_has_the_scale_of_all_pages(tmp_path):
    lines = grid_as_text(GRID, objective="macro_f1").splitlines()
    assert lines[0].split() == [
        "pooling",
        "learning_rate",
        "macro",
        "F1",
        "accuracy",
        "weighted",
        "F1",
        "matthews",
    ]
    assert [line.split()[:3] for line in lines[2:]] == [
        ["mean", "0.01", "75.00"],
        ["mean", "0.1", "62.50"],
        ["cls", "0.01", "50.00"],
        ["cls", "0.1", "25.00"],
    ]
    assert lines[2].endswith("-25.00")
    write_grid(
        GRID,
        tmp_path / "g.html",
        objective="macro_f1",
        title="heads",
        facts=run_facts(CONFIG, PROVENANCE),
    )
    page = (tmp_path / "g.html").read_text(encoding="utf-8")
    assert "macro F1 75.00 with pooling mean, learning_rate 0.01" in page
    assert "2026-11-27 09:04 UTC" in page
    # The pooling changes the best score more, so that it stands first.
    assert "pooling and learning_rate" in page
    assert (
        page.count('style="--heat:1.0000"') == page.count('style="--heat:0.0000"') == 2
    )  # of the map, of the table
