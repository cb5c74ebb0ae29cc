"""Trains a classic tagger on words: dictionary, feedforward, window, RNN, GRU, LSTM, with or without a CRF.

    python recipes/train_tagger.py --network rnn
    python recipes/train_tagger.py --config recipes/configs/tagger_bilstm_crf.yaml \\
        --train_file train.json --dev_file dev.json --test_file test.json --run_dir runs/bilstm-crf
    python recipes/train_tagger.py --network ffnn --search learning_rate=1e-4:1e-2 hidden_size=128,256,512

Everything lands in the run folder: config.yaml, provenance.json, model/, predictions/, report.json, report.html; of a
search also search.json, with every trial and how much each option mattered.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from transformers import EarlyStoppingCallback, PrinterCallback, TrainingArguments, set_seed

from pipelines.entity_run import checked_examples, finish, predict_splits
from pipelines.errors import UserError, one_line_errors
from pipelines.examples import Example
from pipelines.families import lexical, token_tagger
from pipelines.families.token_tagger import word_tagging
from pipelines.networks import precision
from pipelines.networks.embeddings import CHARACTER_FEATURES
from pipelines.networks.feedforward import ACTIVATIONS, FeedforwardConfig, FeedforwardTagger
from pipelines.networks.recurrent import CELLS, INITIAL_STATES, RecurrentConfig, RecurrentTagger
from pipelines.networks.tagger import Tagger
from pipelines.runs import options as config
from pipelines.runs import search as option_search
from pipelines.runs.cost import CostMeter
from pipelines.runs.provenance import provenance
from pipelines.runs.run import Run

ROOT = Path(__file__).resolve().parent.parent
NETWORKS = (*lexical.METHODS, "ffnn", "window", *CELLS)
WORD_OPTIONS = ("min_freq", "remove_frac", "lowercase", "embeddings", "embedding_dim", "padding_side",
                "truncation_side")


@dataclass
class RecipeArguments(config.DataArguments):
    network: str = field(default="rnn", metadata={"help": ", ".join(NETWORKS)})
    hidden_size: int = field(default=512, metadata={"help": "units of a hidden layer (and direction)"})
    num_layers: int = field(default=1, metadata={"help": "hidden layers"})
    window: int = field(default=2, metadata={"help": "words on each side that --network window sees"})
    activation: str | None = field(default=None, metadata={"help": "relu, tanh or prelu (default: relu for ffnn and "
                                                                   "window, tanh for rnn)"})
    library_cell: bool = field(default=False, metadata={"help": "torch's recurrent layer in place of the one written "
                                                                "by hand"})
    bidirectional: bool = field(default=False, metadata={"help": "read sentences from both ends"})
    initial_state: str = field(default="zero", metadata={"help": "zero, random or learned"})
    crf: bool = field(default=False, metadata={"help": "score whole tag sequences"})
    decode: str | None = field(default=None, metadata={"help": "argmax, viterbi (legal BIO only) or crf (default: crf "
                                                               "with --crf, else argmax)"})
    dropout: float = field(default=0.0, metadata={"help": "between layers"})
    variational_dropout: bool = field(default=False, metadata={"help": "one dropout mask a sentence, on recurrent "
                                                                       "states too"})
    word_dropout: float = field(default=0.0, metadata={"help": "share of training words that are read as unknown"})
    embeddings: str = field(default="random", metadata={"help": "random, a text file of vectors (GloVe, word2vec, "
                                                                "fastText), or distil: and an encoder, such as "
                                                                "distil:local:minilm"})
    embedding_dim: int | None = field(default=None, metadata={"help": "numbers of a word vector (default: 300 random, "
                                                                      "256 distilled, the file's own)"})
    train_embeddings: bool = field(default=True, metadata={"help": "train word vectors on"})
    character_feature: str = field(default="none", metadata={"help": ", ".join(CHARACTER_FEATURES)})
    character_dim: int = field(default=32, metadata={"help": "numbers of the vector of an affix, or of the CNN's"})
    min_freq: int = field(default=1, metadata={"help": "words that training has less often are unknown"})
    remove_frac: float = field(default=0.0, metadata={"help": "share of what is then left, the rarest, that is unknown "
                                                              "too"})
    lowercase: bool = field(default=False, metadata={"help": "lower-case words"})
    max_length: int | None = field(default=None, metadata={"help": "words of a training sentence at most"})
    padding_side: str = field(default="right", metadata={"help": "left or right"})
    truncation_side: str = field(default="right", metadata={"help": "left or right: what --max_length cuts off"})
    batch_tokens: int | None = field(default=2048, metadata={"help": "batches of sentences of one length with at most "
                                                                     "so many words, in place of "
                                                                     "per_device_train_batch_size"})
    early_stopping_patience: int | None = field(default=None, metadata={"help": "stop after so many evaluations "
                                                                                "without a better strict F1"})
    search: list[str] | None = field(default=None, metadata={"help": "options to search, as name=a,b,c or name=low:high"
                                                                     " (spread over the logarithm where it spans a "
                                                                     "factor of ten)"})
    search_trials: int = field(default=20, metadata={"help": "trials of a search by TPE"})
    search_sampler: str = field(default="tpe", metadata={"help": "tpe, or grid: every combination"})


@dataclass
class TaggerTrainingArguments(config.RunTrainingArguments, TrainingArguments):
    """transformers', with defaults for small networks; the number format is left to the machine."""

    learning_rate: float = field(default=2e-3, metadata={"help": "of AdamW, at its highest"})
    num_train_epochs: float = field(default=10, metadata={"help": "passes over the training examples"})
    warmup_steps: float = field(default=0.05, metadata={"help": "steps, or their share below 1, of rising rate"})
    eval_strategy: str = field(default="epoch", metadata={"help": "when dev is predicted and scored"})
    save_strategy: str = field(default="epoch", metadata={"help": "when a checkpoint is written"})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "keep the best checkpoint"})
    metric_for_best_model: str | None = field(default="strict_f1", metadata={"help": "of the spans on dev"})
    save_total_limit: int | None = field(default=1, metadata={"help": "checkpoints kept beside the best"})
    logging_strategy: str = field(default="epoch", metadata={"help": "when the loss is logged"})
    remove_unused_columns: bool = field(default=False, metadata={"help": "rows hold what the network takes"})

    def number_format(self) -> dict[str, Any]:
        chosen = precision.choose()
        # On a GPU such small layers gain nothing from half the digits.
        return chosen.training if chosen.device == "cpu" else {"bf16": False, "fp16": False}


