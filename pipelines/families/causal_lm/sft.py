"""Supervised fine-tuning of a causal language model on answers: rows, and the trainer."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from accelerate import PartialState
from accelerate.utils import DistributedType
from peft import PeftModel
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad
from transformers import PreTrainedTokenizerBase
from trl import SFTTrainer

from pipelines.corpora.splits import classes_of
from pipelines.errors import UserError
from pipelines.evaluation.thresholds import decision_scores
from pipelines.examples import Example, Prediction, Span
from pipelines.families.causal_lm import (
    Loaded,
    Prompt,
    answer_ids,
    predict,
    prompt_ids,
)
from pipelines.families.causal_lm.candidates import Candidates
from pipelines.families.causal_lm.class_answers import fit, longest_answer
from pipelines.families.causal_lm.merging import merged_adapter
from pipelines.families.causal_lm.new_adapters import InitialAdapter
from pipelines.families.causal_lm.prompt_tokens import class_answer_ids, class_pieces
from pipelines.families.causal_lm.verification import questions
from pipelines.families.training.batches import LengthBatches
from pipelines.families.training.compiled_layers import compile_each_layer, compiled_if
from pipelines.families.training.cpu_training import CpuTraining
from pipelines.families.training.dev_scores import (
    IGNORED,
    DevScores,
    evenly_spread,
    strict_scores,
)
from pipelines.formatting import some
from pipelines.networks.encoder_config import UNLIMITED

LOSS_SAMPLE = 200  # dev examples that the dev loss is the mean of
logger = logging.getLogger(__name__)
TRAIN_SAMPLE = 50  # training examples that are answered at each evaluation


class Rows(NamedTuple):
    """Examples as token ids.

    Attributes:
        rows: `input_ids` and `labels`, one dict an example.
        too_long: ids of the examples that are left out, since they are over the length.
        cut: ids of the examples that lost the end of their text.
    """

    rows: list[dict[str, list[int]]]
    too_long: list[str]
    cut: list[str]


def training_rows(
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    prompt: Prompt,
    *,
    max_length: int | None,
    candidates: Candidates | None = None,
) -> Rows:
    """Token ids of prompt and answer, and labels that are -100 throughout the prompt.

    With `prompt.verify` questions about mentions follow, as long as they are not over the length.
    Of a text with mentions that is over it no row is made, since the end of its answer would be
    lost; a text with classes loses its own end, as in prediction.
    """
    if prompt.answer == "label":
        return class_rows(examples, tokenizer, prompt, max_length=max_length)
    rows, too_long = [], []
    named: Sequence[Sequence[Span] | None] = [None for _ in examples]
    if candidates is not None:
        named = candidates.of(examples)
    for example, spans in zip(examples, named, strict=True):
        question = prompt_ids(tokenizer, example.text, prompt, candidates=spans)
        answer = answer_ids(tokenizer, example.text, example.spans or (), prompt)
        if max_length is not None and len(question) + len(answer) > max_length:
            too_long.append(example.id)
            continue
        labels = [IGNORED] * len(question) + answer
        rows.append({"input_ids": question + answer, "labels": labels})
    if prompt.verify and candidates is not None:
        for asked, answer in questions(examples, tokenizer, prompt, candidates):
            if max_length is None or len(asked) + len(answer) <= max_length:
                labels = [IGNORED] * len(asked) + answer
                rows.append({"input_ids": asked + answer, "labels": labels})
    return Rows(rows, too_long, [])


def class_rows(
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    prompt: Prompt,
    *,
    max_length: int | None,
) -> Rows:
    """Rows of texts with classes; `cut` has the ids of those that lost their end."""
    pieces = class_pieces(tokenizer, prompt)
    most = (max_length or UNLIMITED) - longest_answer(pieces, prompt)
    fitted = fit(tokenizer, prompt, examples, most=most)
    rows = []
    for example, question in zip(examples, fitted.prompts, strict=True):
        answer = class_answer_ids(pieces, class_indices(example, prompt.labels))
        rows.append({"input_ids": question + answer, "labels": [IGNORED] * len(question) + answer})
    return Rows(rows, [], fitted.cut)


def report_lengths(rows: Rows, max_length: int) -> None:
    """Logs which examples are longer than a row may be."""
    limit = f"{max_length} tokens (--max_length, or the model's context)"
    for ids, what in (
        (rows.too_long, "left out of training, longer than"),
        (rows.cut, "the end of their texts is cut, to"),
    ):
        if ids:
            logger.info("%d examples: %s %s: %s", len(ids), what, limit, some(ids))


def class_indices(example: Example, labels: Sequence[str]) -> list[int]:
    """Indices of an example's classes among the labels."""
    return [index for index, name in enumerate(labels) if name in classes_of(example)]


