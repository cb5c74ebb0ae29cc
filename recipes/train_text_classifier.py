"""Trains a small classifier of texts: majority, linear ones on n-grams, and networks on words.

    python recipes/train_text_classifier.py --network linear_svm --train_file reviews.txt
    python recipes/train_text_classifier.py --config recipes/configs/text_lstm.yaml \\
        --train_file train.csv --dev_file dev.csv --test_file test.csv --run_dir runs/lstm
    python recipes/train_text_classifier.py --network linear_svm --search c=0.1:10 word_ngrams=1,2

Everything lands in the run folder: config.yaml, provenance.json, model/, predictions/, report.json,
report.html; of a search also search.json.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pipelines.runs import options as config
from pipelines.runs.arguments import ClassArguments, SearchArguments, WordTrainingArguments, option
from pipelines.runs.usage import answer_help

if __name__ == "__main__":
    answer_help(__file__)  # before the imports below, which take seconds

import numpy as np
from transformers import PrinterCallback, TrainingArguments, set_seed

from pipelines import job
from pipelines.corpora.class_splits import ClassSplits
from pipelines.errors import UserError, one_line_errors
from pipelines.evaluation import thresholds
from pipelines.examples import Example, JsonObject
from pipelines.families import lexical, sequence_classifier
from pipelines.families.class_answers import ClassifierSettings
from pipelines.families.lexical import bag_of_words
from pipelines.families.sequence_classifier import Loaded, word_rows
from pipelines.families.sequence_classifier.classifier_training import (
    ClassifierTrainer,
    training_rows,
    tunes_thresholds,
    with_thresholds,
)
from pipelines.families.token_tagger.word_tagging import Words
from pipelines.families.training import dev_scores, early_stopping, majority
from pipelines.families.training.optimizers import check_optimizer
from pipelines.formatting import some
from pipelines.networks import text_classifier
from pipelines.networks.initialization import INITIALIZATIONS, initialize
from pipelines.networks.recurrent import CELLS
from pipelines.runs.defaults import refuse_beside, refuse_unread
from pipelines.runs.log import log_to_terminal
from pipelines.runs.run import config_of
from pipelines.runs.search import SAMPLERS, search_options

ROOT = Path(__file__).resolve().parent.parent
logger = logging.getLogger(f"pipelines.recipes.{Path(__file__).stem}")
NETWORKS = (*lexical.CLASSIFIERS, *text_classifier.NETWORKS)
WORD_OPTIONS = ("min_freq", "lowercase", "embeddings", "embedding_dim", "tokenizer")
_NGRAMS = {"word_ngrams", "char_ngrams", "min_freq", "lowercase", "tune_thresholds"}
_LAYERS = {"train_embeddings", "word_dropout", "dense_size", "pooling", "dropout"}
_CELLS = {"hidden_size", "num_layers", "bidirectional", "recurrent_dropout"}
LAYER_OPTIONS = {*_LAYERS, *_CELLS, "filter_widths"}  # of `TextClassifierConfig`
_TRAINING = {"init", "max_length", "tune_thresholds", "batch_tokens", "early_stopping_patience"}
_WORDS = {*WORD_OPTIONS, *_LAYERS, *_TRAINING}
# The options that a network reads, beside those of every recipe, of its trainer and of a search.
READS: dict[str, set[str]] = {
    "majority": set(),
    "naive_bayes": {*_NGRAMS, "alpha"},
    "logistic_regression": {*_NGRAMS, "c"},
    "linear_svm": {*_NGRAMS, "c"},
    "bag_of_embeddings": _WORDS,
    "cnn": {*_WORDS, "hidden_size", "filter_widths"},
    **{cell: {*_WORDS, *_CELLS} for cell in CELLS},
}


@dataclass
class RecipeArguments(SearchArguments, ClassArguments):
    network: str = option(
        "lstm",
        "majority, naive_bayes, logistic_regression, linear_svm, bag_of_embeddings, cnn, rnn, gru "
        "or lstm",
        group="model",
    )
    hidden_size: int = option(128, "units in each direction, or filters of each width")
    num_layers: int = option(1, "recurrent layers")
    bidirectional: bool = option(False, "read texts from both ends")
    dense_size: int = option(0, "units of a dense layer between word vectors and network; 0: none")
    filter_widths: list[int] = option([3, 4, 5], "words that the filters of cnn span")
    pooling: str | None = option(
        None,
        "last, mean, max or attention: how the states of the words become one vector (default: "
        "last, max for cnn, mean for bag_of_embeddings)",
    )
    init: str = option(
        "default",
        "xavier_uniform, xavier_normal, kaiming_uniform, kaiming_normal, orthogonal or normal: how "
        "weight matrices begin",
    )
    dropout: float = option(0.3, "dropout on word vectors, between layers, on the text")
    recurrent_dropout: float = option(0.0, "dropout of the state that a step reads")
    word_dropout: float = option(0.0, "share of training words that are read as unknown")
    embeddings: str = option(
        "random",
        "random, a file of vectors (text as of GloVe, or JSON, also as .gz), local:glove, or "
        "distil: and an encoder, such as distil:local:minilm",
        group="words",
    )
    embedding_dim: int | None = option(
        None, "size of a word vector (default: 300 random, 256 distilled, the file's own)"
    )
    train_embeddings: bool = option(True, "train the word vectors too")
    max_length: str = option(
        "50", "words of a text at most; auto: as many as 95 % of the training texts have, up to 512"
    )
    min_freq: int = option(
        1, "words that are rarer in training are unknown; n-grams of fewer texts are left out"
    )
    lowercase: bool = option(True, "lower-case texts")
    tokenizer: str | None = option(
        None, "folder of `pipelines vocabulary --save_tokenizer`, or a run: its vocabulary"
    )
    batch_tokens: int | None = option(
        2048,
        "batches of texts of one length with at most N words; 0: batches of "
        "per_device_train_batch_size texts",
        group="training",
    )
    early_stopping_patience: int | None = option(
        3, "stop after N evaluations without a better score"
    )
    word_ngrams: int = option(2, "longest n-gram of words; 0: none", group="linear classifiers")
    char_ngrams: int = option(0, "longest n-gram of characters within a word; 0: none")
    c: float = option(
        1.0, "C of logistic_regression and linear_svm; smaller values regularise more"
    )
    alpha: float = option(0.1, "what naive_bayes adds to each count")
    tune_thresholds: bool | None = option(
        None,
        "tune each class's threshold on dev for macro F1 (default: if a class is rarer than half "
        "its even share)",
        group="prediction",
    )


@dataclass
class TextTrainingArguments(WordTrainingArguments, TrainingArguments):
    """transformers', with defaults for small networks."""

    metrics: ClassVar[tuple[str, ...]] = (*thresholds.OBJECTIVES, "loss")

    num_train_epochs: float = option(20, "passes over the training texts", group="training")
    metric_for_best_model: str | None = option(
        "macro_f1", "score that decides which is best: macro_f1, accuracy, loss and others"
    )


