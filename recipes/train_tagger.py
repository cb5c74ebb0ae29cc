"""Trains a tagger on words: dictionary, HMM, MEMM, CRF, feedforward, window, RNN, GRU or LSTM.

    python recipes/train_tagger.py --network rnn
    python recipes/train_tagger.py --network crf --lexicon names.tsv
    python recipes/train_tagger.py --config recipes/configs/tagger_bilstm_crf.yaml \\
        --train_file train.json --dev_file dev.json --test_file test.json --run_dir runs/bilstm-crf
    python recipes/train_tagger.py --network rnn --window 2 \\
        --search learning_rate=1e-4:1e-2 hidden_size=128,256,512

Everything lands in the run folder: config.yaml, provenance.json, model/, predictions/, report.json,
report.html; of a search also search.json, with every trial and how much each option mattered.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
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
from pipelines.corpora.lexicon import read_lexicon
from pipelines.errors import UserError, one_line_errors
from pipelines.examples import Example, JsonObject
from pipelines.families import lexical, token_tagger
from pipelines.families.token_tagger import word_tagging
from pipelines.families.training import dev_scores, early_stopping, majority
from pipelines.networks.embeddings import CHARACTER_FEATURES
from pipelines.networks.feedforward import ACTIVATIONS, FeedforwardConfig, FeedforwardTagger
from pipelines.networks.initialization import INITIALIZATIONS, initialize
from pipelines.networks.labels import label_map
from pipelines.networks.recurrent import CELLS, INITIAL_STATES, RecurrentConfig, RecurrentTagger
from pipelines.networks.tagger import Tagger
from pipelines.runs.defaults import refuse_beside, refuse_unread
from pipelines.runs.log import log_to_terminal
from pipelines.runs.run import config_of
from pipelines.runs.search import SAMPLERS, search_options

ROOT = Path(__file__).resolve().parent.parent
logger = logging.getLogger(f"pipelines.recipes.{Path(__file__).stem}")
NETWORKS = (*lexical.TAGGERS, "ffnn", "window", *CELLS)
WORD_OPTIONS = (
    "min_freq",
    "remove_frac",
    "lowercase",
    "embeddings",
    "embedding_dim",
    "padding_side",
    "truncation_side",
    "tokenizer",
)
VECTOR_OPTIONS = ("train_embeddings", "character_feature", "character_dim")
DROPOUT_OPTIONS = ("dropout", "variational_dropout", "word_dropout")
CELL_OPTIONS = ("library_cell", "bidirectional", "initial_state")
CHAIN_OPTIONS = ("features", "regularization", "c1", "c2", "max_iterations")
_NETWORK = {*WORD_OPTIONS, *VECTOR_OPTIONS, *DROPOUT_OPTIONS, "lexicon", "hidden_size"}
_NETWORK |= {
    "init",
    "num_layers",
    "crf",
    "decode",
    "max_length",
    "batch_tokens",
    "early_stopping_patience",
}
_RECURRENT = {*_NETWORK, *CELL_OPTIONS, "window"}
# The options that a network reads, beside those of every recipe, of its trainer and of a search.
READS: dict[str, set[str]] = {
    "dictionary": {"lexicon"},
    "most_frequent_tag": set(),
    "hmm": set(),
    "memm": {"lexicon", "features", "regularization"},
    "crf": {"lexicon", "features", "c1", "c2", "max_iterations"},
    "ffnn": {*_NETWORK, "activation"},
    "window": {*_NETWORK, "activation", "window"},
    "rnn": {*_RECURRENT, "activation"},
    "gru": _RECURRENT,
    "lstm": _RECURRENT,
}


@dataclass
class RecipeArguments(SearchArguments, DataArguments):
    network: str = option(
        "rnn",
        "dictionary, most_frequent_tag, hmm, memm, crf, ffnn, window, rnn, gru or lstm",
        group="model",
    )
    hidden_size: int = option(512, "units of a hidden layer, in each direction")
    num_layers: int = option(1, "hidden layers")
    window: int | None = option(
        None,
        "words to each side that are read at each step (default: 2 for --network window, 0 "
        "for rnn, gru and lstm)",
    )
    activation: str | None = option(
        None, "relu, tanh or prelu (default: relu for ffnn and window, tanh for rnn)"
    )
    library_cell: bool = option(False, "torch's recurrent layer instead of the one written by hand")
    bidirectional: bool = option(False, "read sentences from both ends")
    initial_state: str = option("zero", "zero, random or learned")
    crf: bool = option(False, "score whole tag sequences")
    decode: str | None = option(
        None, "argmax, viterbi (legal BIO only) or crf (default: crf with --crf, else argmax)"
    )
    init: str = option(
        "default",
        "xavier_uniform, xavier_normal, kaiming_uniform, kaiming_normal, orthogonal or normal: how "
        "weight matrices begin",
    )
    dropout: float = option(0.0, "dropout between layers")
    variational_dropout: bool = option(
        False, "one dropout mask a sentence, on recurrent states too"
    )
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
    character_feature: str = option("none", "none, affixes or cnn")
    character_dim: int = option(32, "size of the vector of an affix, or of the CNN's")
    lexicon: str | None = option(
        None,
        "file of names, one a line, or name, type and id between tabs: searched for by "
        "dictionary, a feature of memm, crf and the networks",
    )
    min_freq: int = option(1, "words that are rarer than this in training are unknown")
    remove_frac: float = option(
        0.0, "share of the remaining words, the rarest, that are unknown too"
    )
    lowercase: bool = option(False, "lower-case words")
    tokenizer: str | None = option(
        None, "folder of `pipelines vocabulary --save_tokenizer`, or a run: its vocabulary"
    )
    max_length: int | None = option(None, "words of a training sentence at most")
    padding_side: str = option("right", "left or right")
    truncation_side: str = option("right", "left or right: what --max_length cuts off")
    batch_tokens: int | None = option(
        2048,
        "batches of sentences of one length with at most N words; 0: batches of "
        "per_device_train_batch_size sentences",
        group="training",
    )
    early_stopping_patience: int | None = option(
        None, "stop after N evaluations without a better score"
    )
    features: list[str] = option(
        ["words", "shapes", "affixes", "window", "bigrams", "lexicon"],
        "groups of features of memm and crf",
        group="without a network",
    )
    c1: float = option(0.05, "L1 penalty of crf")
    c2: float = option(0.05, "L2 penalty of crf")
    max_iterations: int = option(100, "iterations of L-BFGS for crf")
    regularization: float = option(
        1.0, "C of memm's logistic regressions; smaller values regularise more"
    )


@dataclass
class TaggerTrainingArguments(WordTrainingArguments, TrainingArguments):
    """transformers', with defaults for small networks."""

    metrics: ClassVar[tuple[str, ...]] = (*dev_scores.SPAN_METRICS, "loss")

    num_train_epochs: float = option(10, "passes over the training examples", group="training")
    metric_for_best_model: str | None = option("strict_f1", "score that decides which is best")


