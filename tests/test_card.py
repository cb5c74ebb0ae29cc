"""Model cards: metadata that the Hub reads, text that agrees with the report, and code that runs."""

import json
import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT
from huggingface_hub import ModelCard

from pipelines.evaluation.tasks import TASKS
from pipelines.examples import Example, Prediction, Span
from pipelines.families import lexical
from pipelines.reporting import card
from pipelines.runs.run import Run

TRAIN = [
    Example("t1", "A flu and a cold.", (Span(2, 5, "Disease"), Span(12, 16, "Disease"))),
    Example("t2", "No mention of it.", ()),
]
DEV = [
    Example("d1", "The flu again.", (Span(4, 7, "Disease"),)),
    Example("d2", "A rash.", (Span(2, 6, "Disease"),)),
]
ANSWERS = [Prediction("d1", (Span(4, 7, "Disease"),)), Prediction("d2", ())]


def made(folder, *, config=(), provenance=()):
    """The folder of a run of a dictionary, with a report of dev."""
    run = Run(folder)
    run.model.mkdir(parents=True)
    lexical.save(run.model, lexical.fit(TRAIN, method="dictionary"))
    run.write_config(
        {"train_file": "/data/train.json", "dev_file": "dev.json", "seed": 7} | dict(config)
    )
    facts = {"recipe": "dictionary", "python": "3.11", "data": {"/data/train.json": "ab12"}}
    run.write_json("provenance.json", facts | dict(provenance))
    report = {"split": "dev"} | TASKS["span_extraction"].evaluate(DEV, ANSWERS, train=TRAIN)
    report["cost"] = {"seconds": {"training": 75.0}, "peak_memory": 2**30}
    run.write_json("report.json", report)
    return run, report


@pytest.fixture
def run(tmp_path):
    return made(tmp_path / "flu-dictionary")[0]


def test_metadata_come_back_with_metrics_and_intervals(tmp_path):
    run, report = made(tmp_path / "flu")
    data = ModelCard.load(card.write_card(run)).data
    assert (data.library_name, data.pipeline_tag) == ("pipelines", "token-classification")
    assert (data.license, data.base_model, data.datasets) == (None, None, None)
    [strict] = [result for result in data.eval_results if result.metric_name == "strict F1"]
    # One of two mentions is found, and nothing else: 2 · 1 · 0.5 / 1.5.
    assert strict.metric_value == pytest.approx(2 / 3)
    assert strict.metric_args == {"confidence": 0.95, "interval": report["strict"]["interval"]}
    assert (strict.dataset_split, strict.dataset_name) == ("dev", "dev.json")


def test_the_text_says_data_scores_limits_options_and_cost(tmp_path):
    options = {"options": {"lexicon": "/names/mesh.tsv", "seed": 7, "c1": 0.5}}
    run, report = made(tmp_path / "flu", provenance=options)
    text = card.model_card(run, {"dev": report}, {"train": TRAIN, "dev": DEV}).text
    assert "| train | train.json | 2 | 2 mentions; 1 without one | ab12 |" in text
    assert "| dev | strict F1 | 66.67 |" in text
    assert "| dev | strict F1 of a dictionary of the training mentions | 66.67 |" in text
    assert "missed 33.33 (1 gold, 0 predicted)" in text
    assert "does not have: strict F1 0.00 (1 of them); those it has: 100.00 (1)" in text
    assert "- `lexicon mesh.tsv`" in text
    assert "- `c1 0.5`" in text
    assert "| training | 1.2 min |" in text
    assert "/names" not in text
    assert "whoever publishes it decides" in text


def test_a_run_that_was_not_scored_says_so(run):
    run.write_json("report.json", {"cost": {}})
    written = card.model_card(run, {}, {"train": TRAIN})
    assert written.data.eval_results is None
    assert "It was not scored" in written.text
    assert "Nothing is known of its quality" in written.text


def test_warnings_of_the_report_come_first_among_the_limits(tmp_path):
    run, report = made(tmp_path / "flu")
    text = card.model_card(run, {"dev": report | {"warnings": ["no mention is predicted"]}}).text
    assert text.split("## Limits\n\n")[1].startswith("- **Warning:** no mention is predicted")


def test_dev_that_chose_the_checkpoint_is_named(tmp_path):
    run, report = made(tmp_path / "flu", config={"load_best_model_at_end": True})
    assert "chosen on dev" not in card.model_card(run, {"dev": report}).text
    run.write_json("trainer_log.json", [{"loss": 1.0}])
    assert "chosen on dev, which its scores on dev flatter" in card.model_card(run).text


@pytest.mark.parametrize(
    ("name", "base", "licence"),
    [
        ("local:minilm", "sentence-transformers/all-MiniLM-L6-v2", "apache-2.0"),
        ("local:smollm2", "HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0"),
        ("owner/model", "owner/model", None),
    ],
)
def test_base_model_and_its_licence(name, base, licence, tmp_path):
    run, _ = made(tmp_path / "flu", config={"model_name_or_path": name})
    data = card.model_card(run).data
    assert (data.base_model, data.license) == (base, licence)
    assert f"It is `{base}`, fine-tuned" in card.model_card(run).text


def test_the_licence_of_a_folder_is_that_of_its_card(tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    (base / "README.md").write_text("---\nlicense: mit\n---\n\n# Base\n")
    run, _ = made(tmp_path / "flu", config={"model_name_or_path": str(base)})
    written = card.model_card(run)
    assert (written.data.base_model, written.data.license) == (None, "mit")
    assert "It is `base`, fine-tuned" in written.text
    assert str(tmp_path) not in written.content


def test_data_sets_of_the_hub_are_named(tmp_path):
    named = {"train_file": "owner/diseases:train", "dev_file": "owner/diseases:validation"}
    run, _ = made(tmp_path / "flu", config=named)
    data = card.model_card(run).data
    assert data.datasets == ["owner/diseases"]
    assert {result.dataset_type for result in data.eval_results} == {"owner/diseases"}


@pytest.mark.slow
def test_the_commands_and_the_code_of_a_card_work(run):
    text = card.model_card(run).text
    folder = run.folder.parent
    [command] = re.findall(r"^pipelines (predict .*)$", text, re.MULTILINE)
    [code] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (folder / "texts.jsonl").write_text(json.dumps({"id": "1", "text": "The flu."}) + "\n")
    main = f"from pipelines.cli import main\nassert main({command.split()}) == 0"
    done = subprocess.run(
        [sys.executable, "-c", f"{main}\n{code}"],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=600,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert "Prediction(id='0', spans=()" in done.stdout
    [row] = (folder / "predictions.jsonl").read_text().splitlines()
    assert json.loads(row)["spans"][0]["start"] == 4


def test_a_run_without_scores_still_says_what_it_does(tmp_path):
    run, _ = made(tmp_path / "flu", provenance={"reading": {"answer": "spans"}})
    run.write_json("report.json", {"cost": {}})
    assert "\n\nFinds mentions in a text" in card.model_card(run).content