def main() -> None:
    with one_line_errors():
        log_to_terminal()
        options, training = config.parse((RecipeArguments, TextTrainingArguments))
        run(options, training)


def run(options: RecipeArguments, training: TextTrainingArguments) -> JsonObject:
    """The whole job; returns the report of the last labelled split."""
    check_options(options, training)
    data = job.read(options, answer="label", project=ROOT, seed=training.seed)
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
        family: Any = lexical if options.network in lexical.CLASSIFIERS else sequence_classifier
        loaded = family.load(work.run.model)
        facts = {"features": lexical.strongest(loaded)} if family is lexical else {}
        return work.finish(lambda part: family.predict(loaded, part), facts=facts)


def check_options(options: RecipeArguments, training: TextTrainingArguments) -> None:
    """Refuses unknown names, and options that the network does not read.

    Raises:
        UserError: naming them.
    """
    for name, known in (
        ("network", NETWORKS),
        ("search_sampler", SAMPLERS),
        ("init", INITIALIZATIONS),
    ):
        if getattr(options, name) not in known:
            wanted = ", ".join(known)
            raise UserError(f"got --{name} {getattr(options, name)}; wanted one of {wanted}")
    refuse_unread(
        options,
        training,
        network=options.network,
        reads=READS[options.network],
        shared=ClassArguments,
        has_trainer=options.network not in lexical.CLASSIFIERS,
    )
    refuse_beside("tokenizer", options, {"min_freq", "lowercase"})
    check_optimizer(training)


def fit(work: job.Job, options: RecipeArguments, training: TextTrainingArguments) -> None:
    """Fits or trains a classifier and saves it into the run."""
    classes = work.data.classes
    assert classes is not None
    if options.network in lexical.CLASSIFIERS:
        with work.meter.stage("training"), work.model_folder() as folder:
            model = bag_of_words.calibrated(
                fit_linear(classes, options),
                classes.usable("dev"),
                targets_of(classes, "dev"),
                tune_thresholds=tunes_thresholds(options.tune_thresholds, classes),
            )
            lexical.save(folder, lexical.Lexical(options.network, model))
        size = model.coefficients.size + model.intercepts.size
        work.record(seconds=work.meter.seconds["training"], parameters=size)
        return
    with work.meter.stage("vocabulary"):
        words = words_of(options, classes)
    with work.meter.stage("training"):
        trainer = train(classes, words, options, training, work=work)
    work.record_training(trainer)
    network = trainer.accelerator.unwrap_model(trainer.model).eval()
    loaded = Loaded(network, words.tokenizer, trainer.settings)
    if tunes_thresholds(options.tune_thresholds, classes):
        loaded = with_thresholds(loaded, classes.usable("dev"))
    with work.model_folder() as folder:
        sequence_classifier.save(
            folder, model=network, tokenizer=words.tokenizer, settings=loaded.settings
        )


