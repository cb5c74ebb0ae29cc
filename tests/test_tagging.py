"""What of a token tagger is trained, how fast, and on which loss."""

from types import SimpleNamespace

import pytest
import torch
import word_bert
from torch import nn
from transformers import TrainerCallback
from word_bert import TAGS, bert_config, example

from pipelines.cpu.used_embeddings import UsedEmbeddings
from pipelines.errors import UserError
from pipelines.families.token_tagger import TaggerSettings, collate, tagging
from pipelines.families.training import cpu_training, encoders
from pipelines.families.training.early_stopping import EarlyStopping
from pipelines.families.training.losses import class_loss


@pytest.fixture(scope="module")
def tokenizer():
    return word_bert.word_pieces()


@pytest.fixture
def model():
    return word_bert.tagger()


@pytest.fixture(scope="module")
def bare_bert(tmp_path_factory):
    return word_bert.write(tmp_path_factory.mktemp("models") / "tiny-bert")


def trained(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize(
    ("tune", "parts"),
    [
        ("full", {"embeddings", "layer.0", "layer.1", "classifier"}),
        ("head", {"classifier"}),
        ("last_n", {"layer.1", "classifier"}),
        ("lora", {"lora_A", "lora_B", "classifier"}),
    ],
)
def test_modes_train_their_part(model, tune, parts):
    from peft import LoraConfig

    encoders.choose_trained(model, tune, last_n=1, lora=LoraConfig(target_modules="all-linear"))
    found = trained(model)
    assert {part for part in parts if any(part in name for name in found)} == parts
    assert not [name for name in found if not any(part in name for part in parts)]
    merged = encoders.merged(model)
    assert not [name for name, _ in merged.named_parameters() if "lora" in name]


def test_rates_fall_by_layer_and_rise_for_the_head(model):
    rates = {
        id(parameter): group["lr"]
        for group in encoders.parameter_groups(
            model, learning_rate=1.0, weight_decay=0.1, layer_decay=0.5, head_rate=10
        )
        for parameter in group["params"]
    }
    named = {name: rates[id(parameter)] for name, parameter in model.named_parameters()}
    assert named["classifier.weight"] == 10
    assert named["bert.encoder.layer.1.output.dense.weight"] == 1
    assert named["bert.encoder.layer.0.output.dense.weight"] == 0.5
    assert named["bert.embeddings.word_embeddings.weight"] == 0.25
    decays = {
        group["weight_decay"]
        for group in encoders.parameter_groups(model, learning_rate=1.0, weight_decay=0.1)
        for parameter in group["params"]
        if parameter.ndim == 1
    }
    assert decays == {0.0}


def test_berts_pooler_is_of_the_head():
    from transformers import BertForSequenceClassification

    model = BertForSequenceClassification(bert_config())
    groups = encoders.parameter_groups(
        model, learning_rate=1.0, weight_decay=0, layer_decay=0.5, head_rate=10
    )
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert rates[id(model.bert.pooler.dense.weight)] == 10
    encoders.choose_trained(model, "head")
    assert trained(model) == {
        f"{name}.{part}"
        for name in ("bert.pooler.dense", "classifier")
        for part in ("weight", "bias")
    }


def test_half_copies_where_they_can_be(monkeypatch):
    monkeypatch.setattr(cpu_training.precision, "choose", lambda: SimpleNamespace(device="cpu"))

    def training(**options):
        return SimpleNamespace(
            **{"bf16": True, "gradient_checkpointing": False, "world_size": 1} | options
        )

    assert cpu_training.use_half_copies(None, training())
    assert cpu_training.use_half_copies(True, training(bf16=False))
    for options, expected in (
        ({"gradient_checkpointing": True}, "gradient_checkpointing"),
        ({"world_size": 2}, "2 proc"),
    ):
        assert not cpu_training.use_half_copies(None, training(**options))
        with pytest.raises(UserError, match=expected):
            cpu_training.use_half_copies(True, training(**options))


def test_a_run_that_goes_on_keeps_counting_for_early_stopping(model, tokenizer, tmp_path):
    def stopped_at(folder, *, steps=9, resume=None):
        made = trainer(
            model,
            tokenizer,
            folder,
            TEXTS,
            max_steps=steps,
            learning_rate=0.0,
            dev=TEXTS,
            callbacks=[EarlyStopping(4)],
            eval_strategy="steps",
            eval_steps=1,
            save_strategy="steps",
            save_steps=1,
            metric_for_best_model="strict_f1",
            load_best_model_at_end=True,
        )
        made.train(resume_from_checkpoint=resume)
        return made.state.global_step

    assert stopped_at(tmp_path / "whole") == 5
    assert stopped_at(tmp_path / "cut", steps=3) == 3
    assert stopped_at(tmp_path / "cut", resume=str(tmp_path / "cut" / "checkpoint-3")) == 5


def test_weights_are_where_the_labels_are():
    logits, labels = (
        torch.zeros(2, 2, device="meta"),
        torch.zeros(2, dtype=torch.long, device="meta"),
    )
    assert class_loss(logits, labels, weight=torch.ones(2)).device.type == "meta"


def test_loss_by_hand():
    logits, labels = torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 1])
    p = torch.tensor([2.0, 0.0]).softmax(0)[0]
    plain = -p.log() - torch.tensor(0.5).log()
    assert class_loss(logits, labels) == pytest.approx(float(plain))
    focal = -((1 - p) ** 2) * p.log() - 0.25 * torch.tensor(0.5).log()
    assert class_loss(logits, labels, focal_gamma=2) == pytest.approx(float(focal))
    weighted = -3 * p.log() - torch.tensor(0.5).log()
    assert class_loss(logits, labels, weight=torch.tensor([3.0, 1.0])) == pytest.approx(
        float(weighted)
    )


