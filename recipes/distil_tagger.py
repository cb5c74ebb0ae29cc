"""Distils teachers into one small encoder: it learns gold mentions and their votes on other text.

    python recipes/distil_tagger.py --teachers runs/crf runs/tagger-11 runs/tagger-12 \\
        --unlabelled papers.txt.gz --train_file train.json --dev_file dev.json \\
        --test_file test.json --run_dir runs/distilled

A teacher is any finished run that finds mentions: a tagger, a CRF, a language model, votes of runs.
Everything lands in the run folder, as of finetune_token_tagger.py; beside it silver/ with the
teachers' answers, and silver/silver.jsonl, which any recipe for mentions takes as --train_file.
"""

from __future__ import annotations

import gc
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pipelines.runs import options as config
from pipelines.runs.arguments import (
    DataArguments,
    EncoderTaggerArguments,
    EpochTrainingArguments,
    option,
)
from pipelines.runs.usage import answer_help

if __name__ == "__main__":
    answer_help(__file__)  # before the imports below, which take seconds

import transformers
from accelerate import PartialState
from peft import LoraConfig
from transformers import set_seed

from pipelines import job
from pipelines.errors import DataError, UserError, one_line_errors
from pipelines.examples import JsonObject
from pipelines.families import teachers, token_tagger
from pipelines.families.tag_units import describe_unreachable
from pipelines.families.teachers import Teacher
from pipelines.families.token_tagger import (
    distillation,
    span_distillation,
    span_training,
    tagging,
)
from pipelines.families.training import cpu_training, dev_scores, early_stopping, encoders
from pipelines.formatting import some
from pipelines.reporting.silver import silver_section
from pipelines.runs.log import log_to_terminal
from pipelines.runs.run import Run, replacing_folder

ROOT = Path(__file__).resolve().parent.parent
DECODERS = ("argmax", "viterbi", token_tagger.SPANS)
logger = logging.getLogger(f"pipelines.recipes.{Path(__file__).stem}")


@dataclass
class RecipeArguments(EncoderTaggerArguments, DataArguments):
    teachers: list[str] | None = option(
        None, "finished runs that find mentions, of any recipe", group="silver data"
    )
    unlabelled: list[str] | None = option(
        None, "files of texts that the teachers answer, in any layout of data/README.md"
    )
    max_unlabelled: int | None = option(
        None, "answer N of these texts, drawn by --seed (default: all)"
    )
    min_confidence: float = option(
        0.0,
        "leave out a text on whose mentions the teachers' mean score is less sure: between 0.5 and "
        "1, as near as it is to one half",
    )
    min_agreement: float = option(
        0.0, "leave out a text on which the F1 of the teachers against their vote is lower"
    )
    silver_weight: float = option(1.0, "weight of a silver tag in the loss; a gold one has 1")
    student: str | None = option(
        None, "the encoder that learns: another name of --model_name_or_path", group="model"
    )
    decode: str = option(
        "viterbi",
        "argmax; viterbi: the likeliest legal BIO tags; spans: whole spans are scored, and may be "
        "nested where those of train are",
    )


@dataclass
class TrainingArguments(EpochTrainingArguments, transformers.TrainingArguments):
    """Transformers', with defaults for tagging."""

    metrics: ClassVar[tuple[str, ...]] = (*dev_scores.SPAN_METRICS, "loss")

    learning_rate: float = option(
        1e-4, "largest learning rate of the encoder's top layer", group="training"
    )
    num_train_epochs: float = option(3.0, "passes over gold and silver texts")
    logging_steps: float = option(20, "steps between lines of the log")
    metric_for_best_model: str | None = option("strict_f1", "score that decides which is best")


def main() -> None:
    with one_line_errors():
        log_to_terminal()
        options, training = config.parse(
            (RecipeArguments, TrainingArguments),
            default_config=ROOT / "recipes" / "configs" / "distil_minilm.yaml",
        )
        run(options, training)


