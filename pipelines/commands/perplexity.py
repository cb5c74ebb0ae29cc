"""Compares language models of any tokenizer by their perplexity per word."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.commands.columns import add_columns, columns_of
from pipelines.errors import DataError, UserError

if TYPE_CHECKING:
    from pipelines.examples import Example, Prediction

    Score = Callable[[Sequence[Example]], list[Prediction]]

HELP = "compare language models of any tokenizer by their perplexity per word"
NOTE = (
    "Per word: of the strings between blanks, without end marks; the unknown words of a model of "
    "words are spelt letter by letter. Per token: of the model's own tokens, an unknown word being "
    "one; not comparable between tokenizers."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="a run of train_language_model or sft_tinyllama (its adapter is merged), a folder "
        "with a causal language model, a Hub id, or local:smollm2",
    )
    parser.add_argument(
        "--input",
        required=True,
        metavar="FILE",
        help="texts, in any layout of data/README.md; labels are not read",
    )
    parser.add_argument(
        "--predictions",
        metavar="FOLDER",
        help="write the nats of each text there, a file for each model, for `pipelines evaluate`",
    )
    parser.add_argument(
        "--batch_tokens", type=int, help="tokens, padding counted, of a batch (default: 2048)"
    )
    add_columns(parser)


def run(options: argparse.Namespace) -> int:
    from pipelines.corpora import read_examples
    from pipelines.corpora.writing import write_predictions
    from pipelines.families.language_model.scoring import word_perplexity
    from pipelines.formatting import count, interval, score, text_table

    if options.batch_tokens is not None and options.batch_tokens < 1:
        raise UserError(f"got --batch_tokens {options.batch_tokens}; wanted at least 1")
    columns = columns_of(options)
    examples = read_examples(options.input, columns=columns, answer="text", labelled=False)
    if not any(example.text.split() for example in examples):
        raise DataError(f"{options.input}: no text has a word in it; give texts")
    names = _names(options.models)
    loaders = [loader_of(model) for model in options.models]  # names are checked before any loads
    rows = []
    for name, loader in zip(names, loaders, strict=True):
        scored = loader(options.batch_tokens)
        start = time.perf_counter()
        predictions = scored(examples)
        seconds = time.perf_counter() - start
        if options.predictions:
            write_predictions(Path(options.predictions) / f"{name}.jsonl", predictions)
        found = word_perplexity(examples, predictions)
        rows.append(
            [
                name,
                count(found.tokens),
                f"{found.tokens / found.words:.2f}",
                count(found.unknown),
                score(found.per_token, 1),
                score(found.per_word, 1),
                interval(found.interval, 1),
                f"{seconds:.0f}",
            ]
        )
    head = ["model", "tokens", "a word", "unknown", "per token", "per word", "95 % interval", "s"]
    words = sum(len(example.text.split()) for example in examples)
    print(f"Perplexity on {options.input}: {len(examples)} texts, {words:,} words\n")
    print("\n".join(text_table(head, rows)))
    print(f"\n{NOTE}")
    return 0


def _names(models: Sequence[str]) -> list[str]:
    """A short name for each model, which is a file name too.

    Raises:
        UserError: for a model that is named twice.
    """
    twice = sorted({model for model in models if models.count(model) > 1})
    if twice:
        raise UserError(f"got {', '.join(twice)} twice; name each model once")
    short = [Path(model).name.replace(":", "-") for model in models]
    return [
        name if short.count(name) == 1 else model.strip("/").replace("/", "-").replace(":", "-")
        for name, model in zip(short, models, strict=True)
    ]


def loader_of(model: str) -> Callable[[int | None], Score]:
    """How a model is loaded: called with `--batch_tokens`, it returns what scores texts.

    Raises:
        UserError: for a run that is no language model, or an unknown `local:` name or folder.
    """
    from pipelines import families
    from pipelines.families import causal_lm, language_model
    from pipelines.networks import weights
    from pipelines.runs.run import SIGNS, Run

    folder, family = Path(model), families.family_of(model)
    if family is None and any((folder / sign).exists() for sign in SIGNS):
        family, folder = Run.open(model).model_folder()
    if family is language_model:
        return lambda batch_tokens: _of_words(folder, batch_tokens)
    if family is causal_lm:
        return lambda batch_tokens: _of_sub_words(folder, batch_tokens, is_run=True)
    if family is not None:
        kind = family.__name__.rsplit(".", 1)[-1]
        raise UserError(
            f"{model}: a {kind}, which gives texts no likelihood; wanted a run of "
            "train_language_model or sft_tinyllama, or a causal language model"
        )
    weights.resolve(model)
    return lambda batch_tokens: _of_sub_words(model, batch_tokens, is_run=False)


def _of_words(folder: Path, batch_tokens: int | None) -> Score:
    from pipelines.families import language_model

    loaded = language_model.load(folder)
    size = batch_tokens or language_model.BATCH_TOKENS
    return lambda examples: language_model.predict(loaded, examples, batch_tokens=size)


def _of_sub_words(name: str | Path, batch_tokens: int | None, *, is_run: bool) -> Score:
    from pipelines.families import causal_lm
    from pipelines.families.language_model import scoring
    from pipelines.networks import precision

    if is_run:
        model, tokenizer, *_ = causal_lm.load(name)
    else:
        tokenizer = causal_lm.load_tokenizer(str(name))
        model = causal_lm.load_network(str(name))
        model.to(precision.choose().device).eval()  # type: ignore[arg-type]
    size = batch_tokens or scoring.BATCH_TOKENS
    return lambda examples: scoring.causal_nats(model, tokenizer, examples, batch_tokens=size)