def assert_trainable(
    rows: Sequence[dict[str, list[int]]], tokenizer: PreTrainedTokenizerBase
) -> str:
    """Checks, before the first step, that each row trains its answer and end token and no more.

    Returns:
        One row, decoded, the part without a loss in ⟦ ⟧.

    Raises:
        UserError: naming the first row that does not, or when there is no row.
    """
    if not rows:
        raise UserError("no training row is left; raise --max_length or give more training data")
    end = tokenizer.eos_token_id
    for index, row in enumerate(rows):
        start = _prompt_length(row)
        answer = row["labels"][start:]
        trained = 0 < start < len(row["labels"]) and answer == row["input_ids"][start:]
        if not trained or answer.count(end) != 1 or answer[-1] != end:
            text = tokenizer.decode(row["input_ids"])
            raise UserError(
                f"training row {index} would not train exactly its answer and end "
                f"token: {text!r}, loss from token {start}"
            )
    row = max(rows[:100], key=lambda row: len(row["labels"]) - _prompt_length(row))
    start, ids = _prompt_length(row), row["input_ids"]
    return f"⟦{tokenizer.decode(ids[:start])}⟧{tokenizer.decode(ids[start:])}"


def _prompt_length(row: dict[str, list[int]]) -> int:
    """The number of tokens before the first one with a loss."""
    labels = row["labels"]
    return next((index for index, label in enumerate(labels) if label != IGNORED), len(labels))


