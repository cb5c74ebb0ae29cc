"""Read, fit, predict, evaluate and compare from Python, on the same path as the command line.

    from pipelines import compare, evaluate, fit, predict, read

    run = fit("crf", train="train.json", dev="dev.json", run_dir="runs/crf")
    predictions = predict(run, ["He had colon cancer."])

Importing this module loads no deep learning library; `fit` and `predict` do.
"""

from __future__ import annotations

import difflib
import logging
import time
from collections.abc import Sequence
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.corpora import Columns, good_rows, read_corpus, read_examples
from pipelines.errors import UserError
from pipelines.examples import Example, JsonObject, Prediction
from pipelines.runs.recipes import (
    OptionValue,
    call_recipe,
    find_recipes,
    load_recipe,
    words_of,
)

if TYPE_CHECKING:
    from types import ModuleType

    from pipelines.runs.run import Run

logger = logging.getLogger(__name__)

# Answer -> the recipe whose networks `fit` knows by their names.
_WITH_NETWORKS = {"spans": "train_tagger", "label": "train_text_classifier"}


class Examples(list[Example]):
    """Examples of a file, and how it was read.

    Attributes:
        file: the file; `fit` takes it as `train`, `dev` or `test`.
        reading: how it was read, in one sentence.
        answer: `spans`, `label` or `value`; None for an unlabelled file.
        columns: the options on its columns that `read` was given.
    """

    def __init__(
        self,
        examples: Sequence[Example] = (),
        *,
        file: str = "",
        reading: str = "",
        answer: str | None = None,
        columns: dict[str, OptionValue] | None = None,
    ):
        super().__init__(examples)
        self.file, self.reading, self.answer = file, reading, answer
        self.columns = columns or {}
        self._as_read = hash(tuple(self))

    def is_changed(self) -> bool:
        """Whether these are no longer the examples of the file."""
        return not self.file or hash(tuple(self)) != self._as_read

    def __repr__(self) -> str:
        return f"<{len(self)} examples of {self.file}: {self.reading}>"


class Report(dict[str, Any]):
    """A report or a comparison: a dictionary whose `str` is the table of the command line."""

    def __init__(self, content: JsonObject, text: str):
        super().__init__(content)
        self.text = text

    def __str__(self) -> str:
        return self.text


def read(
    file: str | Path, *, answer: str | None = None, labelled: bool = False, **columns: OptionValue
) -> Examples:
    """Reads a file in any layout of `data/README.md`.

    Args:
        file: a file, a folder, or `owner/name` of the Hub.
        answer: what to read of it, `spans`, `label`, `value` or `text`; default: what it has.
        labelled: whether every example has to have its answer.
        **columns: options on the columns, as `text_column="sentence"`.

    Returns:
        The examples; their `repr` says how the file was read.

    Raises:
        DataError: naming every faulty row.
        UserError: for a file that cannot be read, or an unknown option.
    """
    chosen = _columns(columns)
    corpus = read_corpus(file, columns=chosen, answer=answer, labelled=labelled)
    rows = good_rows(corpus, skip_bad_rows=chosen.skip_bad_rows)
    for line in (f"{file}: {corpus.layout}", *corpus.notes):
        logger.info("%s", line)
    return Examples(
        rows, file=str(file), reading=corpus.layout, answer=corpus.answer, columns=columns
    )


def fit(
    recipe: str,
    *,
    train: str | Path | Examples | None = None,
    dev: str | Path | Examples | None = None,
    test: str | Path | Examples | None = None,
    run_dir: str | Path | None = None,
    config: str | Path | None = None,
    **options: OptionValue,
) -> Run:
    """Trains a model: the recipe's own `main`, in this process.

    Args:
        recipe: name of a recipe, such as `train_tagger`, or of a network, such as `crf`.
        train: a file, or what `read` gave; without any, the sample corpus.
        dev: the same, to choose a checkpoint by and to score.
        test: the same, to predict, and to score where it is labelled.
        run_dir: folder of the run; default: `runs/`, the recipe and the time.
        config: a YAML file of options.
        **options: those of `pipelines train NAME --help`, with Python's types; None leaves an
            option at its default.

    Returns:
        The run: `report()`, `config()`, `predictions(split)`, `page` and so on.

    Raises:
        UserError: for what the recipe refuses, among it an unknown option, naming the nearest.
        KeyboardInterrupt: when the training is interrupted; what is saved has been logged.
    """
    if options.get("ablate"):
        raise UserError(
            "fit got ablate, which trains in processes of its own; use `pipelines train NAME "
            "--ablate …`"
        )
    data = {"train_file": train, "dev_file": dev, "test_file": test}
    name, network = _recipe_of(recipe, train)
    if network is not None and options.setdefault("network", network) != network:
        raise UserError(f"fit got the network {network} and network={options['network']!r}")
    folder = Path(run_dir or Path("runs", f"{recipe}-{time.strftime('%Y%m%d-%H%M%S')}"))
    given = {key: _file_of(key, value) for key, value in data.items()}
    words = words_of({"config": config} | _columns_of(data) | given | options)
    call_recipe(name, [*words, "--run_dir", str(folder)])
    from pipelines.runs.run import Run

    return Run.open(folder)