def main() -> None:
    with one_line_errors():
        log_to_terminal()
        options, training = config.parse((RecipeArguments, TaggerTrainingArguments))
        run(options, training)


def run(options: RecipeArguments, training: TaggerTrainingArguments) -> JsonObject:
    """The whole job; returns the report of the last labelled split."""
    check_options(options)
    refuse_unread(
        options,
        training,
        network=options.network,
        reads=READS[options.network],
        shared=DataArguments,
        has_trainer=options.network not in lexical.TAGGERS,
    )
    if options.crf and training.label_smoothing_factor:
        raise UserError(
            "--label_smoothing_factor is of single tags, and --crf scores whole sequences; leave "
            "one of them out"
        )
    data = job.read(options, answer="spans", project=ROOT)
    word_tagging.check_tags(
        {split: rows for split, rows in data.splits.items() if split != "train"},
        token_tagger.tags_for(data.splits["train"]),
    )
    with job.start(
        options.network,
        data,
        options,
        training,
        model=options.network,
        resume=training.resume_from_checkpoint is not None,
    ) as work:
        if options.search:
            with work.meter.stage("search"):
                options, training = search(options, training, work)
            work.run.write_config(config_of(options, training))
        family: Any = lexical if options.network in lexical.TAGGERS else token_tagger
        if work.trains():
            fit(work, options, training)
        loaded = family.load(work.run.model)
        facts = {"features": lexical.strongest(loaded)} if family is lexical else {}
        return work.finish(lambda part: family.predict(loaded, part), facts=facts)


