"""Fine-tunes a causal language model, by LoRA or whole, to write a text's mentions or class.

    # TinyLlama on a GPU, SmolLM2 on a CPU
    accelerate launch recipes/sft_tinyllama.py
    python recipes/sft_tinyllama.py --config recipes/configs/sft_smollm2.yaml \\
        --train_file train.json --dev_file dev.json --test_file test.json --run_dir runs/mine
    # without training: the model as it is, after the 4 most similar training examples
    python recipes/sft_tinyllama.py --train_file reviews.txt --shots 4 --max_steps 0

Everything lands in the run folder: config.yaml, provenance.json, model/, predictions/, report.json,
submission.csv.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from pipelines.runs import options as config
from pipelines.runs.data import Data, answer_of
from pipelines.runs.generator_arguments import (
    AdapterArguments,
    GeneratorArguments,
    GeneratorTrainingArguments,
)
from pipelines.runs.usage import answer_help

if __name__ == "__main__":
    answer_help(__file__)  # before the imports below, which take seconds

import torch
from accelerate import PartialState
from datasets import Dataset
from transformers import PreTrainedTokenizerBase, PrinterCallback
from trl import ModelConfig, SFTConfig, get_quantization_config

from pipelines import job
from pipelines.errors import UserError, one_line_errors
from pipelines.evaluation import platt_scaling, thresholds
from pipelines.examples import Example, JsonObject, Prediction
from pipelines.families import causal_lm
from pipelines.families.causal_lm import adapters, sft
from pipelines.families.causal_lm.candidates import Candidates
from pipelines.families.causal_lm.shots import RETRIEVERS, shots_of
from pipelines.families.causal_lm.trained import Trained
from pipelines.families.training import dev_scores
from pipelines.families.training.early_stopping import choose_on_dev
from pipelines.prompting.formats import prompt_format
from pipelines.runs.log import log_to_terminal
from pipelines.runs.run import Run, config_of, replacing_folder
from pipelines.runs.search import search_groups
from pipelines.studies import cross_fitting

ROOT = Path(__file__).resolve().parent.parent
logger = logging.getLogger(f"pipelines.recipes.{Path(__file__).stem}")


@dataclass
class RecipeArguments(GeneratorArguments):
    """Options of data, prompts, training and prediction."""


@dataclass
class TrainingArguments(GeneratorTrainingArguments, SFTConfig):
    trainer: ClassVar[str] = "sft"
    metrics: ClassVar[tuple[str, ...]] = (
        "auto",
        *dev_scores.SPAN_METRICS,
        *thresholds.OBJECTIVES,
        "loss",
    )


@dataclass
class ModelArguments(AdapterArguments, ModelConfig):
    """TRL's, for what is trained of the model."""


def main() -> None:
    with one_line_errors():
        log_to_terminal()
        default = "sft_tinyllama" if torch.cuda.is_available() else "sft_smollm2"
        options, training, model = config.parse(
            (RecipeArguments, TrainingArguments, ModelArguments),
            default_config=ROOT / "recipes" / "configs" / f"{default}.yaml",
        )
        run(options, training, model)


def run(
    options: RecipeArguments, training: TrainingArguments, model_options: ModelArguments
) -> JsonObject:
    """The whole job; returns the report of the last labelled split."""
    if options.prompt_format:
        prompt_format(options.prompt_format)  # refuses an unknown one
    answer = answer_of(options, ROOT)
    check_options(options, training, model_options, answer)
    data = job.read(
        options,
        answer=answer,
        project=ROOT,
        seed=training.seed,
        prompt_format=options.prompt_format or "list",
    )
    if options.calibrate:
        platt_scaling.dev_folds(data.splits.get("dev", []))
    if options.candidates:
        cross_fitting.check_source(Run.open(options.candidates), data.files["train"])
    with job.start(
        "sft_tinyllama",
        data,
        options,
        training,
        model_options,
        model=str(model_options.model_name_or_path),
        resume=training.resume_from_checkpoint is not None,
    ) as work:
        trains, candidates = work.trains(), None
        if options.candidates and trains:
            folds = options.candidate_folds
            with work.meter.stage("candidates"):
                candidates = cross_fitting.named_candidates(
                    Run(options.candidates), data.splits, work.run.folder, folds=folds
                )
        if options.search:
            with work.meter.stage("search"):
                options, training, model_options = search(
                    options, training, model_options, work, candidates
                )
            work.run.write_config(config_of(options, training, model_options))
        if trains and training.max_steps == 0:
            save_untrained(work, options, model_options, trusted=training.trust_remote_code)
        elif trains:
            with work.meter.stage("training"):
                trained = train(
                    data, options, training, model_options, work=work, candidates=candidates
                )
            work.record_training(trained.trainer)
            save(work, trained, model_options, trust_remote_code=training.trust_remote_code)
            del trained
        PartialState().wait_for_everyone()
        gc.collect()
        _, folder = work.run.model_folder()  # of a quantised base, the merged model differs
        loaded = causal_lm.load(folder, trust_remote_code=training.trust_remote_code)
        if training.max_steps == 0:
            work.record(parameters=loaded.model.num_parameters(), trained_parameters=0)
        return finish(work, loaded._replace(scaling=None), options, folder)