def predict(
    run: Run | str | Path,
    texts: str | Path | Sequence[str] | Sequence[Example],
    *,
    batch_tokens: int | None = None,
    **columns: OptionValue,
) -> list[Prediction]:
    """Answers texts with the model of a run.

    Args:
        run: the run, or its folder.
        texts: a list of texts or examples, or a file with them.
        batch_tokens: tokens, padding counted, of a batch; default: the family's.
        **columns: options on the columns of the file, where they differ from the run's own.

    Returns:
        A prediction for each text, in their order; the id of a text is its number from 0.

    Raises:
        UserError: for a run without a model, or a file that cannot be read.
    """
    from pipelines.corpora.stream import batches

    opened = _run(run)
    if isinstance(texts, str | Path):
        examples = opened.read_examples(
            texts, given=_columns(columns), answer="text", labelled=False
        )
    elif columns:
        raise UserError(f"predict got {', '.join(columns)} and no file; leave them out")
    else:
        examples = [_example(text, number) for number, text in enumerate(texts)]
    _, folder = opened.model_folder()
    family, loaded = _loaded(str(folder.resolve()), folder.stat().st_mtime_ns)
    keywords = {"batch_tokens": batch_tokens} if batch_tokens else {}
    return [
        prediction
        for batch in batches(examples)
        for prediction in family.predict(loaded, batch, progress=False, **keywords)
    ]


def evaluate(
    gold: str | Path | Sequence[Example],
    predictions: str | Path | Sequence[Prediction],
    *,
    train: str | Path | Sequence[Example] | None = None,
    allow_missing: bool = False,
    **columns: OptionValue,
) -> Report:
    """Scores predictions against gold examples, joined by id.

    Args:
        gold: labelled examples, or a file.
        predictions: answers to them, or a file of any system's answers.
        train: training examples: adds baselines, and slices by what training has.
        allow_missing: count missing answers as empty.
        **columns: options on the columns of the files.

    Returns:
        The report, as `report.json` holds it; `print` shows it as a table.

    Raises:
        UserError: for files that cannot be read, and answers that do not belong to the gold.
    """
    from pipelines.checks.predictions import check_predictions, known_labels
    from pipelines.corpora.predictions import read_any_predictions
    from pipelines.evaluation.tasks import answer_kind, task_of
    from pipelines.reporting.text import report_as_text

    chosen = _columns(columns)
    path: str | None = None
    if isinstance(predictions, str | Path):
        path = str(predictions)
        answers = read_any_predictions(path, columns=chosen, quiet=True)
    else:
        answers = list(predictions)
    kind = answer_kind(answers)

    def labelled(source: str | Path | Sequence[Example]) -> list[Example]:
        if isinstance(source, str | Path):
            return read_examples(source, columns=chosen, answer=kind, labelled=kind != "value")
        return list(source)

    examples = labelled(gold)
    if path is not None:
        answers = read_any_predictions(path, examples, columns=chosen)
    known: JsonObject = {"train": labelled(train)} if train is not None else {}
    check_predictions(
        answers,
        examples,
        path=path or "predictions",
        labels=known_labels([*examples, *known.get("train", [])]),
        allow_missing=allow_missing,
    )
    task = task_of(examples, answers)
    report = task.evaluate(examples, answers, allow_missing=allow_missing, **known)
    return Report(report, report_as_text(report))