def fit(work: job.Job, options: RecipeArguments, training: TaggerTrainingArguments) -> None:
    """Counts or trains a model and saves it into the run."""
    if options.network in lexical.TAGGERS:
        with work.meter.stage("training"), work.model_folder() as folder:
            model = fit_lexical(work.examples["train"], options)
            lexical.save(folder, model)
        work.record(seconds=work.meter.seconds["training"])
        return
    with work.meter.stage("vocabulary"):
        words = words_of(options, work.examples)
    with work.meter.stage("training"):
        trainer = train(work.examples, words, options, training, work=work)
    model = trainer.accelerator.unwrap_model(trainer.model)
    work.record_training(trainer)
    with work.model_folder() as folder:
        token_tagger.save(folder, model=model, tokenizer=words.tokenizer, settings=trainer.settings)


def fit_lexical(train: Sequence[Example], options: RecipeArguments) -> lexical.Lexical:
    """Fits a tagger without a network."""
    chain = lexical.ChainOptions(**{name: getattr(options, name) for name in CHAIN_OPTIONS})
    lexicon = read_lexicon(options.lexicon) if options.lexicon else None
    return lexical.fit(train, method=options.network, options=chain, lexicon=lexicon)


def check_options(options: RecipeArguments) -> None:
    """Refuses unknown names and options that exclude each other, before anything is read."""
    for name, known in (
        ("network", NETWORKS),
        ("initial_state", INITIAL_STATES),
        ("character_feature", CHARACTER_FEATURES),
        ("init", INITIALIZATIONS),
        ("activation", (None, *ACTIVATIONS)),
        ("decode", (None, *token_tagger.DECODERS)),
        ("search_sampler", SAMPLERS),
    ):
        if getattr(options, name) not in known:
            wanted = ", ".join(filter(None, known))
            raise UserError(f"got --{name} {getattr(options, name)}; wanted one of {wanted}")
    refuse_beside("tokenizer", options, {"min_freq", "remove_frac", "lowercase"})
    if options.window is not None and options.window < (options.network == "window"):
        least = "1 or more" if options.network == "window" else "0 or more"
        raise UserError(f"got --window {options.window}; wanted {least} words to each side")
    if options.library_cell and options.variational_dropout:
        raise UserError(
            "torch's recurrent layers have no variational dropout of states; take --library_cell "
            "false"
        )


def words_of(options: RecipeArguments, examples: dict[str, list[Example]]) -> word_tagging.Words:
    others = [example for split in ("dev", "test") for example in examples.get(split, [])]
    return word_tagging.fit_words(
        examples["train"], others, **{name: getattr(options, name) for name in WORD_OPTIONS}
    )