def main() -> None:
    with one_line_errors():
        options, training = config.parse((RecipeArguments, TaggerTrainingArguments))
        run(options, training)


def run(options: RecipeArguments, training: TaggerTrainingArguments) -> dict[str, Any]:
    """The whole job; returns the report of the last labelled split."""
    check_options(options)
    meter = CostMeter()
    files = config.given_files(options, ROOT)
    examples, reading = checked_examples(files, options, show=True)
    word_tagging.check_tags({split: rows for split, rows in examples.items() if split != "train"},
                            token_tagger.tags_for(examples["train"]))
    run = Run(options.run_dir or f"runs/{options.network}-{time.strftime('%Y%m%d-%H%M%S')}")
    training.output_dir = training.output_dir or str(run.checkpoints)
    run.start(resume=training.resume_from_checkpoint is not None)
    if options.search:
        with meter.stage("search"):
            options, training = search(options, training, examples, run)
    run.write_config(options, training)
    run.write_json("provenance.json", provenance(list(files.values()), model=options.network,
                                                          reading=reading))

    cost: dict[str, Any] = {}
    family: Any = lexical if options.network in lexical.METHODS else token_tagger
    if (run.model / family.MODEL_FILE).is_file():
        print(f"{run.model} is there already: going on with prediction")
    elif family is lexical:
        with meter.stage("training"):
            lexical.save(run.model, lexical.fit(examples["train"], method=options.network))
    else:
        with meter.stage("vocabulary"):
            words = words_of(options, examples)
        with meter.stage("training"):
            trainer = train(examples, words, options, training)
        model = trainer.accelerator.unwrap_model(trainer.model)
        token_tagger.save(run.model, model=model, tokenizer=words.tokenizer, settings=trainer.settings)
        run.write_json("trainer_log.json", trainer.state.log_history)
        cost = {"parameters": sum(weights.numel() for weights in model.parameters()),
                "trained_parameters": sum(weights.numel() for weights in model.parameters() if weights.requires_grad),
                "epochs": round(trainer.state.epoch or 0, 2)}
    loaded = family.load(run.model)
    predicted = predict_splits(lambda part: family.predict(loaded, part), examples, run, meter)
    return finish(predicted, examples, run, options, {**cost, **meter.to_json()})


def check_options(options: RecipeArguments) -> None:
    """Refuses names that are none, before anything is read."""
    for name, known in (("network", NETWORKS), ("initial_state", INITIAL_STATES),
                        ("character_feature", CHARACTER_FEATURES), ("activation", (None, *ACTIVATIONS)),
                        ("decode", (None, *token_tagger.DECODERS)), ("search_sampler", ("tpe", "grid"))):
        if getattr(options, name) not in known:
            raise UserError(f"got --{name} {getattr(options, name)}; wanted one of {', '.join(filter(None, known))}")
    if options.library_cell and options.variational_dropout:
        raise UserError("torch's recurrent layers have no variational dropout of states; take --library_cell false")