def test_tag_weights_have_mean_one_and_lift_the_rare():
    rows = [{"labels": [-100, 0, 0, 0, 0, 0, 0, 0, 0, 1]}]
    weights = tagging.tag_weights(rows, 2, power=1.0)
    assert weights.tolist() == pytest.approx([9 / 16, 9 / 2])
    assert tagging.tag_weights(rows, 2, power=0.0).tolist() == [1, 1]


def trainer(model, tokenizer, folder, texts, **options):
    settings = TaggerSettings(window=64)
    from transformers import TrainingArguments

    arguments = {"save_strategy": "no"} | {
        name: options.pop(name)
        for name in list(options)
        if name in TrainingArguments.__dataclass_fields__
    }

    return tagging.TokenTaggerTrainer(
        model=model,
        processing_class=tokenizer,
        settings=settings,
        train_dataset=tagging.training_rows(texts, model, tokenizer, settings).rows,
        args=TrainingArguments(
            str(folder), use_cpu=True, report_to="none", disable_tqdm=True, **arguments
        ),
        **options,
    )


TEXTS = [
    example("no flu", (3, 6)),
    example("colon cancer of the colon", (0, 12)),
    example("the colon"),
    example("Flu, cancer", (0, 3), (5, 11)),
]


@pytest.mark.parametrize(
    "options", [{}, {"case_feature": True}, {"case_feature": True, "attn_implementation": "eager"}]
)
def test_padding_changes_no_score(options, bare_bert):
    model = tagging.new_model(str(bare_bert), TAGS, **options).model.eval()
    row = {
        "input_ids": torch.tensor([[2, 5, 9, 3, 0, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 0, 0]]),
        "cases": torch.tensor([[6, 1, 2, 6, 6, 6]]),
    }
    row = row if options else {name: row[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        padded = model(**row).logits[:, :4]
        alone = model(**{name: values[:, :4] for name, values in row.items()}).logits
    torch.testing.assert_close(padded, alone)


def test_the_loss_is_the_librarys_over_any_batches(model, tokenizer, tmp_path):
    made = trainer(model, tokenizer, tmp_path, TEXTS)
    batch = collate(made.train_dataset, pad=0)
    with torch.no_grad():
        mine = made.compute_loss(model, dict(batch))
        theirs = model(**batch).loss
    torch.testing.assert_close(mine, theirs)


def test_a_crf_computes_its_loss_in_the_networks_forward(bare_bert, tokenizer, tmp_path):
    """Else DDP, which wraps the network, would not gather the gradient of its weights."""
    model = tagging.new_model(str(bare_bert), TAGS, crf=True, dropout=0.0).model.eval()
    made, seen = trainer(model, tokenizer, tmp_path, TEXTS), []
    batch = collate(made.train_dataset, pad=0)
    model.register_forward_hook(lambda module, given, outputs: seen.append(outputs))
    loss = made.compute_loss(model, dict(batch), num_items_in_batch=torch.tensor(100))
    [outputs] = seen
    torch.testing.assert_close(loss, outputs.loss / 100)
    wanted = model.crf(outputs.logits, batch["labels"], batch["labels"] != -100).sum() / 100
    torch.testing.assert_close(loss, wanted)
    tags = int((batch["labels"] != -100).sum())
    torch.testing.assert_close(made.compute_loss(model, dict(batch)), wanted * 100 / tags)


@pytest.mark.parametrize("options", [{}, {"half_copies": True, "batch_tokens": 40}])
def test_training_learns_by_heart(bare_bert, tokenizer, tmp_path, options):
    torch.manual_seed(0)
    model, _ = tagging.new_model(
        str(bare_bert), TAGS, case_feature=bool(options), crf=bool(options), dropout=0.0
    )
    made = trainer(
        model, tokenizer, tmp_path, TEXTS, dev=TEXTS, max_steps=60, learning_rate=3e-3, **options
    )
    made.train()
    assert made.evaluate()["eval_strict_f1"] == 1
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


class Embeddings(TrainerCallback):
    """The word embeddings in training."""

    def on_step_end(self, *_, model=None, **__):
        self.seen = type(model.get_input_embeddings())


@pytest.mark.parametrize(("weight_decay", "kind"), [(0.0, UsedEmbeddings), (0.01, nn.Embedding)])
def test_rows_that_no_text_has_are_left_out_where_they_would_not_change(
    model, tokenizer, tmp_path, weight_decay, kind
):
    watch, before = Embeddings(), model.get_input_embeddings().weight.detach().clone()
    trainer(
        model, tokenizer, tmp_path, TEXTS, max_steps=2, weight_decay=weight_decay, callbacks=[watch]
    ).train()
    assert watch.seen is kind
    read = {i for text in TEXTS for i in tokenizer(text.text)["input_ids"]}
    rows = (model.get_input_embeddings().weight != before).any(1).nonzero()[:, 0].tolist()
    assert (set(rows) == read) == (kind is UsedEmbeddings)
    assert read <= set(rows)


def test_a_frozen_encoder_is_steady_and_has_no_dropout(model, tokenizer, tmp_path):
    encoders.choose_trained(model, "head")
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    made = trainer(model, tokenizer, tmp_path, TEXTS, max_steps=2, learning_rate=1e-2)
    made.train()
    assert {
        name
        for name, parameter in model.named_parameters()
        if not torch.equal(parameter, before[name])
    } == {"classifier.weight", "classifier.bias"}
    assert not model.bert.training