def build(options: RecipeArguments, words: word_tagging.Words, tags: Sequence[str]) -> Tagger:
    """The network of the options, with the vectors that come from elsewhere.

    Raises:
        UserError: for options that do not fit together.
    """
    lexicon = read_lexicon(options.lexicon) if options.lexicon else None
    names = [*VECTOR_OPTIONS, *DROPOUT_OPTIONS, "crf"]
    names += [*CELL_OPTIONS, "hidden_size", "num_layers"] if options.network in CELLS else []
    values = {name: getattr(options, name) for name in names}
    values |= {"vocab_size": len(words.tokenizer), "embedding_dim": words.dim, **label_map(tags)}
    values |= {"window": window_of(options), "lexicon_tags": lexicon.tags() if lexicon else []}
    try:
        if options.network in CELLS:
            values |= {"cell": options.network, "activation": options.activation or "tanh"}
            model: Tagger = RecurrentTagger(RecurrentConfig(**values))
        else:
            hidden_sizes = [options.hidden_size] * options.num_layers
            values |= {"hidden_sizes": hidden_sizes, "activation": options.activation or "relu"}
            model = FeedforwardTagger(FeedforwardConfig(**values))
    except ValueError as error:
        raise UserError(f"the options do not fit together: {error}") from error
    model.lexicon = lexicon
    initialize(model, options.init)
    word_tagging.put_vectors(model, words)
    return model


def window_of(options: RecipeArguments) -> int:
    """Words to each side that the network reads at each step."""
    if options.window is None:
        return 2 if options.network == "window" else 0
    return options.window


def train(
    examples: dict[str, list[Example]],
    words: word_tagging.Words,
    options: RecipeArguments,
    training: TaggerTrainingArguments,
    *,
    work: job.Job | None = None,
) -> word_tagging.WordTaggerTrainer:
    """Trains a network; the trainer that comes back holds the best one.

    Args:
        work: the job whose checkpoints it keeps; a trial of a search keeps none, and logs nothing.
    """
    set_seed(training.seed)
    model = build(options, words, token_tagger.tags_for(examples["train"]))
    rows = word_tagging.training_rows(
        examples["train"], model, words.tokenizer, max_length=options.max_length
    )
    if not rows:
        raise UserError("no training example has a word; give other training data")
    dev = examples.get("dev", [])
    stopping = early_stopping.choose_on_dev(training, dev, options.early_stopping_patience)
    decode = options.decode or ("crf" if options.crf else "argmax")
    trainer = word_tagging.WordTaggerTrainer(
        model=model,
        args=training,
        train_dataset=rows,
        train=examples["train"],
        dev=dev,
        processing_class=words.tokenizer,
        settings=token_tagger.TaggerSettings(decode=decode),
        batch_tokens=options.batch_tokens,
        callbacks=[*stopping, *majority.watch_mentions(dev), *(work.callbacks() if work else ())],
    )
    if work is None:
        trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=work.checkpoint(training) if work else None)
    return trainer


def search(
    options: RecipeArguments, training: TaggerTrainingArguments, work: job.Job
) -> tuple[RecipeArguments, TaggerTrainingArguments]:
    """Trains with other options again and again; returns the best ones on dev.

    Raises:
        UserError: without dev, for an unknown option, or a metric that a tagger without a network
            does not have.
    """
    examples = work.examples
    metric = str(training.metric_for_best_model).removeprefix("eval_")
    if not examples.get("dev"):
        raise UserError("--search compares models on dev; give --dev_file")
    if metric == "loss" and options.network in lexical.TAGGERS:
        wanted = ", ".join(dev_scores.SPAN_METRICS)
        raise UserError(f"got --metric_for_best_model loss; wanted one of {wanted}")
    vocabularies: dict[str, word_tagging.Words] = {}

    def score(trial: RecipeArguments, arguments: TaggerTrainingArguments) -> float:
        check_options(trial)
        if trial.network in lexical.TAGGERS:
            model = fit_lexical(examples["train"], trial)
            predictions = lexical.predict(model, examples["dev"])
            return dev_scores.strict_scores(examples["dev"], predictions)[metric]
        key = repr([getattr(trial, name) for name in WORD_OPTIONS])
        if key not in vocabularies:
            vocabularies[key] = words_of(trial, examples)
        log = train(examples, vocabularies[key], trial, arguments).state.log_history
        return dev_scores.best_score(log, metric)

    return search_options(
        score,
        options,
        training,
        work.run,
        metric=metric,
        check=lambda trial, _: check_options(trial),
    )


if __name__ == "__main__":
    main()
