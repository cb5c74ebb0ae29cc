"""The loss on answers, evaluations, the best checkpoint, and training that was interrupted."""

import pytest
import torch
from conftest import answered
from datasets import Dataset
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file
from torch._dynamo.testing import CompileCounter
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel
from trl import SFTConfig

from pipelines.examples import Example, Prediction, Span
from pipelines.families.causal_lm import prompt_for, sft
from pipelines.families.causal_lm.sft import AnswerTrainer, training_rows
from pipelines.families.training.batches import LengthBatchSampler
from pipelines.families.training.dev_scores import IGNORED


def rows_of(tokenizer):
    prompt = prompt_for(
        tokenizer, format="list", labels=["Disease"], style="plain", constrained=True
    )
    return training_rows(
        [
            *answered(),
            Example("4", "No cancer.", (Span(3, 9, "Disease"),)),
            Example("5", "Nothing but a word.", ()),
        ],
        tokenizer,
        prompt,
        max_length=512,
    ).rows, prompt


def trainer_for(
    model,
    tokenizer,
    folder,
    *,
    init_lora_weights=False,
    answer_logits_only=True,
    batch_tokens=200,
    dropout=0.0,
    dev=(),
    train=(),
    **training,
):
    rows, prompt = rows_of(tokenizer)
    arguments = SFTConfig(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        report_to="none",
        disable_tqdm=True,
        max_length=None,
        seed=5,
        logging_steps=1,
        dataset_kwargs={"skip_prepare_dataset": True},
        dataloader_pin_memory=False,
        **(
            {"save_strategy": "no", "learning_rate": 0.01, "gradient_checkpointing": False}
            | training
        ),
    )
    lora = LoraConfig(
        r=2,
        target_modules="all-linear",
        lora_dropout=dropout,
        task_type="CAUSAL_LM",
        init_lora_weights=init_lora_weights,
    )
    return AnswerTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=lora,
        prompt=prompt,
        dev=dev,
        train=train,
        batch_tokens=batch_tokens,
        answer_logits_only=answer_logits_only,
    )


def loss_and_gradients(trainer, inputs, count):
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, dict(inputs), num_items_in_batch=count)
    loss.backward()
    return loss.item(), {
        name: weight.grad.clone()
        for name, weight in trainer.model.named_parameters()
        if weight.requires_grad
    }


