"""Training a recurrent language model: segments in order, the carried state, perplexity of dev."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.data_loader import DataLoaderShard
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import Trainer

from pipelines.examples import Example
from pipelines.families.language_model import Loaded, predict
from pipelines.families.language_model.text_stream import Segment, TextStream
from pipelines.families.training.averaging import WeightAveraging
from pipelines.families.training.dev_scores import DevScores
from pipelines.families.training.losses import SummedLoss
from pipelines.networks.recurrent_lm import RecurrentLanguageModel, RecurrentState

STATE_FILE = "carried_state.safetensors"  # in a checkpoint


def start_from_frequencies(model: RecurrentLanguageModel, rows: Sequence[Sequence[int]]) -> None:
    """Sets b2 to log((n + 1) / (N + |V|)), n of the N training tokens being the word."""
    bias: Tensor = model.output.bias
    counts = Counter(token for row in rows for token in row[1:])
    frequencies = torch.tensor([counts[token] + 1.0 for token in range(len(bias))])  # (|V|,)
    with torch.no_grad():
        bias.copy_((frequencies / frequencies.sum()).log())


class LanguageModelTrainer(WeightAveraging, DevScores, SummedLoss, Trainer):
    """Trains by truncated back-propagation through time; checkpoints are compared by perplexity.

    Rows hold `input_ids`, from the begin mark to the end mark. A step reads a segment of
    `per_device_train_batch_size` columns.

    Args:
        bptt: tokens that a gradient flows back.
        scored: the model with its vocabulary, to score texts as `predict` does.
    """

    def __init__(self, *arguments: Any, bptt: int, scored: Loaded, **keywords: Any):
        super().__init__(*arguments, **keywords)
        self.bptt, self.scored = bptt, scored
        self.carried: RecurrentState | None = None

    def get_train_dataloader(self) -> DataLoaderShard:
        """Segments in their order, each a batch; the columns of each process are its own."""
        rows: Any = self.train_dataset
        config = self._network().config
        stream = TextStream(
            [row["input_ids"] for row in rows],
            columns=self.args.per_device_train_batch_size,
            bptt=self.bptt,
            begin=config.bos_token_id,
            padding=config.pad_token_id,
            seed=self.args.seed,
            processes=self.args.world_size,
            rank=self.args.process_index,
        )
        return DataLoaderShard(stream, device=self.args.device, batch_size=1, collate_fn=_only)

    def summed_loss(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, object]:
        """The loss of a segment, summed over its tokens, and what the model returned."""
        labels = inputs["labels"]  # (B, T)
        if bool(inputs["begins"]):
            self.carried = None
        outputs = model(input_ids=inputs["input_ids"], past_key_values=self.carried)
        self.carried = outputs.past_key_values.detach()
        read = labels >= 0
        return self.class_loss(outputs.logits[read], labels[read]), outputs

    @torch.inference_mode()
    def score(self, examples: Sequence[Example]) -> dict[str, float]:
        """Mean nats per token, and perplexity, of texts."""
        loaded = self.scored._replace(model=self._network())
        answers = predict(loaded, examples, progress=False)
        nats = sum(answer.value or 0.0 for answer in answers)
        tokens = sum((answer.scores or {})["tokens"] for answer in answers)
        loss = nats / max(tokens, 1)
        return {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Saves the model; in a checkpoint, the state that the next segment starts from too."""
        super().save_model(output_dir, _internal_call)
        if self.carried is not None and _internal_call and self.args.should_save:
            tensors = {"hidden": self.carried.hidden, "memory": self.carried.memory}
            contiguous = {name: tensor.clone() for name, tensor in tensors.items()}
            save_file(contiguous, Path(str(output_dir)) / STATE_FILE)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        file = Path(resume_from_checkpoint) / STATE_FILE
        if file.is_file():
            tensors = load_file(file, device=str(self.args.device))
            self.carried = RecurrentState(tensors["hidden"], tensors["memory"])


def _only(segments: list[Segment]) -> Segment:
    [segment] = segments
    return segment