def compare(*runs: Run | str | Path, gold: str | Path | None = None) -> Report:
    """Ranks runs by quality and cost, and tests neighbours in the ranking.

    Args:
        runs: runs, their folders, and files with the answers of outside systems.
        gold: what they were scored on; default: the file that a run names.

    Returns:
        The comparison (see `reporting.compare.compare_runs`); `print` shows it as a table.

    Raises:
        UserError: for runs that cannot be compared.
    """
    from pipelines.reporting.compare import compare_runs
    from pipelines.reporting.comparison import comparison_as_text

    folders = [run if isinstance(run, str | Path) else run.folder for run in runs]
    comparison = compare_runs(folders, gold=gold)
    return Report(comparison, comparison_as_text(comparison))


def _columns(given: dict[str, OptionValue]) -> Columns:
    """The options on columns.

    Raises:
        UserError: for an unknown one, naming the nearest.
    """
    names = [column.name for column in fields(Columns)]
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            wanted = f"did you mean {near[0]}?" if near else f"wanted one of {', '.join(names)}"
            raise UserError(f"got the unknown option {name}; {wanted}")
    values: dict[str, Any] = dict(given)
    return Columns(**values)


def _columns_of(data: dict[str, Any]) -> dict[str, OptionValue]:
    """The options on columns that `read` was given for the files, which a run has once.

    Raises:
        UserError: where they differ.
    """
    found: dict[str, OptionValue] = {}
    for source in data.values():
        columns = source.columns if isinstance(source, Examples) else {}
        for name, value in columns.items():
            if found.setdefault(name, value) != value:
                raise UserError(
                    f"the files were read with {name}={found[name]!r} and {name}={value!r}, and a "
                    "run reads all files alike; give files with the same columns"
                )
    return found


def _file_of(name: str, source: str | Path | Examples | None) -> str | None:
    if source is None or isinstance(source, str | Path):
        return None if source is None else str(source)
    if not isinstance(source, Examples) or source.is_changed():
        raise UserError(
            f"{name.removesuffix('_file')}: got {len(source)} examples that are not those of a "
            "file, which a run has to name; write them by "
            "`pipelines.corpora.writing.write_jsonl` and give the file"
        )
    return source.file


def _recipe_of(name: str, train: str | Path | Examples | None) -> tuple[str, str | None]:
    """The recipe that a name means, and the network where it names one.

    Raises:
        UserError: for an unknown name, or a network of two recipes.
    """
    recipes = find_recipes()
    if name in recipes:
        return name, None
    having = [recipe for recipe in _WITH_NETWORKS.values() if name in load_recipe(recipe).NETWORKS]
    if not having:
        known = [*recipes, *_networks()]
        near = difflib.get_close_matches(name, known, n=1)
        wanted = f"did you mean {near[0]}?" if near else f"wanted one of {', '.join(known)}"
        raise UserError(f"got the recipe or network {name}; {wanted}")
    if len(having) > 1 and train is not None:
        examples = train if isinstance(train, Examples) else read(train)
        having = [_WITH_NETWORKS.get(str(examples.answer), "")]
    if len(having) > 1:
        calls = " or ".join(f'fit("{recipe}", network="{name}")' for recipe in having)
        raise UserError(f"{name} is a network of several recipes; call {calls}")
    if not having[0]:
        raise UserError(f"{train}: holds neither mentions nor classes for {name} to learn")
    return having[0], name


def _networks() -> list[str]:
    return [name for recipe in _WITH_NETWORKS.values() for name in load_recipe(recipe).NETWORKS]


def _run(run: Run | str | Path) -> Run:
    from pipelines.runs.run import Run

    return run if isinstance(run, Run) else Run.open(run)


def _example(text: object, number: int) -> Example:
    if isinstance(text, Example):
        return text
    if not isinstance(text, str):
        got = type(text).__name__
        raise UserError(f"text {number}: got a {got}; wanted a string or an Example")
    return Example(str(number), text)


@lru_cache(maxsize=1)
def _loaded(folder: str, saved_at: int) -> tuple[ModuleType, Any]:
    """The family and the model of a folder; loaded again once it was saved again."""
    from pipelines import families

    family = families.family_of(folder)
    assert family is not None  # `model_folder` has found one
    return family, family.load(Path(folder))
