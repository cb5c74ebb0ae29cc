"""Trains a language model on words: an RNN, GRU or LSTM, or a Kneser-Ney trigram by counting.

    python recipes/train_language_model.py
    python recipes/train_language_model.py --config recipes/configs/lm_lstm.yaml \\
        --train_file train.json --dev_file dev.json --test_file test.json --run_dir runs/lm
    python recipes/train_language_model.py --network kneser_ney --train_file train.json …
    python recipes/train_language_model.py --run_dir runs/lm --resume_from_checkpoint true … \\
        --sample "The patient" --temperature 0.8 --top_p 0.9

Only texts are read, of all files that are given. Everything lands in the run folder: config.yaml,
provenance.json, model/, predictions/ (the nats of each text), report.json, report.html.
"""

from __future__ import annotations

import contextlib
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pipelines.runs import options as config
from pipelines.runs.arguments import DataArguments, SearchArguments, WordTrainingArguments, option
from pipelines.runs.usage import answer_help

if __name__ == "__main__":
    answer_help(__file__)  # before the imports below, which take seconds

from transformers import PrinterCallback, TrainingArguments, set_seed

from pipelines import job
from pipelines.errors import DataError, UserError, one_line_errors
from pipelines.evaluation import kneser_ney
from pipelines.evaluation.word_trigrams import Words
from pipelines.examples import Example, JsonObject
from pipelines.families import language_model
from pipelines.families.language_model import LanguageSettings, Loaded, language_training
from pipelines.families.language_model.word_tokens import (
    SPLITS,
    Vocabulary,
    encode_words,
    fit_vocabulary,
)
from pipelines.families.training import dev_scores, early_stopping
from pipelines.formatting import count, text_table
from pipelines.networks import recurrent_lm
from pipelines.runs.defaults import changed_options, refuse_unread
from pipelines.runs.log import log_to_terminal
from pipelines.runs.run import config_of
from pipelines.runs.search import search_options

ROOT = Path(__file__).resolve().parent.parent
logger = logging.getLogger(f"pipelines.recipes.{Path(__file__).stem}")
WORD_OPTIONS = ("vocab_size", "min_freq", "lowercase", "split")
LAYER_OPTIONS = (
    "embedding_dim",
    "hidden_size",
    "num_layers",
    "dropout",
    "recurrent_dropout",
    "word_dropout",
)
_NETWORK = {*WORD_OPTIONS, *LAYER_OPTIONS, "tie_embeddings", "bptt", "ema_decay"}
_NETWORK |= {"early_stopping_patience", "sample", "temperature", "top_p", "sample_tokens"}
# The options that a network reads, beside those of every recipe, of its trainer and of a search.
READS: dict[str, set[str]] = {
    language_model.TRIGRAM: {*WORD_OPTIONS},
    **dict.fromkeys(recurrent_lm.CELLS, _NETWORK),
}
SUBMISSION = ("sample_submission", "submission_format", "answer_column", "positive_class")


@dataclass
class RecipeArguments(SearchArguments, DataArguments):
    network: str = option("lstm", "kneser_ney, sigmoid, tanh, gru or lstm", group="model")
    embedding_dim: int = option(256, "d, size of a word vector")
    hidden_size: int = option(256, "D, units of a layer")
    num_layers: int = option(1, "recurrent layers")
    tie_embeddings: bool = option(True, "predict by the word vectors themselves")
    dropout: float = option(
        0.5, "dropout of word vectors, between layers and before the output, one mask a sequence"
    )
    recurrent_dropout: float = option(0.0, "dropout of the state that a step reads")
    word_dropout: float = option(0.0, "share of training words that are read as unknown")
    vocab_size: int = option(10_000, "words that are known, the most frequent ones", group="words")
    min_freq: int = option(2, "words that are rarer than this in training are unknown")
    lowercase: bool = option(False, "lower-case texts")
    split: str = option(
        "units", "units: words, numbers and punctuation marks; blanks: what is between blanks"
    )
    bptt: int = option(35, "tokens that a gradient flows back", group="training")
    ema_decay: float = option(
        0.0,
        "score and save an exponential moving average of the weights with this decay, such as "
        "0.99; 0: the weights themselves",
    )
    early_stopping_patience: int | None = option(
        3, "stop after N evaluations without a better score"
    )
    sample: str | None = option(
        None, "begin a text with these words and let the model go on", group="writing"
    )
    temperature: float = option(1.0, "divides the logits; 0: the likeliest word each time")
    top_p: float = option(1.0, "draw among the likeliest words of this probability together")
    sample_tokens: int = option(60, "words that are written at most")


