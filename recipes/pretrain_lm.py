"""Continues pretraining a causal language model on texts, labelled or not, token by token.

    # SmolLM2 on a CPU, on any amount of text, for an hour at most
    python recipes/pretrain_lm.py --train_file train.json --dev_file dev.json \\
        --test_file test.json --text_files papers.txt.gz 'more/*.jsonl' --max_minutes 60 \\
        --run_dir runs/pretrained
    python recipes/sft_tinyllama.py --model_name_or_path runs/pretrained/model …

Only texts are read, of all files that are given. Everything lands in the run folder: config.yaml,
provenance.json, trainer_log.json, report.json (the loss on held-out text, before and after),
model/ (whole weights in the dtype of the base, which recipes/sft_tinyllama.py starts from).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pipelines.runs import options as config
from pipelines.runs.arguments import option
from pipelines.runs.generator_arguments import TunedPartArguments
from pipelines.runs.pretraining_arguments import PretrainingArguments, PretrainingTrainingArguments
from pipelines.runs.usage import answer_help

if __name__ == "__main__":
    answer_help(__file__)  # before the imports below, which take seconds

import transformers
from transformers import set_seed
from trl import ModelConfig

from pipelines import job
from pipelines.corpora.text_files import TextFile
from pipelines.errors import UserError, one_line_errors
from pipelines.families import causal_lm
from pipelines.families.language_model import next_token, text_rows
from pipelines.families.language_model.text_rows import CausalCut
from pipelines.families.training import cpu_training
from pipelines.reporting.pretraining import report_pretraining
from pipelines.runs import held_out
from pipelines.runs.log import log_to_terminal
from pipelines.runs.run import replacing_folder

ROOT = Path(__file__).resolve().parent.parent
PREDICTED = "next tokens"
BATCH_TOKENS = 1024  # of held-out text: all its logits are in memory


@dataclass
class RecipeArguments(PretrainingArguments):
    window: int | None = option(
        None,
        "tokens of a row; longer documents are several rows (default: 512, or as many as the model "
        "takes)",
        group="model",
    )
    compile_layers: bool = option(
        False,
        "compile the layers if there is a C++ compiler: a minute or two at the start, a "
        "quarter less time afterwards (on a CPU)",
        group="training",
    )


@dataclass
class TrainingArguments(PretrainingTrainingArguments, transformers.TrainingArguments):
    """Transformers', with defaults for pretraining."""

    trainer: ClassVar[str] = "causal_pretraining"


@dataclass
class ModelArguments(TunedPartArguments, ModelConfig):
    """TRL's, for what is trained of the model."""


def main() -> None:
    with one_line_errors():
        log_to_terminal()
        options, training, model = config.parse(
            (RecipeArguments, TrainingArguments, ModelArguments),
            default_config=ROOT / "recipes" / "configs" / "pretrain_smollm2_text.yaml",
        )
        run(options, training, model)


def run(
    options: RecipeArguments, training: TrainingArguments, model_options: ModelArguments
) -> None:
    """The whole job."""
    options.check()
    faults = model_options.faults()
    if faults:
        raise UserError(f"got {'; got '.join(faults)}")
    files = options.survey()
    cpu_training.use_half_copies(options.half_copies, training)
    data = job.read(options, answer="text", project=ROOT)
    with job.start(
        "pretrained_lm",
        data,
        options,
        training,
        model_options,
        model=str(model_options.model_name_or_path),
        resume=training.resume_from_checkpoint is not None,
    ) as work:
        if not work.trains():
            return
        with work.meter.stage("training"):
            train(work, options, training, model_options, files)
        if job.is_main():
            report_pretraining(work.run, work.cost(), work.examples, what=PREDICTED)
            text_rows.forget_rows(work.run.checkpoints)


def train(
    work: job.Job,
    options: RecipeArguments,
    training: TrainingArguments,
    model_options: ModelArguments,
    files: list[TextFile],
) -> None:
    """Trains the model and saves it into the run, its adapter added to the weights."""
    set_seed(training.seed)
    base = next_token.load_base(str(model_options.model_name_or_path))
    tokenizer = causal_lm.load_tokenizer(base.name)
    window = next_token.window_of(options.window, base.network.config)
    rows, test = text_rows.weighted_rows(
        work.examples,
        files,
        CausalCut(tokenizer, window),
        work.run.checkpoints,
        named=work.data.files.values(),
        weight=options.task_weight,
        share=options.held_out,
        seed=training.seed,
    )
    model = next_token.choose_trained(
        base,
        model_options,
        tune=model_options.tune,
        last_n=model_options.last_n,
        last=model_options.lora_layers,
        initialization=model_options.init_lora_weights,
    )
    trainer = next_token.NextTokenTrainer(
        model=model,
        args=training,
        train_dataset=rows,
        processing_class=tokenizer,
        batch_tokens=options.batch_tokens,
        compile_layers=options.compile_layers,
        max_minutes=options.max_minutes,
        spent=work.earlier_seconds or 0.0,
        half_copies=options.half_copies,
        callbacks=work.callbacks(),
    )
    comparison: Any = {"what": PREDICTED, "batch_tokens": BATCH_TOKENS}
    held_out.compare(work.run, trainer, test, "before", **comparison)
    trainer.train(resume_from_checkpoint=work.checkpoint(training))
    work.record_training(trainer)
    work.record(tokens=round(rows.n_tokens * (trainer.state.epoch or 0)))
    held_out.compare(work.run, trainer, test, "after", **comparison)
    if job.is_main():
        with replacing_folder(work.run.model) as folder:
            next_token.save(model, base, tokenizer, folder, initial=trainer.initial_adapter)


if __name__ == "__main__":
    main()