@pytest.mark.parametrize("count", [None, 7], ids=["of this batch", "of an accumulated batch"])
def test_loss_is_cross_entropy_over_the_answers_and_trls_own(count, network, tokenizer, tmp_path):
    trainer = trainer_for(network, tokenizer, tmp_path, batch_tokens=1000)
    trainer.model.train()
    inputs = next(iter(trainer.get_train_dataloader()))
    assert inputs["input_ids"].shape[0] == 6
    total = None if count is None else torch.tensor(count)
    ours, our_gradients = loss_and_gradients(trainer, inputs, total)
    trainer.answer_logits_only = False
    theirs, their_gradients = loss_and_gradients(trainer, inputs, total)

    logits = trainer.model(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
    ).logits  # (B, T, V)
    targets = inputs["labels"][:, 1:]
    expected = cross_entropy(
        logits[:, :-1].flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    assert ours == pytest.approx(
        (expected / (count or (targets != IGNORED).sum())).item(), abs=1e-5
    )
    assert ours == pytest.approx(theirs, abs=1e-5)
    assert our_gradients.keys() == their_gradients.keys()
    assert all("lora_" in name for name in our_gradients)
    for name, gradient in our_gradients.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(gradient, their_gradients[name], atol=1e-5, rtol=1e-3)


def test_labels_are_smoothed_as_asked_and_by_trl(network, tokenizer, tmp_path):
    trainer = trainer_for(
        network, tokenizer, tmp_path, batch_tokens=1000, label_smoothing_factor=0.1
    )
    inputs = next(iter(trainer.get_train_dataloader()))
    loss, outputs = trainer.compute_loss(trainer.model, dict(inputs), return_outputs=True)
    targets = inputs["labels"][:, 1:]
    scores = outputs.logits.log_softmax(-1)  # (N, V)
    right = scores.gather(1, targets[targets != IGNORED][:, None])[:, 0]
    assert loss.item() == pytest.approx(
        -(0.9 * right + 0.1 * scores.mean(-1)).mean().item(), abs=1e-5
    )
    trainer.answer_logits_only = False
    assert loss.item() == pytest.approx(
        trainer.compute_loss(trainer.model, dict(inputs)).item(), abs=1e-5
    )


def test_only_answers_are_projected_to_the_vocabulary(network, tokenizer, tmp_path):
    trainer = trainer_for(network, tokenizer, tmp_path)
    inputs = next(iter(trainer.get_train_dataloader()))
    _, outputs = trainer.compute_loss(trainer.model, dict(inputs), return_outputs=True)
    answers = int((inputs["labels"][:, 1:] != IGNORED).sum())
    assert outputs.logits.shape[:-1] == (answers,)
    # And outside of the loss the model is as it was.
    ids = inputs["input_ids"]
    assert trainer.model(input_ids=ids).logits.shape[:-1] == ids.shape


def test_layers_computed_again_on_the_way_back_train_the_same(network, tokenizer, tmp_path):
    trained = []
    for again in (False, True):
        torch.manual_seed(3)
        trainer = trainer_for(
            network, tokenizer, tmp_path, gradient_checkpointing=again, max_steps=2
        )
        trainer.train()
        trained.append(
            {
                name: value.clone()
                for name, value in get_peft_model_state_dict(trainer.model).items()
            }
        )
        network = trainer.model.unload()
    for name, weight in trained[0].items():
        torch.testing.assert_close(weight, trained[1][name], atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_a_batch_of_one_row_is_not_compiled_for_itself(network, tokenizer, tmp_path):
    trainer = trainer_for(network, tokenizer, tmp_path, batch_tokens=1000)
    inputs = next(iter(trainer.get_train_dataloader()))
    compiled = CompileCounter()
    network.model.layers[0].compile(backend=compiled, dynamic=True)
    trainer.compute_loss(trainer.model, {name: values[:1] for name, values in inputs.items()})
    assert compiled.frame_count == 0
    trainer.compute_loss(trainer.model, dict(inputs))
    assert compiled.frame_count == 1


def test_a_network_whose_layers_are_named_otherwise_is_trained_too(tokenizer, tmp_path):
    gpt2 = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer),
            n_positions=128,
            n_embd=16,
            n_layer=2,
            n_head=2,
            attn_pdrop=0,
            embd_pdrop=0,
            resid_pdrop=0,
        )
    )
    trainer = trainer_for(gpt2, tokenizer, tmp_path)
    inputs = next(iter(trainer.get_train_dataloader()))
    ours, _ = loss_and_gradients(trainer, inputs, None)
    trainer.answer_logits_only = False
    assert ours == pytest.approx(loss_and_gradients(trainer, inputs, None)[0], abs=1e-5)


def test_padding_changes_no_loss(network, tokenizer, tmp_path):
    trainer = trainer_for(network, tokenizer, tmp_path)
    rows, _ = rows_of(tokenizer)

    def batch(chosen):
        return trainer.data_collator([dict(row) for row in chosen])

    total = torch.tensor(10)
    with torch.no_grad():
        together = trainer.compute_loss(trainer.model, batch(rows), num_items_in_batch=total)
        alone = sum(
            trainer.compute_loss(trainer.model, batch([row]), num_items_in_batch=total)
            for row in rows
        )
    assert together.item() == pytest.approx(alone.item(), rel=1e-5)


def test_end_tokens_are_trained_and_padding_is_not(network, tokenizer, tmp_path):
    trainer = trainer_for(network, tokenizer, tmp_path)
    batch = trainer.data_collator([dict(row) for row in rows_of(tokenizer)[0]])
    end, padding = tokenizer.eos_token_id, batch["attention_mask"] == 0
    assert padding.any()
    assert (batch["labels"][padding] == IGNORED).all()
    assert (batch["input_ids"][padding] != end).all()
    # The last token of each row that is not padding.
    last = batch["attention_mask"].sum(1, keepdim=True) - 1
    assert (batch["labels"].gather(1, last) == end).all()
    assert ((batch["labels"] == end).sum(1) == 1).all()


def test_evaluation_scores_generated_answers(answering, tmp_path):
    wrong = Example("x", "A flu, then an even worse flu, was noted.", (Span(2, 5, "Disease"),))
    model = AutoModelForCausalLM.from_pretrained(
        answering.tokenizer.name_or_path, dtype=torch.float32
    )
    model.load_state_dict(answering.model.state_dict())
    trainer = trainer_for(
        model,
        answering.tokenizer,
        tmp_path,
        init_lora_weights=True,
        dev=[*answered(), wrong],
        eval_strategy="no",
    )
    # Predicted: five right (2 + 0 + 2 + 1) of five gold; in the last one of two is right.
    metrics = trainer.evaluate()
    assert metrics["eval_strict_precision"] == pytest.approx(6 / 7)
    assert metrics["eval_strict_recall"] == 1
    assert metrics["eval_strict_f1"] == pytest.approx(12 / 13)
    assert trainer.state.log_history[-1]["eval_strict_f1"] == metrics["eval_strict_f1"]
    # The loss is that of training: the mean over all tokens of the answers.
    rows = training_rows(
        [*answered(), wrong], answering.tokenizer, answering.prompt, max_length=512
    ).rows
    total, count = 0.0, 0
    for row in rows:
        with torch.no_grad():
            logits = answering.model(torch.tensor([row["input_ids"]])).logits[0, :-1]  # (T, V)
        targets = torch.tensor(row["labels"][1:])
        total += cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum").item()
        count += int((targets != IGNORED).sum())
    assert metrics["eval_loss"] == pytest.approx(total / count, abs=1e-4)


