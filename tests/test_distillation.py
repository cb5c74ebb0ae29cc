"""Distilling votes: targets by hand, a loss that agrees with torch's, and the recipe on teachers."""

import json
import shutil

import numpy as np
import pytest
import tiny_encoder
import torch
from conftest import load_recipe
from recipe_cases import (  # noqa: F401 - fixtures among them
    arguments_of,
    call,
    classes,
    data,
    models,
    one_error,
    pictures,
    runs,
    sequences,
)
from torch.nn.functional import cross_entropy, kl_div
from transformers import AutoTokenizer, TrainingArguments

from pipelines import cli
from pipelines.errors import UserError
from pipelines.evaluation.silver import SilverText
from pipelines.examples import Example, Span
from pipelines.families import teachers
from pipelines.families.teachers import Teacher
from pipelines.families.token_tagger import TaggerSettings, distillation, tagging
from pipelines.families.token_tagger.distillation import gold_rows, silver_rows, soft_tags

NUMBERS = {"O": 0, "B-D": 1, "I-D": 2}
TEXT = "colon cancer , flu"
OFFSETS = [(0, 5), (6, 12), (13, 14), (15, 18)]
PROPOSALS = (Span(0, 12, "D", 0.6), Span(6, 12, "D", 0.3), Span(15, 18, "E", 0.9))


def test_each_proposal_gives_its_score_to_its_tags():
    soft = soft_tags(PROPOSALS, OFFSETS, NUMBERS)
    wanted = [[0.4, 0.6, 0], [0.1, 0.3, 0.6], [1, 0, 0], [1, 0, 0]]
    assert soft == pytest.approx(np.array(wanted), abs=1e-6)
    # Spans of one teacher that overlap may sum to more than 1.
    both = soft_tags([Span(0, 12, "D", 1.0), Span(6, 12, "D", 1.0)], OFFSETS, NUMBERS)
    assert both[1] == pytest.approx([0, 0.5, 0.5])
    assert both.sum(1) == pytest.approx(np.ones(4))
    assert soft_tags([], [], NUMBERS).shape == (0, 3)


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    folder = str(tiny_encoder.write(tmp_path_factory.mktemp("models") / "bert"))
    torch.manual_seed(0)
    model = tagging.new_model(folder, list(NUMBERS)).model.eval()
    return model, AutoTokenizer.from_pretrained(folder)


def trainer_for(student, rows, folder):
    model, tokenizer = student
    arguments = TrainingArguments(
        output_dir=str(folder), use_cpu=True, remove_unused_columns=False, report_to="none"
    )
    return distillation.StudentTrainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        processing_class=tokenizer,
        train=[],
        dev=[],
        settings=TaggerSettings(window=48),
    )


def test_the_loss_of_gold_is_the_taggers_and_that_of_silver_is_weighted(student, tmp_path):
    model, tokenizer = student
    settings = TaggerSettings(window=48)
    example = Example("1", TEXT, spans=(Span(0, 12, "D"),))
    gold = tagging.training_rows([example], model, tokenizer, settings).rows
    silver = [SilverText(Example("2", TEXT), PROPOSALS, 0.6, 0.5)]
    rows = gold_rows(gold, model) + silver_rows(silver, model, tokenizer, settings, weight=0.25)
    trainer = trainer_for(student, rows, tmp_path)
    batch = trainer.data_collator(rows)
    assert batch["targets"].shape == (*batch["input_ids"].shape, 3)
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    tagged = batch["labels"][0] != -100
    hard = cross_entropy(logits[0][tagged], batch["labels"][0][tagged], reduction="sum")
    soft = torch.from_numpy(soft_tags(PROPOSALS, OFFSETS, NUMBERS))
    voted = cross_entropy(logits[1][tagged], soft, reduction="sum")
    loss, _ = trainer.summed_loss(model, batch)
    assert loss.item() == pytest.approx((hard + 0.25 * voted).item(), rel=1e-3)
    # The cross-entropy is the divergence from the votes, but for their entropy.
    entropy = torch.special.entr(soft).sum()
    divergence = kl_div(logits[1][tagged].log_softmax(-1), soft, reduction="sum")
    assert voted.item() == pytest.approx((divergence + entropy).item(), rel=1e-4)