class AnswerTrainer(InitialAdapter, CpuTraining, DevScores, LengthBatches, SFTTrainer):
    """TRL's trainer, composed with batches of one length and scores of generated answers.

    Args:
        prompt: how texts are put to the model.
        answer_logits_only: project to the vocabulary only where the loss is, a tenth of all tokens.
            Otherwise TRL's loss, which projects every position on a CPU; on a GPU it projects the
            same ones in tiles, and waits for the GPU several times a step.
        generation_batch_tokens: prompt tokens of a batch at evaluation.
        compile_layers: compile the layers, where there is a C++ compiler.
        candidates: what the prompts name behind the texts, if anything.
    """

    def __init__(
        self,
        *arguments: Any,
        prompt: Prompt,
        answer_logits_only: bool = True,
        generation_batch_tokens: int = 1024,
        compile_layers: bool = False,
        candidates: Candidates | None = None,
        **keywords: Any,
    ):
        self.prompt, self.generation_batch_tokens = prompt, generation_batch_tokens
        self.candidates = candidates
        if keywords.get("dev"):
            # TRL wants a dataset to evaluate, and checks its columns; `score` reads `dev`.
            keywords["eval_dataset"] = keywords["train_dataset"].select([0])
        super().__init__(*arguments, **{"train_sample": TRAIN_SAMPLE} | keywords)
        self.answer_logits_only = answer_logits_only
        # Rows are padded on the right, which no earlier token sees. Without a mask attention takes
        # its fastest kernel on a GPU; ours on a CPU reads the mask.
        self.masks_padding = self.accelerator.device.type == "cpu"
        network: Any = self.model
        if getattr(network, "is_quantized", False):
            train_in_float32(network)
        if compile_layers:
            compile_each_layer(self._network())

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, Any]:
        """Cross-entropy over the answers, divided by their number of tokens (of the whole step)."""
        if not self.answer_logits_only:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        targets = pad(inputs["labels"][:, 1:], (0, 1), value=IGNORED)  # (B, T)
        # Before the forward pass: the number of answer tokens is what a step waits for on a GPU.
        positions = (targets != IGNORED).flatten().nonzero()[:, 0]  # (N,)
        # A batch of one row is rare, and would be compiled by itself; so would one without
        # gradients.
        compiled = compiled_if(len(targets) > 1 and model.training)
        with compiled, self._logits_only_at(positions):
            # The wrapped model is called, so that several processes exchange their gradients.
            outputs = model(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"] if self.masks_padding else None,
                use_cache=False,
            )
        loss = cross_entropy(
            outputs.logits.float(),
            targets.flatten()[positions],
            reduction="sum",
            label_smoothing=self.args.label_smoothing_factor,
        )
        if model.training:
            tokens: Any = inputs["attention_mask"].sum()  # read when it is logged
            self._total_train_tokens += tokens * self.args.world_size
            self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
        loss = loss / (len(positions) if num_items_in_batch is None else num_items_in_batch)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def log(self, *arguments: Any, **keywords: Any) -> None:
        """Logs, with the tokens seen so far as a number."""
        self._total_train_tokens = int(self._total_train_tokens)
        if "num_tokens" in self._metrics["train"]:
            self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
        super().log(*arguments, **keywords)

    @contextmanager
    def _logits_only_at(self, positions: Tensor) -> Iterator[None]:
        """Projects to the vocabulary, (N, V), only at `positions` (N,) of the flattened states."""
        head = self._network().get_output_embeddings()
        hook = head.register_forward_pre_hook(
            lambda _, states: states[0].flatten(0, 1)[positions]  # (N, H)
        )
        try:
            yield
        finally:
            hook.remove()

    def score(self, examples: Sequence[Example]) -> dict[str, float]:
        """Scores of greedy answers, and the loss on a part of the examples."""
        greedy = replace(self.prompt, samples=0)
        trained, tokenizer = trained_model(self), self._tokenizer
        options: Any = self.args
        part = evenly_spread(examples, LOSS_SAMPLE)
        rows = training_rows(
            part,
            tokenizer,
            self.prompt,
            max_length=options.max_length,
            candidates=self.candidates,
        ).rows
        rows.sort(key=lambda row: len(row["input_ids"]))
        # A growing cache would be compiled anew at each step.
        with compiled_if(False):
            loss = self.mean_loss(rows)
            with merged_adapter(trained) as network:
                show = self.is_world_process_zero() and not options.disable_tqdm
                predictions = predict(
                    Loaded(network, tokenizer, greedy, candidates=self.candidates),
                    examples,
                    batch_tokens=self.generation_batch_tokens,
                    progress=show,
                )
        if self.prompt.answer == "label":
            return {"loss": loss, **class_scores(examples, predictions, self.prompt)}
        return {"loss": loss, **strict_scores(examples, predictions)}

    def _network(self) -> Any:
        trained = trained_model(self)
        return trained.get_base_model() if isinstance(trained, PeftModel) else trained


def train_in_float32(model: nn.Module) -> None:
    """Makes the trained weights of a quantised model float32; TRL makes them bf16.

    A step of fp16 (on a T4) cannot unscale gradients in bf16, and small steps vanish in it.
    """
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()


def class_scores(
    examples: Sequence[Example], predictions: Sequence[Prediction], prompt: Prompt
) -> dict[str, float]:
    """The scores by which classifiers are chosen, of predicted classes."""
    several = prompt.format == "classes"
    scores = np.array([[(p.scores or {})[label] for label in prompt.labels] for p in predictions])
    indices = [class_indices(example, prompt.labels) for example in examples]
    if not several:
        return decision_scores(scores, np.array([own[0] for own in indices]))
    targets = np.zeros(scores.shape)
    for row, own in zip(targets, indices, strict=True):
        row[own] = 1.0
    # Decisions on several classes are made on logits, at 0.
    return decision_scores(scores - 0.5, targets)


def refuse_sharded_generation() -> None:
    """Refuses evaluation while no process holds whole weights.

    Raises:
        UserError: under FSDP or DeepSpeed.
    """
    sharded = DistributedType.FSDP, DistributedType.DEEPSPEED
    if PartialState().distributed_type in sharded:
        raise UserError(
            "answers cannot be generated while the weights are sharded (FSDP, ZeRO-3); "
            "take --eval_strategy no"
        )


def trained_model(trainer: SFTTrainer) -> Any:
    """The model that a trainer trains, without what wraps it for several processes."""
    return trainer.accelerator.unwrap_model(trainer.model)