@dataclass
class LanguageTrainingArguments(WordTrainingArguments, TrainingArguments):
    """transformers', with defaults for small networks."""

    trainer: ClassVar[str] = "stream"
    metrics: ClassVar[tuple[str, ...]] = ("loss",)

    learning_rate: float = option(1e-2, "largest learning rate", group="training")
    num_train_epochs: float = option(12, "passes over the training texts")
    per_device_train_batch_size: int = option(8, "texts that are read side by side")
    max_grad_norm: float = option(1.0, "largest norm of the gradient")
    metric_for_best_model: str | None = option("loss", "mean nats per token of dev")


def main() -> None:
    with one_line_errors():
        log_to_terminal()
        options, training = config.parse((RecipeArguments, LanguageTrainingArguments))
        run(options, training)


def run(options: RecipeArguments, training: LanguageTrainingArguments) -> JsonObject:
    """The whole job; returns the report of the last split."""
    check_options(options, training)
    data = job.read(options, answer="text", project=ROOT)
    for split, examples in data.splits.items():
        if split != "test" and not any(example.text.split() for example in examples):
            raise DataError(f"{data.files[split]}: no text has a word in it; give texts")
    resumes = training.resume_from_checkpoint is not None
    with job.start(
        options.network, data, options, training, model=options.network, resume=resumes
    ) as work:
        if options.search:
            with work.meter.stage("search"):
                options, training = search(options, training, work)
            work.run.write_config(config_of(options, training))
        if work.trains():
            fit(work, options, training)
        loaded = language_model.load(work.run.model)
        work.evaluation = {"vocabulary": words_of(options)}  # of the baseline too
        report = work.finish(lambda part: language_model.predict(loaded, part))
        if options.sample is not None and job.is_main():
            written = language_model.sample(
                loaded,
                options.sample,
                temperature=options.temperature,
                top_p=options.top_p,
                max_new_tokens=options.sample_tokens,
                seed=training.seed,
            )
            logger.info("%s", written)
        return report


def check_options(options: RecipeArguments, training: LanguageTrainingArguments) -> None:
    """Refuses unknown names, values out of range, and options that have no effect.

    Raises:
        UserError: naming them.
    """
    names = (("network", language_model.NETWORKS), ("split", SPLITS))
    for name, known in (*names, ("search_sampler", ("tpe", "grid"))):
        if getattr(options, name) not in known:
            wanted = ", ".join(known)
            raise UserError(f"got --{name} {getattr(options, name)}; wanted one of {wanted}")
    least_one = ("vocab_size", "min_freq", "bptt", "embedding_dim", "hidden_size", "num_layers")
    small = [f"--{name} {getattr(options, name)}" for name in least_one]
    small = [given for given in small if int(given.split()[1]) < 1]
    if small:
        raise UserError(f"got {', '.join(small)}; wanted 1 or more")
    refuse_unread(
        options,
        training,
        network=options.network,
        reads=READS[options.network],
        shared=DataArguments,
        has_trainer=options.network != language_model.TRIGRAM,
    )
    language_model.check_sampling(
        temperature=options.temperature, top_p=options.top_p, max_new_tokens=options.sample_tokens
    )
    asked = [f"--{name}" for name in SUBMISSION if getattr(options, name)]
    if asked:
        raise UserError(f"got {', '.join(asked)}; likelihoods of texts are no submission")
    drawn = changed_options(options).keys() & {"temperature", "top_p", "sample_tokens"}
    if drawn and options.sample is None:
        listed = ", ".join(f"--{name}" for name in sorted(drawn))
        raise UserError(f"{listed} has no effect without --sample TEXT")


def fit(work: job.Job, options: RecipeArguments, training: LanguageTrainingArguments) -> None:
    """Counts or trains a model and saves it into the run."""
    with work.meter.stage("vocabulary"):
        texts = [example.text for example in work.examples["train"]]
        vocabulary = fit_vocabulary(texts, words_of(options))
    logger.info(
        "%d words and four marks; %.1f %% of the training words are unknown",
        len(vocabulary.tokenizer) - 4,
        100 * vocabulary.unknown,
    )
    if not vocabulary.unknown:
        logger.warning(
            "no training word is unknown, so that the probability of [UNK] is not learnt; take "
            "--min_freq 2, or a smaller --vocab_size"
        )
    if options.network == language_model.TRIGRAM:
        with work.meter.stage("training"):
            loaded = count_trigrams(vocabulary, work.examples["train"])
        with work.model_folder() as folder:
            language_model.save(folder, loaded)
        work.record(seconds=work.meter.seconds["training"])
        return
    trainer = train(work.examples, vocabulary, options, training, work=work)
    work.record_training(trainer)
    network = trainer.accelerator.unwrap_model(trainer.model).eval()
    with work.model_folder() as folder:
        language_model.save(folder, trainer.scored._replace(model=network))


def words_of(options: RecipeArguments) -> Words:
    """What the words of a text are, and which of them are known."""
    return Words(**{name: getattr(options, name) for name in WORD_OPTIONS})