def words_of(options: RecipeArguments, examples: dict[str, list[Example]]) -> word_tagging.Words:
    others = [example for split in ("dev", "test") for example in examples.get(split, [])]
    return word_tagging.fit_words(examples["train"], others, **{name: getattr(options, name) for name in WORD_OPTIONS})


def build(options: RecipeArguments, words: word_tagging.Words, tags: Sequence[str]) -> Tagger:
    """The network of the options, with the vectors that come from elsewhere.

    Raises:
        UserError: for options that do not fit together.
    """
    shared = {name: getattr(options, name) for name in ("train_embeddings", "character_feature", "character_dim",
                                                        "dropout", "variational_dropout", "word_dropout", "crf")}
    shared |= {"vocab_size": len(words.tokenizer), "embedding_dim": words.dim, "id2label": dict(enumerate(tags)),
               "label2id": {tag: number for number, tag in enumerate(tags)}}
    try:
        if options.network in CELLS:
            model: Tagger = RecurrentTagger(RecurrentConfig(
                **shared, activation=options.activation or "tanh", cell=options.network,
                **{name: getattr(options, name) for name in ("library_cell", "hidden_size", "num_layers",
                                                             "bidirectional", "initial_state")}))
        else:
            model = FeedforwardTagger(FeedforwardConfig(
                **shared, activation=options.activation or "relu", hidden_sizes=[options.hidden_size] *
                options.num_layers, window=options.window if options.network == "window" else 0))
    except ValueError as error:
        raise UserError(f"the options do not fit together: {error}") from error
    word_tagging.put_vectors(model, words)
    return model


def train(examples: dict[str, list[Example]], words: word_tagging.Words, options: RecipeArguments,
          training: TaggerTrainingArguments, *, quiet: bool = False) -> word_tagging.WordTaggerTrainer:
    """Trains a network; the trainer that comes back holds the best one."""
    set_seed(training.seed)
    model = build(options, words, token_tagger.tags_for(examples["train"]))
    rows = word_tagging.training_rows(examples["train"], model, words.tokenizer, max_length=options.max_length)
    if not rows:
        raise UserError("no training example has a word; give other training data")
    dev = examples.get("dev", [])
    if not dev:
        training.eval_strategy, training.load_best_model_at_end = "no", False  # type: ignore[assignment]
    stopping = [EarlyStoppingCallback(options.early_stopping_patience)] if options.early_stopping_patience else []
    decode = options.decode or ("crf" if options.crf else "argmax")
    trainer = word_tagging.WordTaggerTrainer(
        model=model, args=training, train_dataset=rows, eval_dataset=rows[:1] if dev else None, dev=dev,
        processing_class=words.tokenizer, settings=token_tagger.Settings(decode=decode),
        batch_tokens=options.batch_tokens, callbacks=stopping)
    if quiet:
        trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=config.checkpoint_of(training))
    return trainer


def search(options: RecipeArguments, training: TaggerTrainingArguments, examples: dict[str, list[Example]],
           run: Run) -> tuple[RecipeArguments, TaggerTrainingArguments]:
    """Trains with other options again and again; returns the best ones on dev, by strict F1.

    Raises:
        UserError: without dev, for an option that there is not, or for a network that has none to search.
    """
    if not examples.get("dev") or options.network in lexical.METHODS:
        raise UserError("--search compares networks on dev; give --dev_file and a --network that is trained")
    space = option_search.parse_space(options.search or [], (options, training))
    mine = {field.name for field in fields(options)}
    vocabularies: dict[str, word_tagging.Words] = {}

    def chosen(values: dict[str, Any]) -> tuple[RecipeArguments, TaggerTrainingArguments]:
        arguments = copy.copy(training)
        for name in values.keys() - mine:
            setattr(arguments, name, values[name])
        return replace(options, **{name: value for name, value in values.items() if name in mine}), arguments

    def score(values: dict[str, Any]) -> float:
        trial_options, arguments = chosen(values)
        check_options(trial_options)
        arguments.save_strategy, arguments.load_best_model_at_end = "no", False  # type: ignore[assignment]
        arguments.resume_from_checkpoint, arguments.disable_tqdm = None, True
        key = repr([values.get(name) for name in WORD_OPTIONS])
        if key not in vocabularies:
            vocabularies[key] = words_of(trial_options, examples)
        log = train(examples, vocabularies[key], trial_options, arguments, quiet=True).state.log_history
        reached = max(entry["eval_strict_f1"] for entry in log if "eval_strict_f1" in entry)
        print(f"strict F1 on dev {reached:.4f}  {values}", flush=True)
        return reached

    found = option_search.search(space, score, trials=options.search_trials, sampler=options.search_sampler,
                                 seed=training.seed, storage=run.folder / "search.db")
    run.write_json("search.json", found)
    print(f"\n{option_search.search_as_text(found)}\n")
    return chosen(found["best"])


if __name__ == "__main__":
    main()