def run(options: RecipeArguments, training: TrainingArguments) -> JsonObject:
    """The whole job; returns the report of the last labelled split."""
    check(options, training)
    options.model_name_or_path = options.student = options.student or options.model_name_or_path
    answering = teachers_of(options.teachers or ())
    data = job.read(options, answer="spans", project=ROOT)
    tags = token_tagger.tags_for(data.splits["train"])
    if tags == ["O"]:
        raise DataError(
            f"{data.files['train']} has no mention, so there is nothing to learn; give a file with "
            "mentions"
        )
    with job.start(
        "distilled",
        data,
        options,
        training,
        model=options.model_name_or_path,
        resume=training.resume_from_checkpoint is not None,
    ) as work:
        silver = work.run.folder / "silver"
        if work.trains():
            with work.meter.stage("teaching"):
                teach(work, options, training, answering, silver)
            with work.meter.stage("training"):
                train(work, options, training, silver)
        PartialState().wait_for_everyone()
        gc.collect()
        if not job.is_main():
            return {}
        loaded = token_tagger.load(work.run.model)
        facts = teachers.read_summary(silver)
        return work.finish(
            lambda part: token_tagger.predict(loaded, part, progress=sys.stderr.isatty()),
            facts={"silver": facts},
            more=lambda *_: [silver_section(facts)],
        )


def check(options: RecipeArguments, training: TrainingArguments) -> None:
    """Refuses options that no run could follow, before anything is read."""
    for name, value, wanted in (
        ("decode", options.decode, DECODERS),
        ("tune", options.tune, encoders.TUNING_MODES),
    ):
        if value not in wanted:
            raise UserError(f"got --{name} {value}; wanted one of {', '.join(wanted)}")
    if not options.teachers or not options.unlabelled:
        raise UserError(
            "wanted --teachers RUN… and --unlabelled FILE…: finished runs, and texts that they "
            "answer"
        )
    for name in ("min_confidence", "min_agreement"):
        value = getattr(options, name)
        if not 0 <= value <= 1:
            raise UserError(f"got --{name} {value:g}; wanted a number between 0 and 1")
    options.check_span_width()
    default, given = RecipeArguments().model_name_or_path, options.model_name_or_path
    if options.student and given not in (default, options.student):
        raise UserError(
            f"got --student {options.student} and --model_name_or_path {given}, which are one "
            "option; give one of them"
        )
    if options.silver_weight <= 0:
        raise UserError(f"got --silver_weight {options.silver_weight:g}; wanted a number above 0")
    if options.max_unlabelled is not None and options.max_unlabelled < 1:
        raise UserError(f"got --max_unlabelled {options.max_unlabelled}; wanted 1 or more")
    if options.focal_gamma or options.class_weight_power or training.label_smoothing_factor:
        raise UserError(
            "--focal_gamma, --class_weight_power and --label_smoothing_factor change the loss of "
            "single tags, and this one is against the teachers' votes; leave them at 0"
        )
    options.check_lexicon()
    cpu_training.use_half_copies(options.half_copies, training)


def teachers_of(folders: Sequence[str]) -> list[Teacher]:
    """The models of runs.

    Raises:
        UserError: for a run that is named twice, does not find mentions, or is not finished.
    """
    paths = [Path(folder).resolve() for folder in folders]
    if len(set(paths)) < len(paths):
        raise UserError(f"got --teachers {' '.join(folders)}: a run twice; name each once")
    are_unlike = len({path.name for path in paths}) == len(paths)
    found = []
    for folder, path in zip(folders, paths, strict=True):
        run = Run.open(folder)
        _, model = run.model_folder()
        answer = run.provenance().get("reading", {}).get("answer", "spans")
        if answer != "spans":
            raise UserError(f"{folder}: answers a {answer}; wanted runs that find mentions")
        found.append(Teacher(path.name if are_unlike else folder, model))
    return found