def finish(
    work: job.Job, loaded: causal_lm.Loaded, options: RecipeArguments, folder: Path
) -> JsonObject:
    """Predicts and scores; where asked, a map of the scores is fitted on dev and saved first.

    Args:
        folder: of the model.
    """

    def predict(part: Sequence[Example]) -> list[Prediction]:
        tokens = options.generation_batch_tokens
        return causal_lm.predict_everywhere(loaded, part, batch_tokens=tokens)

    if not options.calibrate:
        return work.finish(predict, everywhere=True)
    answers = work.answers(predict, everywhere=True)
    found = platt_scaling.calibrated(work.examples, answers, margin=loaded.prompt.score_margin)
    if job.is_main():
        causal_lm.save_scaling(folder, found.scaling)
    facts = {"platt_scaling": found.report}
    return work.finish(predict, everywhere=True, known=found.answers, facts=facts)


def check_options(
    options: RecipeArguments,
    training: TrainingArguments,
    model_options: ModelArguments,
    answer: str,
) -> None:
    """Refuses options that do not fit what is learnt, and resolves the metric.

    Raises:
        UserError: with all of them.
    """
    untrained = training.max_steps == 0
    faults = [*options.faults(answer, untrained=untrained), *model_options.faults()]
    metric = str(training.metric_for_best_model).removeprefix("eval_")
    if metric == "auto":
        metric = "strict_f1" if answer == "spans" else "macro_f1"
        training.metric_for_best_model = metric
    own = dev_scores.SPAN_METRICS if answer == "spans" else thresholds.OBJECTIVES
    if metric not in (*own, "loss"):
        faults.append(f"--metric_for_best_model {metric}; wanted one of {', '.join(own)} or loss")
    if options.shots_by not in RETRIEVERS:
        faults.append(f"--shots_by {options.shots_by}; wanted one of {', '.join(RETRIEVERS)}")
    earlier = adapters.start_of(str(model_options.model_name_or_path)).adapter
    if earlier is not None and untrained:
        run = f"`pipelines predict --run {earlier.parent}`"
        faults.append(f"--max_steps 0 with an adapter, with which {run} predicts")
    if faults:
        learnt = "mentions" if answer == "spans" else "classes"
        raise UserError(f"for {learnt}, got {'; got '.join(faults)}")


def prompt_of(
    data: Data, options: RecipeArguments, tokenizer: PreTrainedTokenizerBase, **more: Any
) -> causal_lm.Prompt:
    """How texts are put to the model, with its types or classes from the training examples."""
    prompt = causal_lm.prompt_of_examples(
        tokenizer,
        data.splits["train"],
        data.classes,
        format=options.prompt_format or "list",
        style=options.prompt_style,
        constrained=options.constrained,
    )
    more |= {name: getattr(options, name) for name in ("samples", "temperature", "verify")}
    return replace(prompt, **more)


def save_untrained(
    work: job.Job, options: RecipeArguments, model_options: ModelArguments, *, trusted: bool
) -> None:
    """Writes the model folder of the base model as it is, with the shots to choose from."""
    name = str(model_options.model_name_or_path)
    tokenizer = causal_lm.load_tokenizer(name, trust_remote_code=trusted)
    prompt = prompt_of(work.data, options, tokenizer, shots=options.shots or 0)
    logger.info("no training: the model as it is, %d shots by %s", prompt.shots, options.shots_by)
    shots = shots_of(usable(work.data, "train"), prompt, options.shots_by) if prompt.shots else None
    if not job.is_main():
        return
    with replacing_folder(work.run.model) as folder:
        causal_lm.save(
            folder,
            model=None,
            tokenizer=tokenizer,
            prompt=prompt,
            base_model=name,
            quantization=get_quantization_config(model_options),
            shots=shots,
        )


def usable(data: Data, split: str) -> list[Example]:
    """The examples of a split that can be learnt from."""
    return data.classes.usable(split) if data.classes else data.splits.get(split, [])


