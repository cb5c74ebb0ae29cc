"""A training of a second: a BERT with random weights and with dropout, on random tokens."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainingArguments,
    set_seed,
)

from pipelines.runs.checkpoints import CheckpointManifest
from pipelines.runs.sessions import SessionRecorder

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 40,
    "max_position_embeddings": 16,
}


def rows() -> list[dict[str, Any]]:
    """16 rows of 8 tokens, each with one of two classes."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, SIZES["vocab_size"], (16, 8), generator=generator)
    return [{"input_ids": row, "labels": int(row.sum() % 2)} for row in ids]


def tiny_trainer(run: Path, **options: Any) -> Trainer:
    """Six steps, with a checkpoint at every second one in `checkpoints/` of the run."""
    defaults = {
        "max_steps": 6,
        "save_steps": 2,
        "logging_steps": 1,
        "learning_rate": 1e-2,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
    }
    arguments = TrainingArguments(output_dir=str(run / "checkpoints"), **{**defaults, **options})
    set_seed(3)
    return Trainer(
        model=BertForSequenceClassification(BertConfig(**SIZES)),
        args=arguments,
        train_dataset=rows(),
        eval_dataset=rows()[:4],
        callbacks=[CheckpointManifest(), SessionRecorder(run)],
    )
