"""The parts that trainers are composed of: scores at each evaluation, losses, class weights."""

import inspect

import numpy as np
import pytest
import torch
import word_bert
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import Trainer, TrainingArguments
from word_bert import TAGS, example

from pipelines.examples import Example
from pipelines.families import sequence_classifier
from pipelines.families.class_answers import ClassifierSettings
from pipelines.families.language_model.masked_lm import MaskedWordTrainer
from pipelines.families.sequence_classifier import classifier_training
from pipelines.families.sequence_classifier.classifier_training import ClassifierTrainer
from pipelines.families.token_tagger import TaggerSettings, tagging
from pipelines.families.token_tagger.tagging import TokenTaggerTrainer
from pipelines.families.token_tagger.word_tagging import WordTaggerTrainer
from pipelines.families.training.dev_scores import evenly_spread
from pipelines.families.training.early_stopping import choose_on_dev
from pipelines.families.training.losses import class_loss, presence_weights

TRAINERS = (TokenTaggerTrainer, WordTaggerTrainer, ClassifierTrainer, MaskedWordTrainer)
TEXTS = [
    example("no flu", (3, 6)),
    example("colon cancer of the colon", (0, 12)),
    example("the colon"),
    example("Flu, cancer", (0, 3), (5, 11)),
]


@pytest.mark.parametrize("trainer", TRAINERS)
def test_trainers_are_composed_of_parts_that_are_no_trainers(trainer):
    ours = [part for part in inspect.getmro(trainer)[1:] if part.__module__.startswith("pipelines")]
    assert ours
    assert not [part for part in ours if issubclass(part, Trainer)]


def arguments(folder, **options):
    return TrainingArguments(
        str(folder),
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        **{"save_strategy": "no", "max_steps": 2} | options,
    )


def tagger_trainer(folder, model, tokenizer, **options):
    settings = TaggerSettings(decode=options.pop("decode", "argmax"), window=64)
    return TokenTaggerTrainer(
        model=model,
        args=arguments(folder, **options.pop("args", {})),
        train_dataset=tagging.training_rows(TEXTS, model, tokenizer, settings).rows,
        processing_class=tokenizer,
        settings=settings,
        **options,
    )


@pytest.mark.parametrize("crf", [False, True])
def test_dev_loss_is_that_of_training_over_all_rows(tmp_path, crf):
    tokenizer = word_bert.word_pieces()
    bert = word_bert.write(tmp_path / "bert")
    model = tagging.new_model(str(bert), TAGS, crf=crf, dropout=0.0).model
    trainer = tagger_trainer(
        tmp_path,
        model,
        tokenizer,
        dev=TEXTS,
        train=TEXTS,
        decode="crf" if crf else "argmax",
        args={"per_device_eval_batch_size": 3},
    )
    scores = trainer.score(TEXTS)
    assert scores["loss"] == pytest.approx(trainer.mean_loss(trainer.train_dataset), rel=1e-4)
    assert set(scores) == {"loss", "strict_f1", "strict_precision", "strict_recall"}


def test_each_evaluation_logs_loss_and_scores_of_dev_and_a_sample_of_train(tmp_path):
    trainer = tagger_trainer(
        tmp_path,
        word_bert.tagger(),
        word_bert.word_pieces(),
        dev=TEXTS[:2],
        train=TEXTS,
        train_sample=3,
        args={"eval_strategy": "steps", "eval_steps": 1, "learning_rate": 1e-2},
    )
    assert trainer.train_sample == TEXTS[:3]
    trainer.train()
    entries = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    assert [entry["step"] for entry in entries] == [1, 2]
    assert entries[0]["eval_loss"] != entries[1]["eval_loss"]
    for entry in entries:
        assert 0 <= entry["train_strict_f1"] <= 1
        assert 0 <= entry["eval_strict_f1"] <= 1
        assert "train_loss" not in entry


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_classifier_logs_the_loss_of_its_logits(tiny_bert, tmp_path, multi_label):
    settings = ClassifierSettings(("a", "b", "c"), multi_label=multi_label, max_length=20)
    labels = [("a",), ("b", "c"), (), ("c",)] if multi_label else ["a", "b", "c", "c"]
    examples = [Example(str(i), "abcdefgh"[: i + 1], label=label) for i, label in enumerate(labels)]
    tokenizer = sequence_classifier.load_tokenizer(tiny_bert)
    trainer = ClassifierTrainer(
        model=sequence_classifier.load_network(tiny_bert, settings),
        args=arguments(tmp_path, per_device_eval_batch_size=3, label_smoothing_factor=0.1),
        train_dataset=classifier_training.training_rows(examples, tokenizer, settings).rows,
        processing_class=tokenizer,
        settings=settings,
        dev=examples,
        focal_gamma=1.0,
        weight=torch.tensor([1.0, 2.0, 3.0]),
    )
    metrics = trainer.evaluate()
    assert metrics["eval_loss"] == pytest.approx(trainer.mean_loss(trainer.train_dataset), rel=1e-4)
    assert {"eval_macro_f1", "eval_accuracy"} <= metrics.keys()
    assert not [name for name in metrics if name.startswith("train_")]


def test_a_sample_is_evenly_spread():
    assert evenly_spread(range(10), 3) == [0, 3, 6]
    assert evenly_spread(range(3), 3) == evenly_spread(range(3), 9) == [0, 1, 2]
    assert evenly_spread([], 3) == []


def test_loss_of_several_classes_by_hand():
    logits, labels = torch.tensor([[2.0, 1.0]]), torch.tensor([[1.0, 0.0]])
    p, q = torch.tensor([2.0, -1.0]).sigmoid()  # of having the first, of lacking the second
    assert class_loss(logits, labels) == pytest.approx(float(-p.log() - q.log()))
    weighted = class_loss(logits, labels, weight=torch.tensor([3.0, 5.0]))
    assert weighted == pytest.approx(float(-3 * p.log() - q.log()))
    focal = class_loss(logits, labels, focal_gamma=2)
    assert focal == pytest.approx(float(-((1 - p) ** 2) * p.log() - (1 - q) ** 2 * q.log()))
    targets = torch.tensor([[0.95, 0.05]])
    smooth = binary_cross_entropy_with_logits(logits, targets, reduction="sum")
    assert class_loss(logits, labels, label_smoothing=0.1) == pytest.approx(float(smooth))


def test_weights_of_having_a_class_against_lacking_it():
    weights = presence_weights(np.array([1, 3, 0]), total=4, power=1)
    assert weights.tolist() == pytest.approx([3, 1 / 3, 3])


def test_without_dev_early_stopping_has_no_effect_and_says_so(tmp_path, caplog):
    training = arguments(tmp_path, eval_strategy="no")
    with caplog.at_level("INFO"):
        assert choose_on_dev(training, [], 3) == []
    assert "--early_stopping_patience 3 has no effect: there is no dev" in caplog.text
    training.eval_strategy = "epoch"
    [callback] = choose_on_dev(training, TEXTS, 3)
    assert callback.early_stopping_patience == 3
    assert choose_on_dev(training, TEXTS, None) == []