def count_trigrams(vocabulary: Vocabulary, train: list[Example]) -> Loaded:
    """A trigram over the words of a vocabulary."""
    tokenizer = vocabulary.tokenizer
    encoded = encode_words([example.text for example in train], tokenizer)
    sequences = [language_model.symbols(tokenizer, text.ids) for text in encoded]
    model = kneser_ney.fit(sequences, n_symbols=len(tokenizer) - 2)
    return loaded_of(vocabulary, model, language_model.TRIGRAM)


def loaded_of(vocabulary: Vocabulary, model: Any, network: str) -> Loaded:
    """A model with its vocabulary."""
    tokenizer, spelling, _ = vocabulary
    settings = LanguageSettings(network, "".join(spelling.symbols))
    return Loaded(model, tokenizer, spelling, settings)


def train(
    examples: dict[str, list[Example]],
    vocabulary: Vocabulary,
    options: RecipeArguments,
    training: LanguageTrainingArguments,
    *,
    work: job.Job | None = None,
) -> language_training.LanguageModelTrainer:
    """Trains a network; the trainer that comes back holds the best one.

    Args:
        work: the job whose checkpoints it keeps; a trial of a search keeps none, and logs nothing.
    """
    set_seed(training.seed)
    tokenizer = vocabulary.tokenizer
    encoded = encode_words([example.text for example in examples["train"]], tokenizer)
    rows = [text.ids for text in encoded]
    model = build(options, vocabulary)
    language_training.start_from_frequencies(model, rows)
    if work:
        logger.info("%s", "\n".join(parameter_lines(model)))
    dev = examples.get("dev", [])
    callbacks = early_stopping.choose_on_dev(training, dev, options.early_stopping_patience)
    trainer = language_training.LanguageModelTrainer(
        model=model,
        args=training,
        train_dataset=[{"input_ids": row} for row in rows],
        train=examples["train"],
        dev=dev,
        processing_class=tokenizer,
        bptt=options.bptt,
        ema_decay=options.ema_decay,
        scored=loaded_of(vocabulary, model, options.network),
        callbacks=[*callbacks, *(work.callbacks() if work else ())],
    )
    if work is None:
        trainer.remove_callback(PrinterCallback)
    with work.meter.stage("training") if work else contextlib.nullcontext():
        trainer.train(resume_from_checkpoint=work.checkpoint(training) if work else None)
    return trainer


def build(options: RecipeArguments, vocabulary: Vocabulary) -> recurrent_lm.RecurrentLanguageModel:
    """The network of the options.

    Raises:
        UserError: for options that do not fit together.
    """
    values = {name: getattr(options, name) for name in LAYER_OPTIONS}
    try:
        network = recurrent_lm.RecurrentLMConfig(
            cell=options.network,
            vocab_size=len(vocabulary.tokenizer),
            tie_word_embeddings=options.tie_embeddings,
            **values,
        )
    except ValueError as error:
        raise UserError(f"the options do not fit together: {error}") from error
    return recurrent_lm.RecurrentLanguageModel(network)


def parameter_lines(model: recurrent_lm.RecurrentLanguageModel) -> list[str]:
    """A table of the parameters by their closed form, beside the number that the model has."""
    parts = recurrent_lm.closed_form(model.config)
    rows = [[part.part, part.formula, count(part.size)] for part in parts]
    rows.append(["sum", "", count(sum(part.size for part in parts))])
    rows.append(["in the model", "", count(sum(p.numel() for p in model.parameters()))])
    return list(text_table(["parameters", "formula", "number"], rows))


def search(
    options: RecipeArguments, training: LanguageTrainingArguments, work: job.Job
) -> tuple[RecipeArguments, LanguageTrainingArguments]:
    """Trains with other options again and again; returns the best ones on dev.

    Raises:
        UserError: without dev, or for an unknown option.
    """
    if not work.examples.get("dev"):
        raise UserError("--search compares models on dev; give --dev_file")

    texts = [example.text for example in work.examples["train"]]

    def score(trial: RecipeArguments, arguments: LanguageTrainingArguments) -> float:
        check_options(trial, arguments)
        vocabulary = fit_vocabulary(texts, words_of(trial))
        if trial.network == language_model.TRIGRAM:
            loaded = count_trigrams(vocabulary, work.examples["train"])
            answers = language_model.predict(loaded, work.examples["dev"], progress=False)
            tokens = sum((answer.scores or {})["tokens"] for answer in answers)
            return -math.fsum(answer.value or 0.0 for answer in answers) / max(tokens, 1)
        log = train(work.examples, vocabulary, trial, arguments).state.log_history
        return dev_scores.best_score(log, "loss")

    return search_options(score, options, training, work.run, metric="loss")


if __name__ == "__main__":
    main()