def targets_of(classes: ClassSplits, split: str) -> np.ndarray:
    """Class indices (N,) of a split's usable texts; zeros and ones (N, C) for several classes."""
    settings = ClassifierSettings(classes.labels, classes.multi_label)
    return np.array(sequence_classifier.targets(classes.usable(split), settings), dtype=int)


def fit_linear(classes: ClassSplits, options: RecipeArguments) -> bag_of_words.BagOfWords:
    """Fits a classifier without a network."""
    ngrams = bag_of_words.NgramOptions(
        word_ngrams=options.word_ngrams,
        char_ngrams=options.char_ngrams,
        min_freq=options.min_freq,
        lowercase=options.lowercase,
    )
    return bag_of_words.fit(
        classes.usable("train"),
        targets_of(classes, "train"),
        classes.labels,
        method=options.network,
        multi_label=classes.multi_label,
        options=ngrams,
        c=options.c,
        alpha=options.alpha,
    )


def words_of(options: RecipeArguments, classes: ClassSplits) -> Words:
    """The vocabulary of the training texts, with its word vectors."""
    train = classes.usable("train")
    others: list[Example] = []
    for split in ("dev", "test"):
        others += classes.splits.get(split, [])
    values = {name: getattr(options, name) for name in WORD_OPTIONS}
    return word_rows.fit_text_words(train, others, **values)


def train(
    classes: ClassSplits,
    words: Words,
    options: RecipeArguments,
    training: TextTrainingArguments,
    *,
    work: job.Job | None = None,
) -> ClassifierTrainer:
    """Trains a network; the trainer that comes back holds the best one.

    Args:
        work: the job whose checkpoints it keeps; a trial of a search keeps none, and logs nothing.
    """
    set_seed(training.seed)
    examples, dev = classes.usable("train"), classes.usable("dev")
    max_length = word_rows.length_of(options.max_length, examples, words.tokenizer)
    settings = ClassifierSettings(classes.labels, classes.multi_label, max_length)
    names = READS[options.network] & LAYER_OPTIONS
    values = {name: getattr(options, name) for name in names}
    model = word_rows.new_network(words, settings, network=options.network, **values)
    initialize(model, options.init)
    rows, cut = training_rows(examples, words.tokenizer, settings)
    if work:
        logger.info("%d training texts, %d words at most", len(rows), max_length)
        if cut:
            logger.info("train: %d texts lose their end: id %s", len(cut), some(cut))
    watches = majority.watch_classes(classes.labels, targets_of(classes, "dev"))
    callbacks = early_stopping.choose_on_dev(training, dev, options.early_stopping_patience)
    trainer = ClassifierTrainer(
        model=model,
        args=training,
        train_dataset=rows,
        train=examples,
        dev=dev,
        processing_class=words.tokenizer,
        settings=settings,
        batch_tokens=options.batch_tokens,
        callbacks=[*callbacks, *watches, *(work.callbacks() if work else ())],
    )
    if work is None:
        trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=work.checkpoint(training) if work else None)
    return trainer


def search(
    options: RecipeArguments, training: TextTrainingArguments, work: job.Job
) -> tuple[RecipeArguments, TextTrainingArguments]:
    """Trains with other options again and again; returns the best ones on dev.

    Raises:
        UserError: for an unknown option, or a metric that a linear classifier does not have.
    """
    classes = work.data.classes
    assert classes is not None
    metric = str(training.metric_for_best_model).removeprefix("eval_")
    if metric == "loss" and options.network in lexical.CLASSIFIERS:
        wanted = ", ".join(thresholds.OBJECTIVES)
        raise UserError(f"got --metric_for_best_model loss; wanted one of {wanted}")
    vocabularies: dict[str, Words] = {}

    def score(trial: RecipeArguments, arguments: TextTrainingArguments) -> float:
        if trial.network in lexical.CLASSIFIERS:
            logits = fit_linear(classes, trial).logits(classes.usable("dev"))
            return thresholds.decision_scores(logits, targets_of(classes, "dev"))[metric]
        key = repr([getattr(trial, name) for name in WORD_OPTIONS])
        if key not in vocabularies:
            vocabularies[key] = words_of(trial, classes)
        log = train(classes, vocabularies[key], trial, arguments).state.log_history
        return dev_scores.best_score(log, metric)

    return search_options(score, options, training, work.run, metric=metric, check=check_options)


if __name__ == "__main__":
    main()