def train(
    data: Data,
    options: RecipeArguments,
    training: TrainingArguments,
    model_options: ModelArguments,
    *,
    work: job.Job | None = None,
    candidates: Candidates | None = None,
) -> Trained:
    """Trains an adapter, or all weights.

    Args:
        work: the job whose checkpoints it keeps; a trial of a search keeps none, and logs nothing.
        candidates: what the prompts name behind the texts.
    """
    examples, dev = usable(data, "train"), usable(data, "dev")
    name, whole = str(model_options.model_name_or_path), model_options.tune == "full"
    start, trusted = adapters.start_of(name), training.trust_remote_code
    tokenizer = causal_lm.load_tokenizer(name, trust_remote_code=trusted)
    context = causal_lm.context_length(start.base, trust_remote_code=trusted)
    max_length = min(training.max_length or context, context)
    of_texts = max_length if data.answer == "label" else None
    prompt = prompt_of(
        data, options, tokenizer, max_length=of_texts, candidates=candidates is not None
    )
    rows = sft.training_rows(
        examples, tokenizer, prompt, max_length=max_length, candidates=candidates
    )
    shown = sft.assert_trainable(rows.rows, tokenizer)
    if work:
        if prompt.nested:
            logger.info("mentions of train overlap, so those of an answer may, too")
        sft.report_lengths(rows, max_length)
        logger.info("one training example, without a loss on ⟦ ⟧:\n%s\n", shown)
    dev = dev[:: max(1, len(dev) // max(1, options.eval_examples))]
    stopping = choose_on_dev(training, dev, options.early_stopping_patience)
    if training.eval_strategy != "no":
        sft.refuse_sharded_generation()
    network = adapters.load_start(
        start,
        model_options,
        trust_remote_code=trusted,
        whole=whole,
        merges=model_options.save_merged,
    )
    lora = None
    if not whole:
        lora = adapters.lora(
            model_options,
            network,
            last=model_options.lora_layers,
            initialization=model_options.init_lora_weights,
        )
    callbacks = []
    if work:
        callbacks = work.callbacks(answered(work, training, dev, options.samples))
    training.dataset_kwargs = {"skip_prepare_dataset": True}
    trainer = sft.AnswerTrainer(
        model=network,
        args=training,
        train_dataset=Dataset.from_list(rows.rows),
        processing_class=tokenizer,
        peft_config=lora,
        candidates=candidates,
        earlier_adapter=start.adapter,
        dev=dev,
        train=examples,
        prompt=prompt,
        batch_tokens=options.batch_tokens,
        answer_logits_only=options.answer_logits_only,
        generation_batch_tokens=options.generation_batch_tokens,
        compile_layers=options.compile_layers,
        callbacks=[*stopping, *callbacks],
    )
    if work is None:
        trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=work.checkpoint(training) if work else None)
    return Trained(trainer, tokenizer, prompt, start.base)


def answered(
    work: job.Job, training: TrainingArguments, dev: Sequence[Example], samples: int
) -> float:
    """Texts that the run answers for each one that it trains on: at evaluations and at the end."""
    trained = training.num_train_epochs * len(usable(work.data, "train"))
    at_end = sum(len(work.examples.get(split, ())) for split in ("dev", "test"))
    at_end *= 1 + samples
    each_time = len(dev) + sft.TRAIN_SAMPLE if training.eval_strategy != "no" else 0
    return (at_end + training.num_train_epochs * each_time) / trained


def search(
    options: RecipeArguments,
    training: TrainingArguments,
    model_options: ModelArguments,
    work: job.Job,
    candidates: Candidates | None,
) -> tuple[RecipeArguments, TrainingArguments, ModelArguments]:
    """Trains with other options again and again; returns the best ones on dev.

    Raises:
        UserError: without scores of dev, or for an unknown option.
    """
    if not usable(work.data, "dev") or training.eval_strategy == "no":
        raise UserError(
            "--search compares models on dev; give --dev_file, and --eval_strategy epoch"
        )
    metric = str(training.metric_for_best_model).removeprefix("eval_")

    def check(options: RecipeArguments, training: TrainingArguments, model: ModelArguments) -> None:
        check_options(options, training, model, work.data.answer)

    def score(*groups: Any) -> float:
        log = train(work.data, *groups, candidates=candidates).trainer.state.log_history
        gc.collect()
        return dev_scores.best_score(log, metric)

    groups = (options, training, model_options)
    found: Any = search_groups(score, groups, work.run, metric=metric, check=check)
    return found


def save(
    work: job.Job, trained: Trained, model_options: ModelArguments, *, trust_remote_code: bool
) -> None:
    """Saves what was trained, and where asked the merged model before it.

    `model/` appears last of all: a run that has it is not trained again.
    """
    if not job.is_main():
        return
    with replacing_folder(work.run.model) as folder:
        trained.save(folder)
        if model_options.save_merged:
            with replacing_folder(work.run.merged) as merged:
                trained.save_merged(merged, adapter=folder, trust_remote_code=trust_remote_code)


if __name__ == "__main__":
    main()
