"""Distilling votes into a network of whole spans: targets and loss by hand, and the recipe."""

import json

import pytest
import torch
import word_bert
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
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import TrainingArguments

from pipelines import cli
from pipelines.evaluation.silver import SilverText
from pipelines.examples import Example, Span
from pipelines.families.token_tagger import TaggerSettings, span_distillation, span_training
from pipelines.families.token_tagger.span_distillation import gold_rows, silver_rows, soft_targets

SETTINGS = TaggerSettings("spans", 64, 16)
# "colon cancer", "cancer" and "flu"; a type that the network lacks, and a span of four words.
PROPOSALS = (
    Span(0, 12, "D", 0.6),
    Span(6, 12, "D", 0.25),
    Span(6, 12, "G", 0.5),
    Span(13, 16, "E", 0.9),
    Span(0, 19, "D", 0.8),
)
SILVER = SilverText(Example("s", "colon cancer the flu"), PROPOSALS, 0.6, 0.5)
GOLD = Example("g", "the flu", spans=(Span(4, 7, "D"),))


@pytest.fixture(scope="module")
def student():
    return word_bert.span_tagger(["D", "G"]), word_bert.word_pieces()


def test_each_proposal_is_the_target_of_its_span_and_type(student):
    model, tokenizer = student
    (row,) = silver_rows([SILVER], model, tokenizer, SETTINGS, weight=0.25)
    assert row["gold"] == [[0, 1, 0], [1, 0, 0], [1, 0, 1]]
    assert row["votes"] == [0.6, 0.25, 0.5]
    gold, votes = torch.tensor([row["gold"]]), torch.tensor([row["votes"]])
    targets = soft_targets((1, 4, 3, 2), gold, votes)
    wanted = torch.zeros(1, 4, 3, 2)
    wanted[0, 0, 1, 0], wanted[0, 1, 0, 0], wanted[0, 1, 0, 1] = 0.6, 0.25, 0.5
    assert torch.equal(targets, wanted)


def test_proposals_on_one_span_add_up_to_one_at_most():
    gold = torch.tensor([[[0, 0, 0], [0, 0, 0]], [[1, 0, 0], [1, 0, 0]]])
    targets = soft_targets((2, 2, 1, 1), gold, torch.tensor([[0.25, 0.5], [0.75, 0.75]]))
    assert targets.squeeze().tolist() == [[0.75, 0], [0, 1]]
    padding = torch.full((1, 2, 3), -1)
    assert not soft_targets((1, 2, 1, 1), padding, torch.zeros(1, 2)).any()


def trainer_for(student, rows, folder):
    model, tokenizer = student
    return span_distillation.StudentTrainer(
        model=model,
        args=TrainingArguments(
            str(folder), use_cpu=True, report_to="none", remove_unused_columns=False
        ),
        train_dataset=rows,
        processing_class=tokenizer,
        train=[],
        dev=[],
        settings=SETTINGS,
    )


def test_the_loss_of_gold_is_the_span_taggers_and_that_of_silver_is_weighted(student, tmp_path):
    model, tokenizer = student
    found = span_training.training_rows([GOLD], model, tokenizer, SETTINGS).rows
    gold = gold_rows(found, model)
    silver = silver_rows([SILVER], model, tokenizer, SETTINGS, weight=0.25)
    trainer = trainer_for(student, gold + silver, tmp_path)
    # One text at a time, so that nothing is padded.
    alone = []
    for row, weight in ((gold[0], 1), (silver[0], 0.25)):
        batch = trainer.data_collator([row])
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "first", "last")}
        logits = model(**inputs).logits
        targets = soft_targets(logits.shape, batch["gold"], batch["votes"])
        real = logits > -1e3
        loss = binary_cross_entropy_with_logits(logits[real], targets[real], reduction="sum")
        alone.append(weight * loss.item())
    together, _ = trainer.summed_loss(model, trainer.data_collator(gold + silver))
    assert together.item() == pytest.approx(sum(alone), rel=1e-4)
    # Gold alone is what a tagger of spans is trained on.
    tagger = span_training.TaggerTrainer(
        model=model,
        args=trainer.args,
        train_dataset=found,
        processing_class=tokenizer,
        settings=SETTINGS,
    )
    usual, _ = tagger.summed_loss(model, tagger.data_collator(found))
    assert usual.item() == pytest.approx(alone[0], rel=1e-5)


@pytest.mark.slow
def test_a_student_of_whole_spans_gives_the_same_answers_again(models, data, tmp_path, capsys):
    options = ["--decode", "spans", "--max_span_words", "4", "--num_train_epochs", "1"]
    arguments = [*arguments_of("distil_tagger", models, data), *options]
    folder = tmp_path / "run"
    assert call("distil_tagger", *arguments, "--run_dir", folder) == 0
    config = json.loads((folder / "model" / "config.json").read_text(encoding="utf-8"))
    assert (config["model_type"], config["max_width"]) == ("span_tagger", 4)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report["silver"]["kept"] > 10
    output = tmp_path / "answers.jsonl"
    test = ["--input", str(data["spans"]["test"]), "--output", str(output)]
    assert cli.main(["predict", "--run", str(folder), *test]) == 0
    assert output.read_bytes() == (folder / "predictions" / "test.jsonl").read_bytes()


def test_a_width_without_spans_is_refused(models, data, tmp_path, capsys):
    arguments = [*arguments_of("distil_tagger", models, data), "--max_span_words", "4"]
    assert call("distil_tagger", *arguments, "--run_dir", tmp_path / "run") == 2
    assert "is of --decode spans" in one_error(capsys.readouterr().err)