def test_texts_are_distinct_new_and_drawn_in_order(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("a one\na two\na one\na three\na four\na five\n", encoding="utf-8")
    read = teachers.unlabelled_texts([str(file)], {"a two"}, most=None, seed=1)
    assert [example.text for example in read] == ["a one", "a three", "a four", "a five"]
    assert len({example.id for example in read}) == 4
    drawn = teachers.unlabelled_texts([str(file)], {"a two"}, most=2, seed=1)
    texts = [example.text for example in read]
    assert len(drawn) == 2
    assert [texts.index(one.text) for one in drawn] == sorted(
        texts.index(one.text) for one in drawn
    )
    assert drawn == teachers.unlabelled_texts([str(file)], {"a two"}, most=2, seed=1)


# The recipe


@pytest.mark.slow
def test_a_run_keeps_its_silver_data_which_any_tagger_trains_on(runs, data, tmp_path, capsys):
    run = runs("distil_tagger")
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    silver = report["silver"]
    assert silver["texts"] == silver["kept"] > 10
    assert [row["name"] for row in silver["teachers"]] == ["dictionary", "crf"]
    assert "Silver data" in (run / "report.html").read_text(encoding="utf-8")
    texts = teachers.read_silver(run / "silver")
    assert sum(len(text.spans) for text in texts) == silver["mentions"] > 0
    assert sum(len(text.proposals) for text in texts) >= silver["mentions"]
    file = run / "silver" / "silver.jsonl"
    assert cli.main(["convert", str(file), "--out", str(tmp_path / "read.jsonl")]) == 0
    read = [json.loads(line) for line in (tmp_path / "read.jsonl").read_text().splitlines()]
    assert [len(row["spans"]) for row in read] == [len(text.spans) for text in texts]
    files = ["--train_file", file, "--dev_file", data["spans"]["dev"]]
    options = ["--network", "dictionary", *files, "--run_dir", tmp_path / "dictionary"]
    assert call("train_tagger", *options) == 0


def test_answers_are_kept_and_other_teachers_are_refused(
    models, data, tmp_path, capsys, monkeypatch
):
    arguments = [*arguments_of("distil_tagger", models, data), "--run_dir", tmp_path / "run"]
    silver = tmp_path / "run" / "silver"
    recipe = load_recipe("distil_tagger")

    def stopped(*_):
        raise UserError("stopped")

    monkeypatch.setattr(recipe, "train", stopped)
    again = ["--resume_from_checkpoint", "true"]
    assert call("distil_tagger", *arguments) == 2
    before = {file: file.stat().st_mtime_ns for file in silver.glob("teacher-*.jsonl")}
    assert len(before) == 2
    assert call("distil_tagger", *arguments, *again) == 2
    assert {file: file.stat().st_mtime_ns for file in before} == before
    capsys.readouterr()
    names = json.loads((silver / "teachers.json").read_text())
    names[0]["sha256"] = "0" * 64
    (silver / "teachers.json").write_text(json.dumps(names))
    assert call("distil_tagger", *arguments, *again) == 2
    assert "of other teachers" in one_error(capsys.readouterr().err)


def test_texts_on_which_teachers_are_unsure_are_left_out(data, runs, tmp_path):
    run = runs("distil_tagger")
    folder = shutil.copytree(run / "silver", tmp_path / "silver")
    texts = teachers.read_silver(folder)
    own = [Teacher(name, data["teaching"] / name / "model") for name in ("dictionary", "crf")]
    examples = [text.example for text in texts]
    for name in ("confidence", "agreement"):
        values = sorted({getattr(text, name) for text in texts})
        assert len(values) > 1
        summary = teachers.teach(own, examples, folder, **{f"min_{name}": values[1]})
        wanted = [text for text in texts if getattr(text, name) >= values[1]]
        assert teachers.read_silver(folder) == wanted
        assert summary["kept"] == len(wanted) < summary["texts"] == len(texts)
        # What the teachers took is that of the first time.
        assert summary["teachers"] == teachers.read_summary(run / "silver")["teachers"]


def test_bad_options_and_teachers_are_one_line(models, data, runs, tmp_path, capsys):
    arguments = arguments_of("distil_tagger", models, data)

    def fault(*options):
        assert call("distil_tagger", *arguments, "--run_dir", tmp_path / "run", *options) == 2
        return one_error(capsys.readouterr().err)

    assert "got --min_agreement 2; wanted a number" in fault("--min_agreement", "2")
    assert "got --silver_weight 0; wanted" in fault("--silver_weight", "0")
    assert "got --max_unlabelled 0; wanted" in fault("--max_unlabelled", "0")
    assert "which are one option" in fault("--student", "a", "--model_name_or_path", "b")
    assert "leave them at 0" in fault("--focal_gamma", "2")
    assert "got --decode crf; wanted one of argmax, viterbi" in fault("--decode", "crf")
    assert "no such folder" in fault("--teachers", tmp_path / "none")
    assert "answers a label; wanted" in fault(
        "--teachers", runs("train_text_classifier linear_svm")
    )
    crf = data["teaching"] / "crf"
    assert "a run twice; name each once" in fault("--teachers", crf, crf)
    train = data["spans"]["train"]
    assert "no text that train, dev and test do not have" in fault("--unlabelled", train)
    assert not (tmp_path / "run" / "model").exists()