def teach(
    work: job.Job,
    options: RecipeArguments,
    training: TrainingArguments,
    answering: list[Teacher],
    folder: Path,
) -> None:
    """Writes what the teachers answer to the unlabelled texts, and which of it is kept."""
    if job.is_main():
        known = {example.text for part in work.examples.values() for example in part}
        texts = teachers.unlabelled_texts(
            options.unlabelled or (), known, most=options.max_unlabelled, seed=training.seed
        )
        summary = teachers.teach(
            answering,
            texts,
            folder,
            min_confidence=options.min_confidence,
            min_agreement=options.min_agreement,
            show=sys.stderr.isatty(),
        )
        for line in teachers.described(summary):
            logger.info("%s", line)
        if not summary["kept"]:
            raise UserError(
                "no silver text is left; lower --min_confidence or --min_agreement, or give more "
                "texts by --unlabelled"
            )
    PartialState().wait_for_everyone()


def train(
    work: job.Job, options: RecipeArguments, training: TrainingArguments, folder: Path
) -> None:
    """Trains the student on gold and silver, and saves it into the run."""
    set_seed(training.seed)
    examples, dev = work.examples["train"], work.examples.get("dev", [])
    callbacks = early_stopping.choose_on_dev(training, dev, options.early_stopping_patience)
    tokenizer = token_tagger.load_tokenizer(options.model_name_or_path)
    name = options.model_name_or_path
    # The modules of tags and of spans have functions of the same names.
    kind: Any = tagging
    voted: Any = distillation
    head: JsonObject = {}
    if options.decode == token_tagger.SPANS:
        kind, voted = span_training, span_distillation
        head = span_training.head_for(examples, max_width=options.max_span_words)
        logger.info("%s", span_training.describe_head(head))
    model, new = kind.model_to_train(
        name,
        kind.labels_for(examples),
        tune=options.tune,
        last_n=options.last_n,
        lora=LoraConfig(
            r=options.lora_r, lora_alpha=options.lora_alpha, target_modules="all-linear"
        ),
        case_feature=options.case_feature,
        lexicon=options.read_lexicon({"train": examples, "dev": dev}),
        lexicon_dropout=options.lexicon_dropout,
        dropout=options.dropout,
        **head,
    )
    if new:
        logger.info("%s has no %s for these labels: they are new", name, ", ".join(new))
    settings = tagging.settings_for(
        model,
        tokenizer,
        decode=options.decode,
        window=options.window,
        stride=options.stride,
    )
    gold = kind.training_rows(examples, model, tokenizer, settings)
    if gold.lost:
        logger.info("%s", describe_unreachable(gold.lost, width=head.get("max_width")))
    silver = teachers.read_silver(folder)
    report_types(
        [span.label for text in silver for span in text.spans], token_tagger.tags_for(examples)
    )
    rows = [
        *voted.gold_rows(gold.rows, model),
        *voted.silver_rows(silver, model, tokenizer, settings, weight=options.silver_weight),
    ]
    logger.info("%d rows of %d gold and %d silver texts", len(rows), len(examples), len(silver))
    trainer = voted.StudentTrainer(
        model=model,
        args=training,
        train_dataset=rows,
        processing_class=tokenizer,
        train=examples,
        dev=dev,
        settings=settings,
        batch_tokens=options.batch_tokens,
        layer_decay=options.layer_decay,
        head_rate=options.head_rate,
        half_copies=options.half_copies,
        ema_decay=options.ema_decay,
        callbacks=[*callbacks, *work.callbacks()],
    )
    trainer.train(resume_from_checkpoint=work.checkpoint(training))
    work.record_training(trainer)
    work.record(unreachable_mentions=len(gold.lost), silver_texts=len(silver))
    trained: Any = encoders.merged(trainer.accelerator.unwrap_model(trainer.model))
    if job.is_main():
        with replacing_folder(work.run.model) as saved:
            token_tagger.save(saved, model=trained, tokenizer=tokenizer, settings=settings)


def report_types(labels: list[str], tags: list[str]) -> None:
    """Says which of the teachers' types gold lacks, and refuses teachers of other types alone."""
    unknown = Counter(label for label in labels if f"B-{label}" not in tags)
    listed = some([f"{label} ({count})" for label, count in unknown.items()])
    if labels and len(labels) == sum(unknown.values()):
        raise UserError(
            f"the teachers find {listed}, and train has none of these types; wanted runs of the "
            "same types"
        )
    if unknown:
        logger.warning("types of the teachers that train lacks, which are left out: %s", listed)


if __name__ == "__main__":
    main()