def test_an_evaluation_answers_a_sample_of_train_too(answering, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(
        answering.tokenizer.name_or_path, dtype=torch.float32
    )
    model.load_state_dict(answering.model.state_dict())
    wrong = Example("x", "A flu, then an even worse flu, was noted.", (Span(2, 5, "Disease"),))
    trainer = trainer_for(
        model,
        answering.tokenizer,
        tmp_path,
        init_lora_weights=True,
        dev=[wrong],
        train=answered(),
        eval_strategy="steps",
        eval_steps=2,
        max_steps=2,
        learning_rate=0.0,
    )
    trainer.train()
    [logged] = [entry for entry in trainer.state.log_history if "eval_strict_f1" in entry]
    assert logged["eval_strict_f1"] == pytest.approx(2 / 3)
    assert logged["train_strict_f1"] == 1
    # Tokens of an evaluation are not trained on.
    tokens = [entry["num_tokens"] for entry in trainer.state.log_history if "num_tokens" in entry]
    assert tokens[-1] <= 2 * sum(len(ids) for ids in trainer.train_dataset["input_ids"])


def test_the_best_checkpoint_is_that_of_the_best_generated_answers(
    network, tokenizer, tmp_path, monkeypatch
):
    dev, evaluations = answered(), []

    def predict(loaded, examples, **_):
        evaluations.append(None)
        # Right after the first two steps, never again: while the loss goes on falling.
        return [
            Prediction(example.id, spans=example.spans if len(evaluations) == 1 else ())
            for example in examples
        ]

    monkeypatch.setattr(sft, "predict", predict)
    trainer = trainer_for(
        network,
        tokenizer,
        tmp_path,
        dev=dev,
        max_steps=6,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="strict_f1",
    )
    trainer.train()
    assert len(evaluations) == 3
    assert trainer.state.best_metric == 1
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-2")
    best, last = (
        load_file(tmp_path / f"checkpoint-{step}" / "adapter_model.safetensors") for step in (2, 6)
    )
    now = get_peft_model_state_dict(trainer.model)
    assert all(torch.equal(now[name], best[name]) for name in best)
    assert not all(torch.equal(now[name], last[name]) for name in last)


@pytest.mark.parametrize(
    "batch_tokens", [200, None], ids=["batches of one length", "TRL's batches"]
)
def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    batch_tokens, tiny_llama, tokenizer, tmp_path, monkeypatch
):
    epochs, iterate = [], LengthBatchSampler.__iter__
    monkeypatch.setattr(
        LengthBatchSampler, "__iter__", lambda self: epochs.append(self.epoch) or iterate(self)
    )

    def trained(checkpoint):
        model = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
        trainer = trainer_for(
            model,
            tokenizer,
            tmp_path,
            batch_tokens=batch_tokens,
            dropout=0.1,
            num_train_epochs=3,
            per_device_train_batch_size=2,
            save_strategy="steps",
            save_steps=1,
            init_lora_weights=True,
        )
        trainer.train(resume_from_checkpoint=checkpoint)
        return trainer, {
            name: weight.clone()
            for name, weight in get_peft_model_state_dict(trainer.model).items()
        }

    trainer, whole = trained(None)
    steps = trainer.state.max_steps
    per_epoch = steps // 3
    assert per_epoch > 1
    assert epochs == ([0, 1, 2] if batch_tokens else [])
    # In the middle of the second epoch.
    start = tmp_path / f"checkpoint-{per_epoch + 1}"
    early = load_file(start / "adapter_model.safetensors")
    resumed, continued = trained(str(start))
    assert resumed.state.global_step == steps
    assert max((whole[name] - early[name]).abs().max() for name in whole) > 1e-3
    for name, weight in whole.items():
        torch.testing.assert_close(continued[name], weight, atol=1e-6, rtol=0)
