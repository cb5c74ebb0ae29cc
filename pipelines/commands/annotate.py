"""Chooses the texts that help most when they are annotated, and writes them pre-annotated.

pipelines annotate --run runs/crf --run runs/hmm --input pool.jsonl --n 100 --out tasks.json
pipelines convert export.json --out more.jsonl     # back from the tool, then train on both
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pipelines.commands.columns import add_columns, columns_of
from pipelines.commands.outputs import check_output, refuse_input
from pipelines.errors import UserError
from pipelines.examples import Example, JsonObject, Prediction

HELP = "choose the texts that help most when annotated, and write them for an annotation tool"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--run",
        required=True,
        action="append",
        dest="runs",
        metavar="RUN",
        help="run folder; given several times, texts on which the runs disagree come first",
    )
    parser.add_argument("--input", required=True, metavar="FILE", help="the pool of texts")
    parser.add_argument("--n", type=int, default=100, help="texts to choose (default: 100)")
    parser.add_argument("--out", required=True, metavar="OUT", help="where the tasks go")
    parser.add_argument(
        "--to",
        metavar="NAME",
        default="label-studio",
        help="format of the tasks, as of `pipelines convert` (default: label-studio)",
    )
    parser.add_argument(
        "--known",
        metavar="FILE",
        help="what is annotated already: it is left out, and what resembles it comes later "
        "(default: the train file of the first run)",
    )
    parser.add_argument(
        "--audit",
        action="store_true",
        help="the input is labelled: choose texts whose labels most runs contradict alike",
    )
    add_columns(parser)


def run(options: argparse.Namespace) -> int:
    from pipelines.corpora.convert import convert, format_of, predicted_content
    from pipelines.evaluation.voting import vote

    if options.n < 1:
        raise UserError(f"got --n {options.n}; wanted 1 or more")
    format = format_of(options.out, options.to)
    if not format.is_folder:
        check_output(options.out)
    refuse_input(options.input, [Path(options.out)])
    examples, notes = _pool(options)
    if not examples:
        raise UserError(f"{options.input}: every text of it is annotated already; give other texts")
    answers = [_answers(name, examples) for name in options.runs]
    positions, entries = _chosen(options, examples, answers)
    if not positions:
        print(f"{options.input}: the runs contradict no label alike; nothing is written")
        return 0
    chosen = [examples[position] for position in positions]
    picked = [[model[position] for position in positions] for model in answers]
    joined = vote(picked, names=options.runs) if len(picked) > 1 else picked[0]
    content = predicted_content(chosen, joined)
    written = convert(content, options.out, to=options.to)
    for line in (*notes, *map(_in_words, entries)):
        print(line)
    print(
        f"{options.out}: {written.n_examples} of {len(examples)} texts as {format.name}; "
        f"{content.described()}"
    )
    print("back: `pipelines convert EXPORT --out more.jsonl`, then `pipelines check more.jsonl`")
    return 0


def _pool(options: argparse.Namespace) -> tuple[list[Example], list[str]]:
    """The texts to choose from, and what to say about the others."""
    from pipelines.corpora import read_examples
    from pipelines.evaluation.annotation import not_known

    columns = columns_of(options)
    if options.audit:
        return read_examples(options.input, columns=columns, answer="spans"), []
    pool = read_examples(options.input, columns=columns, answer="text", labelled=False)
    kept = not_known(pool, _known(options))
    left_out = len(pool) - len(kept)
    note = f"{options.input}: {left_out} of {len(pool)} texts are left out: annotated or duplicate"
    return kept, [note] if left_out else []


def _known(options: argparse.Namespace) -> list[Example]:
    from pipelines.corpora import read_examples
    from pipelines.runs.run import Run

    if options.known:
        columns = columns_of(options)
        return read_examples(options.known, columns=columns, answer="text", labelled=False)
    run = Run.open(options.runs[0])
    file = run.split_file("train")
    if file is None or not file.exists():
        return []
    return run.read_examples(file, answer="text", labelled=False)


def _answers(name: str, examples: Sequence[Example]) -> list[Prediction]:
    from pipelines.corpora.stream import batches
    from pipelines.runs.run import Run

    family, loaded = Run.open(name).load()
    return [
        prediction
        for batch in batches(examples)
        for prediction in family.predict(loaded, batch, progress=False)
    ]


def _chosen(
    options: argparse.Namespace,
    examples: Sequence[Example],
    answers: Sequence[Sequence[Prediction]],
) -> tuple[list[int], list[JsonObject]]:
    from pipelines.evaluation import annotation

    if options.audit:
        return annotation.suspicious(examples, answers, options.n)
    known = _known(options)
    return annotation.choose(examples, annotation.worths(answers), options.n, known=known), []


def _in_words(entry: JsonObject) -> str:
    """A disagreement of the runs with the gold, in one line."""
    from pipelines.corpora.corpus import printable

    def named(span: JsonObject | None) -> str:
        return "nothing" if span is None else f"{span['string']} [{span['label']}]"

    gold, answer = named(entry["gold"]), named(entry["answer"])
    return printable(f"{entry['id']}: gold {gold}; {entry['runs']} runs say {answer}")
