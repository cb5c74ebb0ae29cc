"""Goes on pretraining an encoder on texts, labelled or not: it learns to guess masked words of them.

    python recipes/pretrain_encoder.py --train_file train.json --dev_file dev.json --test_file test.json \\
        --run_dir runs/pretrained                                                   # MiniLM, from the installed package
    python recipes/finetune_token_tagger.py --model_name_or_path runs/pretrained/model …

Only texts are read, of all files that are given. Everything lands in the run folder: config.yaml, provenance.json,
trainer_log.json, model/ (a checkpoint that every recipe for encoders starts from).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import transformers
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers import set_seed

from pipelines.corpora import read_examples
from pipelines.errors import DataError, UserError, one_line_errors
from pipelines.families import sequence_classifier, token_tagger
from pipelines.families.language_model import masked_lm
from pipelines.families.token_tagger import tagging
from pipelines.networks import precision
from pipelines.runs import options as config
from pipelines.runs.cost import CostMeter
from pipelines.runs.provenance import provenance
from pipelines.runs.run import Run, tell

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class RecipeArguments(config.DataArguments):
    model_name_or_path: str = field(default="local:minilm", metadata={"help": "an encoder: a folder, a Hub id, or "
                                                                              "local:minilm"})
    mlm_probability: float = field(default=0.15, metadata={"help": "the share of tokens that have to be guessed"})
    window: int | None = field(default=None, metadata={"help": "sub-words of a row; longer texts are several rows "
                                                               "(default: as many as the model takes)"})
    batch_tokens: int | None = field(default=None, metadata={"help": "batches of rows of one length with at most so "
                                                                     "many sub-words, in place of "
                                                                     "per_device_train_batch_size"})
    half_copies: bool | None = field(default=None, metadata={"help": "compute in bf16 copies of the weights (default: "
                                                                     "on a CPU that has bf16)"})


@dataclass
class TrainingArguments(config.RunTrainingArguments, transformers.TrainingArguments):
    """Transformers', with defaults for pretraining; the number format is left to the machine (`precision.choose`)."""

    learning_rate: float = field(default=1e-4, metadata={"help": "of all weights"})
    logging_strategy: str = field(default="epoch", metadata={"help": "when the loss is told"})
    save_strategy: str = field(default="epoch", metadata={"help": "when a checkpoint is written"})
    save_total_limit: int | None = field(default=1, metadata={"help": "checkpoints kept"})
    remove_unused_columns: bool = field(default=False, metadata={"help": "rows hold what the network takes"})


def main() -> None:
    with one_line_errors():
        options, training = config.parse((RecipeArguments, TrainingArguments),
                                         default_config=ROOT / "recipes" / "configs" / "pretrain_minilm.yaml")
        run(options, training)


def run(options: RecipeArguments, training: TrainingArguments) -> None:
    """The whole job."""
    if not 0 < options.mlm_probability < 1:
        raise UserError(f"got --mlm_probability {options.mlm_probability}; wanted a share between 0 and 1, such as "
                        "0.15")
    half_copies = tagging.half_copies(options.half_copies, training)
    first = PartialState().is_main_process
    files = config.given_files(options, ROOT)
    texts = [example.text for file in files.values()
             for example in read_examples(file, labelled=False, answer="text", columns=options.columns())]
    [folder] = broadcast_object_list([options.run_dir or f"runs/pretrained-{time.strftime('%Y%m%d-%H%M%S')}"])
    run = Run(folder)
    training.output_dir = training.output_dir or str(run.checkpoints)
    if first:
        run.start(resume=training.resume_from_checkpoint is not None)
    if run.model.is_dir():
        tell(first, f"{run.model} is there already: nothing to do")
        return

    set_seed(training.seed)
    tokenizer = token_tagger.load_tokenizer(options.model_name_or_path)
    if tokenizer.mask_token is None:
        raise UserError(f"the tokenizer of {options.model_name_or_path!r} has no token that masks a word; take BERT or "
                        "one of its kin")
    rows = masked_lm.text_rows(texts, tokenizer, window=window_of(options, tokenizer))
    if not rows:
        raise DataError(f"{', '.join(files.values())}: no text has a word in it; give texts")
    attention = {"attn_implementation": "eager"} if precision.choose().device == "cpu" else {}
    model, new = masked_lm.new_model(options.model_name_or_path, rows, **attention)
    tell(first and new, f"{options.model_name_or_path} has no {', '.join(new)}: they start at random, and the words' "
                        "bias from their frequencies")
    tokens = sum(len(row["input_ids"]) for row in rows)
    tell(first, f"{len(rows)} rows of {len(texts)} texts, {tokens} sub-words")
    if first:
        run.write_config(options, training)
        run.write_json("provenance.json", provenance(list(files.values()), model=options.model_name_or_path))
    if half_copies:
        training.bf16 = False
    trainer = masked_lm.MaskedWordTrainer(
        model=model, args=training, train_dataset=rows, processing_class=tokenizer, batch_tokens=options.batch_tokens,
        mlm_probability=options.mlm_probability, half_copies=half_copies)
    meter = CostMeter()
    with meter.stage("training"):
        trainer.train(resume_from_checkpoint=config.checkpoint_of(training))
    if first:
        finish(trainer, run, tokens * (trainer.state.epoch or 0), meter)


def window_of(options: RecipeArguments, tokenizer: Any) -> int:
    """Sub-words of a row.

    Raises:
        UserError: for a window that the model cannot take, or that has no room for a text.
    """
    largest = sequence_classifier.window_of(options.model_name_or_path, tokenizer)
    window, least = options.window or largest, tokenizer.num_special_tokens_to_add() + 2
    if not least <= window <= largest:
        raise UserError(f"got --window {options.window}; wanted {least} to {largest}, as the model has it")
    return window


def finish(trainer: masked_lm.MaskedWordTrainer, run: Run, tokens: float, meter: CostMeter) -> None:
    """Saves the model, which appears whole or not at all, and prints what it cost and gained."""
    run.write_json("trainer_log.json", trainer.state.log_history)
    unfinished = run.model.with_name("unfinished-model")
    trainer.save_model(str(unfinished))
    unfinished.rename(run.model)
    cost = meter.to_json()
    seconds = cost["seconds"]["training"]
    losses = [f"{entry['loss']:.2f}" for entry in trainer.state.log_history if "loss" in entry]
    tell(losses, f"loss of masked words, in nats: {', '.join(losses)}")
    print(f"{seconds:.0f} s, {tokens / seconds:.0f} sub-words/s, peak memory {cost['peak_memory'] / 2**30:.2f} GiB\n")
    print(f"{'model':<12} {run.model}")


if __name__ == "__main__":
    main()
