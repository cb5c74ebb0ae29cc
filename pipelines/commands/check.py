"""Reports faults of corpora and what training would lose."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence

from pipelines.commands.columns import add_columns, columns_of
from pipelines.errors import UserError
from pipelines.examples import Example

HELP = (
    "report faults of corpora and what training would lose; exit code 0, 1 with faults, or "
    "2 if a file cannot be read"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="corpora in any format of data/README.md"
    )
    parser.add_argument(
        "--against", metavar="TRAIN", help="a further corpus to look for duplicates in"
    )
    parser.add_argument(
        "--format",
        choices=("list", "json", "tagged"),
        help="the prompt format that has to express the mentions (default: any of them)",
    )
    parser.add_argument(
        "--model_name_or_path",
        metavar="MODEL",
        help="count tokens with its tokenizer: of prompt and answer, or of texts with classes",
    )
    parser.add_argument(
        "--max_length",
        type=int,
        metavar="TOKENS",
        help="report how many examples are longer than this",
    )
    add_columns(parser)
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object instead of the table"
    )


def run(options: argparse.Namespace) -> int:
    from pipelines.checks.audit import as_text, audit
    from pipelines.corpora import read_corpora

    if options.max_length and not options.model_name_or_path:
        raise UserError("--max_length counts tokens; name the model by --model_name_or_path")
    columns = columns_of(options)
    # A named column has to be in the first file; a test file after training data may lack it.
    files = [*([options.against] if options.against else []), *options.files]
    numbered = {str(number): file for number, file in enumerate(files)}
    corpora = list(
        read_corpora(numbered, columns=columns, unlabelled=list(numbered)[1:], alike=False).values()
    )
    against = corpora.pop(0) if options.against else None
    lengths = None
    if options.model_name_or_path:
        classes = {corpus.answer for corpus in corpora} <= {"label", "value", None}
        lengths = (
            _text_counter(options.model_name_or_path)
            if classes
            else _token_counter(options.model_name_or_path, options.format or "list")
        )
    found = audit(
        corpora,
        against=against,
        format=options.format,
        lengths=lengths,
        max_length=options.max_length,
    )
    print(json.dumps(found.to_json()) if options.json else as_text(found))
    return 0 if found.ok else 1


def _text_counter(model: str) -> Callable[[Sequence[Example], Sequence[str]], list[int]]:
    """Returns a function that counts the tokens of texts (and pairs) as a classifier does."""
    from pipelines.families.sequence_classifier import load_tokenizer

    tokenizer = load_tokenizer(model)

    def lengths(examples: Sequence[Example], labels: Sequence[str]) -> list[int]:
        return [
            len(tokenizer(example.text, example.pair, split_special_tokens=True).input_ids)
            for example in examples
        ]

    return lengths


def _token_counter(
    model: str, format: str
) -> Callable[[Sequence[Example], Sequence[str]], list[int]]:
    """Returns a function that counts the tokens of prompt, text and answer in training."""
    from pipelines.families.causal_lm import answer_ids, load_tokenizer, prompt_for, prompt_ids

    tokenizer = load_tokenizer(model)

    def lengths(examples: Sequence[Example], labels: Sequence[str]) -> list[int]:
        prompt = prompt_for(tokenizer, format=format, labels=labels, style="auto", constrained=True)
        return [
            len(prompt_ids(tokenizer, example.text, prompt))
            + len(answer_ids(tokenizer, example.text, example.spans or (), prompt))
            for example in examples
        ]

    return lengths
