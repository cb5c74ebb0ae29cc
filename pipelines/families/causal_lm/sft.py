"""Supervised fine-tuning of a causal language model on answers: rows, and the trainer."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from datasets import Dataset
from peft import PeftModel
from peft.helpers import disable_input_dtype_casting
from torch import Tensor
from torch.nn.functional import cross_entropy, pad
from transformers import PreTrainedTokenizerBase, TrainerCallback, TrainerState
from trl import SFTTrainer

from pipelines.cpu.fused_adapters import fused_adapters
from pipelines.errors import UserError
from pipelines.evaluation.span_scores import score_spans
from pipelines.examples import Example
from pipelines.families.batching import LengthBatchSampler
from pipelines.families.causal_lm import Loaded, Prompt, answer_ids, predict, prompt_ids
from pipelines.families.causal_lm.generation import attends_to_all_before, shared_tokens
from pipelines.families.causal_lm.merging import merged_adapter

IGNORED = -100
WORTH_SHARING = 8  # tokens; for fewer, the row that holds them costs as much


class Rows(NamedTuple):
    """Examples as token ids; ``too_long`` are the ids of those left out, whole, since they are over the length."""

    rows: list[dict[str, list[int]]]
    too_long: list[str]


def training_rows(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, prompt: Prompt, *,
                  max_length: int) -> Rows:
    """Token ids of prompt and answer, and labels that are -100 all over the prompt."""
    rows, too_long = [], []
    for example in examples:
        question = prompt_ids(tokenizer, example.text, prompt)
        answer = answer_ids(tokenizer, example.text, example.spans or (), prompt)
        if len(question) + len(answer) > max_length:
            too_long.append(example.id)
        else:
            rows.append({"input_ids": question + answer, "labels": [IGNORED] * len(question) + answer})
    return Rows(rows, too_long)


def assert_trainable(rows: Sequence[dict[str, list[int]]], tokenizer: PreTrainedTokenizerBase) -> str:
    """Makes sure, before the first step, that each row trains its answer and end token and nothing else.

    Returns:
        One row, decoded, the part without a loss in ⟦ ⟧.
    """
    if not rows:
        raise UserError("no training row is left; raise --max_length or give more training data")
    for number, row in enumerate(rows):
        ids, labels = row["input_ids"], row["labels"]
        start = next((place for place, label in enumerate(labels) if label != IGNORED), len(labels))
        answer = labels[start:]
        if start in (0, len(labels)) or answer != ids[start:] or answer.count(tokenizer.eos_token_id) != 1 \
                or answer[-1] != tokenizer.eos_token_id:
            raise UserError(f"training row {number} would not train exactly its answer and end token: "
                            f"{tokenizer.decode(ids)!r}, loss from token {start}")
    row = max(rows[:100], key=lambda row: len(row["labels"]) - row["labels"].count(IGNORED))
    masked = row["labels"].count(IGNORED)
    return f"⟦{tokenizer.decode(row['input_ids'][:masked])}⟧{tokenizer.decode(row['input_ids'][masked:])}"


class ReturnFreedMemory(TrainerCallback):
    """Gives freed memory back to the system now and then.

    Batches of ever other shapes leave holes in glibc's heap, which grows by gigabytes in an hour. Taking the pages anew
    costs time: 4 % of it when done every 16 steps.
    """

    every = 64  # steps

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        if state.global_step % self.every == 0:
            self.on_evaluate()

    def on_evaluate(self, *_: Any, **__: Any) -> None:
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc alone
        if trim is not None:
            trim(0)


class AnswerTrainer(SFTTrainer):
    """TRL's trainer, with batches of one length, and best checkpoint by the strict F1 of generated answers.

    On a CPU the last layer's feed-forward net and the vocabulary's projection see answers only, a tenth of all tokens;
    TRL's own head projects every position there. On a GPU TRL's head does the same by itself (`answer_logits_only=None`
    chooses).

    Attributes:
        shared: tokens that all prompts begin with, such as an instruction, where a batch may read them once; else 0.
    """

    def __init__(self, *arguments: Any, dev: Sequence[Example] = (), prompt: Prompt, batch_tokens: int | None = None,
                 answer_logits_only: bool | None = None, generation_batch_tokens: int = 1024,
                 compile_layers: bool = False, **keywords: Any):
        self.dev, self.prompt = dev, prompt
        self.batch_tokens, self.generation_batch_tokens = batch_tokens, generation_batch_tokens
        super().__init__(*arguments, **keywords)
        if compile_layers and any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))):
            # Layer by layer, so that one compilation serves them; any number of rows and tokens. The last one sees
            # answers only, and so would need a compilation of its own.
            for layer in self._layers()[:-1]:
                layer.compile(dynamic=True)
        on_cpu = self.accelerator.device.type == "cpu"
        self.answer_logits_only = on_cpu if answer_logits_only is None else answer_logits_only
        self.shared = 0
        if self.answer_logits_only and attends_to_all_before(self._network()):
            rows: Any = self.train_dataset
            shared = shared_tokens([ids[:labels.count(IGNORED)]
                                    for ids, labels in zip(rows["input_ids"], rows["labels"], strict=True)])
            self.shared = shared if shared >= WORTH_SHARING else 0
        if on_cpu and sys.platform == "linux":
            self.add_callback(ReturnFreedMemory)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Any:
        if self.batch_tokens is None:
            return super()._get_train_sampler(train_dataset)
        rows: Any = train_dataset if train_dataset is not None else self.train_dataset
        return LengthBatchSampler([len(ids) for ids in rows["input_ids"]], batch_tokens=self.batch_tokens,
                                  processes=self.args.world_size, rank=self.args.process_index, seed=self.args.seed)

    def train(self, *arguments: Any, **keywords: Any) -> Any:
        model: Any = self.model
        with ExitStack() as stack:
            if self.answer_logits_only:
                stack.enter_context(fused_adapters(model))
                if self.args.bf16:
                    # Under autocast adapters compute in bf16 as it is; peft would convert what they read to float32
                    # and back.
                    stack.enter_context(disable_input_dtype_casting(model))
            return super().train(*arguments, **keywords)

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False,
                     num_items_in_batch: Any = None) -> Any:
        if not self.answer_logits_only:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        given = {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"]}
        targets = pad(inputs["labels"][:, 1:], (0, 1), value=IGNORED)                         # (B, T)
        rows, width = targets.shape
        # What is shared takes a row, and rows are longer than it: were they as long, the compiler would think that they
        # always are.
        length = max(width - self.shared, self.shared + 1)
        if self.shared and (1 + rows) * length < rows * width:
            given, targets = self._behind_shared(inputs["input_ids"], targets, length)
        answers = targets != IGNORED
        # A batch of one row is rare, and would be compiled for itself.
        stance = "force_eager" if len(inputs["labels"]) == 1 else "default"
        with self._only_at(answers), torch.compiler.set_stance(stance):
            # The wrapped model is called, so that several processes exchange their gradients.
            outputs = model(**given, use_cache=False)
        loss = cross_entropy(outputs.logits.float(), targets[answers], reduction="sum",
                             label_smoothing=self.args.label_smoothing_factor)
        self._total_train_tokens += int(inputs["attention_mask"].sum()) * self.args.world_size
        self._metrics["train" if model.training else "eval"]["num_tokens"] = [self._total_train_tokens]
        loss = loss / (num_items_in_batch if num_items_in_batch is not None else answers.sum())
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def _behind_shared(self, ids: Tensor, targets: Tensor, length: int) -> tuple[dict[str, Any], Tensor]:
        """Ids and targets of B texts, as `attend_behind` wants them, T = `length`.

        Gradients are the same, for what is shared is the sum over all rows on the way back.

        Returns:
            What the network is given, and (1 + B, T) targets.
        """
        width = self.shared + length
        missing = width - ids.shape[1]

        def behind(whole: Tensor) -> Tensor:
            """(B, P + T, …) to (1 + B, T, …); what comes after the shared tokens in the first row is not read."""
            return torch.cat([whole[:1, :length], whole[:, self.shared:]])

        # Noise on embeddings is drawn for texts as long as they are.
        states = pad(self._network().get_input_embeddings()(ids), (0, 0, 0, missing))           # (B, P + T, H)
        places = torch.arange(width, device=ids.device).expand(len(ids), width)
        later = torch.full((width, width), torch.finfo(states.dtype).min, dtype=states.dtype, device=ids.device)
        return ({"inputs_embeds": behind(states), "position_ids": behind(places), "shared": self.shared,
                 "attention_mask": later.triu(1)[None, None]},
                pad(targets[:, self.shared:], (0, missing, 1, 0), value=IGNORED))

    def _network(self) -> Any:
        return self.accelerator.unwrap_model(self.model).get_base_model()

    def _layers(self) -> Any:
        return getattr(self._network().base_model, "layers", [])

    @contextmanager
    def _only_at(self, places: Tensor) -> Iterator[None]:
        """Computes what comes after the last attention only where (B, T) `places` says: nothing else is read."""
        head = self._network().get_output_embeddings()
        hooks = [head.register_forward_pre_hook(lambda _, given: given[0][places])]                 # (n, H)
        layers = self._layers()
        mlp: Any = getattr(layers[-1], "mlp", None) if len(layers) else None
        # A net as Llama's sees one token at a time. Layers computed again on the way back would miss the hooks.
        if hasattr(mlp, "down_proj") and not self.args.gradient_checkpointing:

            def spread(_: Any, given: tuple[Tensor], found: Tensor) -> Tensor:
                whole = found.new_zeros(*places.shape, found.shape[-1])                             # (B, T, H)
                whole[places] = found[0]
                return whole

            hooks += [mlp.register_forward_pre_hook(lambda _, given: given[0][places][None]),       # (1, n, H)
                      mlp.register_forward_hook(spread)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def evaluate(self, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> dict[str, float]:
        """Generates answers to the dev examples and scores them."""
        trained = self.accelerator.unwrap_model(self.model)
        trained.eval()
        with (merged_adapter(trained) as model,
              torch.compiler.set_stance("force_eager")):  # a growing cache would be compiled anew at each step
            predictions = predict(Loaded(model, self._tokenizer, self.prompt), self.dev,
                                  batch_tokens=self.generation_batch_tokens,
                                  progress=self.is_world_process_zero() and not self.args.disable_tqdm)
        strict = score_spans([example.spans or () for example in self.dev],
                             [prediction.spans or () for prediction in predictions])["strict"]
        metrics = {f"{metric_key_prefix}_strict_{name}": strict[name] for name in ("precision", "recall", "f1")}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def refuse_sharded_generation() -> None:
    """Generation in the middle of training needs whole weights on each process."""
    if PartialState().distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        raise UserError("answers cannot be generated while the weights are sharded (FSDP, ZeRO-3); take "
                        "--eval_strategy no --load_best_model_at_end false")


def trained_model(trainer: SFTTrainer) -> PeftModel:
    return trainer.accelerator.unwrap_model(trainer.model)
