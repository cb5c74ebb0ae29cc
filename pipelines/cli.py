"""`pipelines check | predict | vote | evaluate | compare | submit`: everything but training, which is in recipes/."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from pipelines.errors import UserError, one_line_errors
from pipelines.examples import Example


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="pipelines", description=__doc__)
    subcommands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in COMMANDS:
        add(subcommands)
    options = parser.parse_args(arguments)
    with one_line_errors():
        code = options.run(options)
        sys.stdout.flush()  # here, where a reader that went away is no fault
        return code
    return 2


def _add_evaluate(subcommands: argparse._SubParsersAction) -> None:
    parser = subcommands.add_parser("evaluate", help="score predictions against gold examples")
    parser.add_argument("--gold", required=True, metavar="FILE",
                        help="labelled examples, in any format of data/README.md")
    parser.add_argument("--predictions", required=True, nargs="+", metavar="P.jsonl",
                        help="answers to them; several files, such as one a seed, give mean and spread")
    parser.add_argument("--train", metavar="FILE",
                        help="training examples: adds baselines, and slices by what training has")
    parser.add_argument("--tune_threshold", nargs=2, metavar=("DEV_GOLD", "DEV_PREDICTIONS"),
                        help="pick the score from which spans are kept on these, and say what it gains here")
    parser.add_argument("--allow_missing", action="store_true", help="count missing answers as empty")
    parser.add_argument("--allow_new_labels", action="store_true",
                        help="count predicted labels that neither gold nor training has as wrong")
    _add_columns(parser, mentions=True, classes=True)
    parser.add_argument("--json", metavar="OUT", help="write the whole report there")
    parser.add_argument("--html", metavar="OUT", help="write a page to read and browse there")
    parser.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    from pipelines.evaluation.checks import check_predictions, known_labels
    from pipelines.evaluation.gold import read_gold
    from pipelines.evaluation.runs import evaluate_runs
    from pipelines.examples import read_predictions, replacing
    from pipelines.reporting.text import report_as_text
    from pipelines.tasks import answer_kind, task_of

    runs = [read_predictions(path) for path in options.predictions]
    kind = answer_kind([prediction for run in runs for prediction in run])
    if options.allow_missing and kind == "value":
        raise UserError('--allow_missing got predictions with "value"; a number that is missing has no empty stand-in, '
                        "predict it")
    if options.tune_threshold and kind != "spans":
        raise UserError(f'--tune_threshold got predictions with "{kind}"; wanted "spans" that have scores')

    def gold(path: str) -> list[Example]:
        return read_gold(path, kind, columns=_class_columns(options), mention_columns=_columns(options),
                         skip_bad_rows=options.skip_bad_rows)

    examples = gold(options.gold)
    keywords: dict[str, Any] = {"allow_missing": options.allow_missing}
    if options.train:
        keywords["train"] = gold(options.train)
    labels = None if options.allow_new_labels else known_labels([*examples, *keywords.get("train", [])])
    for path, run in zip(options.predictions, runs, strict=True):
        check_predictions(run, examples, path=path, labels=labels, allow_missing=options.allow_missing)
    if options.tune_threshold:
        dev_gold, dev_predictions = options.tune_threshold
        keywords["tuning"] = gold(dev_gold), read_predictions(dev_predictions)
        check_predictions(keywords["tuning"][1], keywords["tuning"][0], path=dev_predictions)
    task = task_of(examples, runs[0])
    report = (task.evaluate(examples, runs[0], **keywords) if len(runs) == 1 else
              evaluate_runs(task, examples, runs, **keywords))
    if options.json:
        with replacing(options.json) as f:
            json.dump(report, f, indent=1, ensure_ascii=False, allow_nan=False)
    if options.html:
        from pipelines.reporting.html import write_report

        write_report(report, examples, runs[0], options.html)
    print(report_as_text(report))
    return 0


def _add_check(subcommands: argparse._SubParsersAction) -> None:
    parser = subcommands.add_parser("check", help="say what is wrong with corpora and what training would lose; exit "
                                                  "code 0, or 1 with faults, or 2 where a file cannot be read")
    parser.add_argument("files", nargs="+", metavar="FILE", help="corpora in any format of data/README.md")
    parser.add_argument("--against", metavar="TRAIN", help="a further corpus to look for duplicates in")
    parser.add_argument("--format", choices=("list", "json", "tagged"),
                        help="the prompt format that has to carry the mentions (default: try all, one has to)")
    parser.add_argument("--model_name_or_path", metavar="MODEL", help="count tokens, of prompt and answer, as it does")
    parser.add_argument("--max_length", type=int, metavar="TOKENS", help="say how many examples are longer than this")
    _add_columns(parser, mentions=True, skip=False)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    from pipelines.corpora import read_corpus
    from pipelines.corpora.audit import as_text, audit

    if options.max_length and not options.model_name_or_path:
        raise UserError("--max_length counts tokens; name the model that they are for by --model_name_or_path")
    columns = _columns(options)
    # A named column has to be in the first file at least: behind training data a test file may lack it.
    against = read_corpus(options.against, columns=columns) if options.against else None
    corpora = [read_corpus(path, columns=columns, labelled=not (against or number))
               for number, path in enumerate(options.files)]
    lengths = None
    if options.model_name_or_path:
        lengths = _token_counter(options.model_name_or_path, options.format or "list")
    found = audit(corpora, against=against, format=options.format, lengths=lengths, max_length=options.max_length)
    print(json.dumps(found.to_json(), ensure_ascii=False) if options.json else as_text(found))
    return 0 if found.ok else 1


def _token_counter(model: str, format: str) -> Callable[[Sequence[Example], Sequence[str]], list[int]]:
    """Gives a function that counts the tokens of examples as a model is trained on them: prompt, text and answer."""
    from pipelines.families.causal_lm import answer_ids, load_tokenizer, prompt_for, prompt_ids

    tokenizer = load_tokenizer(model)

    def lengths(examples: Sequence[Example], labels: Sequence[str]) -> list[int]:
        prompt = prompt_for(tokenizer, format=format, labels=labels, style="auto", constrained=True)
        return [len(prompt_ids(tokenizer, example.text, prompt))
                + len(answer_ids(tokenizer, example.text, example.spans or (), prompt))
                for example in examples]

    return lengths


def _add_columns(parser: argparse.ArgumentParser, *, mentions: bool = False, classes: bool = False,
                 skip: bool = True) -> None:
    """Adds what every command takes that reads examples, for the files that do not tell by themselves."""
    parser.add_argument("--text_column", metavar="NAME", help="column with the text or its tokens")
    if mentions:
        parser.add_argument("--entities_column", metavar="NAME", help="column with the mentions or tags")
        parser.add_argument("--tag_names", type=lambda names: tuple(names.split(",")), metavar="O,B-Disease,…",
                            help="what numeric tags mean, from 0 up")
    if classes:
        parser.add_argument("--pair_column", metavar="NAME", help="column with the second text of a pair")
        parser.add_argument("--label_column", metavar="NAME[,NAME…]",
                            help="column with the class, or several of 0 and 1")
        parser.add_argument("--label_separator", metavar="MARK", help="what stands between several classes of a text")
        parser.add_argument("--mention_type", metavar="TYPE", help="the mention that makes the class, in an NER corpus")
    parser.add_argument("--id_column", metavar="NAME", help="column with the ids")
    if skip:
        parser.add_argument("--skip_bad_rows", action="store_true", help="leave out rows with faults")


def _columns(options: argparse.Namespace) -> Any:
    from pipelines.corpora import Columns

    return Columns(options.text_column, options.entities_column, options.id_column, options.tag_names)


def _class_columns(options: argparse.Namespace) -> Any:
    from pipelines.corpora.tables import ClassColumns

    return ClassColumns(options.text_column, options.pair_column, options.label_column, options.id_column,
                        options.label_separator, options.mention_type)


def _add_split(subcommands: argparse._SubParsersAction) -> None:
    parser = subcommands.add_parser("split", help="cut labelled texts into train, dev and test by class, all copies of "
                                                  "a text in one of them")
    parser.add_argument("file", metavar="FILE", help="texts with classes, see docs/classification.md")
    parser.add_argument("--sizes", default="train=0.8,dev=0.1,test=0.1", metavar="train=0.8,dev=0.1,…",
                        help="shares, or numbers of texts (default: %(default)s)")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where train.jsonl, dev.jsonl … are written")
    parser.add_argument("--seed", type=int, default=0, help="another one draws other texts (default: %(default)s)")
    _add_columns(parser, classes=True)
    parser.set_defaults(run=_split)


def _split(options: argparse.Namespace) -> int:
    from pipelines.corpora.splits import parse_sizes, splits_as_text, stratified_split, write_split
    from pipelines.corpora.tables import read_classes

    examples = read_classes(options.file, columns=_class_columns(options), skip_bad_rows=options.skip_bad_rows)
    parts = stratified_split(examples, parse_sizes(options.sizes), seed=options.seed)
    for name, part in parts.items():
        write_split(f"{options.out}/{name}.jsonl", part)
    print(splits_as_text(examples, parts))
    return 0


def _add_predict(subcommands: argparse._SubParsersAction) -> None:
    parser = subcommands.add_parser("predict", help="answer the examples of a file with the model of a run")
    parser.add_argument("--run", required=True, dest="run_dir", metavar="RUN",
                        help="run folder, with model/ or merged/")
    parser.add_argument("--input", required=True, metavar="FILE", help="examples, in any format of data/README.md")
    parser.add_argument("--output", required=True, metavar="P.jsonl", help="where the predictions go")
    _add_columns(parser, mentions=True)
    parser.add_argument("--batch_tokens", type=int, help="tokens, padding counted, of a batch (default: the family's)")
    parser.set_defaults(run=_predict)


def _predict(options: argparse.Namespace) -> int:
    from pipelines.corpora import read_examples
    from pipelines.examples import write_predictions

    _check_output(options.output)
    examples = read_examples(options.input, columns=_columns(options), labelled=False,
                             skip_bad_rows=options.skip_bad_rows)
    family, folder = _family_and_folder(options.run_dir)
    batch_tokens = {"batch_tokens": options.batch_tokens} if options.batch_tokens else {}
    predictions = family.predict(family.load(folder), examples, **batch_tokens)
    write_predictions(options.output, predictions)
    print(f"{options.output}: {len(predictions)} answers of {folder}")
    return 0


def _check_output(path: str) -> None:
    """Sees to it that a file can be written there, before anything is computed for it.

    Raises:
        UserError: for a folder.
        OSError: for what ``one_line_errors`` tells.
    """
    if Path(path).is_dir():
        raise UserError(f"{path}: a folder; wanted the name of a file, such as {Path(path) / 'predictions.jsonl'}")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=Path(path).parent, prefix=f".{Path(path).name}."):
        pass


def _family_and_folder(run_dir: str) -> tuple[Any, Path]:
    """The module of the family that a run's model belongs to, and the folder that it loads."""
    from pipelines.runs import Run

    run = Run(run_dir)
    found = next(((folder, name) for folder in (run.merged, run.model) for file, name in FAMILIES.items()
                  if (folder / file).is_file()), None)
    if found is None:
        raise UserError(f"{run_dir}: no model/ or merged/ with {' or '.join(FAMILIES)}; give the folder of "
                        "a run that finished training")
    folder, name = found
    return import_module(f"pipelines.families.{name}"), folder


def _add_vote(subcommands: argparse._SubParsersAction) -> None:
    parser = subcommands.add_parser("vote", help="join what several models answered to the same examples: spans and "
                                                 "classes by votes, numbers by their mean")
    parser.add_argument("predictions", nargs="+", metavar="P.jsonl", help="answers, a file for each model")
    parser.add_argument("--out", required=True, metavar="OUT.jsonl", help="where the joint answers go")
    parser.set_defaults(run=_vote)


def _vote(options: argparse.Namespace) -> int:
    from pipelines.examples import read_predictions, write_predictions
    from pipelines.voting import vote

    if len(options.predictions) < 2:
        raise UserError("got one file of predictions; wanted those of two models or more, three for a majority")
    _check_output(options.out)
    answers = [read_predictions(path) for path in options.predictions]
    joint = vote(answers, names=options.predictions)
    write_predictions(options.out, joint)
    kept, *given = (sum(len(answer.spans or ()) for answer in model) for model in (joint, *answers))
    spans = f"; {kept} spans, of the models' {', '.join(map(str, given))}" if any(given) else ""
    print(f"{options.out}: {len(joint)} answers of {len(answers)} models{spans}")
    return 0


def _add_submit(subcommands: argparse._SubParsersAction) -> None:
    parser = subcommands.add_parser("submit", help="write predictions as a competition's CSV, and push it; or a "
                                                 "course's package of runs")
    parser.add_argument("--predictions", metavar="P.jsonl", help="answers to every row of the sample")
    parser.add_argument("--sample", metavar="sample_submission.csv",
                        help="gives the columns, the ids, their order and the layout of an answer")
    parser.add_argument("--out", required=True, metavar="submission.csv", help="the file to write; a zip with --bundle")
    parser.add_argument("--input", metavar="FILE",
                        help="the test file, where answers are strings or tokens: predictions hold offsets only")
    _add_columns(parser, mentions=True)
    parser.add_argument("--format", help="layout of an answer, where the sample does not tell it")
    parser.add_argument("--separator",
                        help="what stands between two strings, tags or offsets; default: as in the sample")
    parser.add_argument("--push", metavar="COMPETITION", help="hand the file to Kaggle's client")
    parser.add_argument("--message", help="what to tell Kaggle about it; default: the name of the predictions file")
    parser.add_argument("--bundle", choices=("milestone", "leaderboard", "final"),
                        help="write a zip with predictions, configs and weights of --runs, and their checksums: dev "
                             "predictions, test predictions of one run, or both")
    parser.add_argument("--runs", nargs="+", metavar="RUN", help="run folders, for --bundle")
    parser.add_argument("--dev_file", metavar="FILE", help="for --bundle: default, the dev file that the run names")
    parser.add_argument("--test_file", metavar="FILE", help="for --bundle: default, the test file that the run names")
    parser.set_defaults(run=_submit)


def _submit(options: argparse.Namespace) -> int:
    from pipelines.corpora import read_examples
    from pipelines.examples import read_predictions
    from pipelines.submission import LAYOUTS, push, write_submission

    if options.bundle:
        return _bundle(options)
    if not options.predictions or not options.sample or options.runs:
        raise UserError("submit wants --predictions and --sample for a competition's CSV, or --bundle and --runs for a "
                        "course's package")
    predictions = read_predictions(options.predictions)
    examples = read_examples(options.input, columns=_columns(options), labelled=False,
                             skip_bad_rows=options.skip_bad_rows) if options.input else None
    layout = write_submission(predictions, examples, sample=options.sample, out=options.out, format=options.format,
                              separator=options.separator)
    how = "as asked" if options.format else "inferred from the sample"
    print(f"{options.out}: {len(predictions)} answers; layout {layout} ({LAYOUTS[layout].what}), {how}")
    if options.push:
        push(options.out, options.push, options.message or options.predictions)
    return 0


def _bundle(options: argparse.Namespace) -> int:
    from pipelines.bundles import BUNDLES, write_bundle

    if options.predictions or options.sample or options.push:
        raise UserError("--bundle takes its predictions from --runs; leave --predictions, --sample and --push away")
    names = write_bundle(options.runs or [], options.out, kind=options.bundle,
                         files={"dev": options.dev_file, "test": options.test_file})
    print("\n".join(names))
    print(f"\n{options.out}: {len(names)} files, {BUNDLES[options.bundle].what}; opened again and valid")
    return 0


def _add_compare(subcommands: argparse._SubParsersAction) -> None:
    parser = subcommands.add_parser("compare", help="rank runs by quality and cost, and test neighbours")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders")
    parser.add_argument("--gold", metavar="FILE", help="what they were scored on; default: the file that a run names")
    parser.add_argument("--json", metavar="OUT", help="write the whole comparison there")
    parser.add_argument("--html", metavar="OUT", help="write a page with pictures there")
    parser.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> int:
    from pipelines.examples import replacing
    from pipelines.reporting.compare import compare_runs, comparison_as_text, write_comparison

    comparison = compare_runs(options.runs, gold=options.gold)
    if options.json:
        with replacing(options.json) as f:
            json.dump(comparison, f, indent=1, ensure_ascii=False, allow_nan=False)
    if options.html:
        write_comparison(comparison, options.html)
    print(comparison_as_text(comparison))
    return 0


def _add_vocabulary(subcommands: argparse._SubParsersAction) -> None:
    parser = subcommands.add_parser("vocabulary", help="show what min_freq and remove_frac leave of a corpus's words")
    parser.add_argument("file", metavar="FILE", help="training examples, in any format of data/README.md")
    parser.add_argument("--dev", metavar="FILE", help="count the unknown words of these examples too")
    parser.add_argument("--lowercase", action="store_true", help="count words in lower case")
    parser.add_argument("--min_freq", type=int, default=1, help="at which remove_frac is tried (default: %(default)s)")
    _add_columns(parser, mentions=True)
    parser.add_argument("--html", metavar="OUT", help="write a page with pictures there")
    parser.set_defaults(run=_vocabulary)


def _vocabulary(options: argparse.Namespace) -> int:
    from pipelines.corpora import read_examples
    from pipelines.inspection.vocabulary import study_vocabulary, vocabulary_as_text

    train, dev = (read_examples(file, columns=_columns(options), skip_bad_rows=options.skip_bad_rows) if file else None
                  for file in (options.file, options.dev))
    study = study_vocabulary(train or [], dev, file=options.file, dev_file=options.dev, lowercase=options.lowercase,
                             min_freq=options.min_freq)
    print(vocabulary_as_text(study))
    if options.html:
        from pipelines.reporting.vocabulary import write_vocabulary

        write_vocabulary(study, options.html)
        print(f"\n{options.html}")
    return 0


def _add_parameters(subcommands: argparse._SubParsersAction) -> None:
    parser = subcommands.add_parser("parameters", help="list the parameters of a run's network and count multiply-adds")
    parser.add_argument("--run", required=True, dest="run_dir", metavar="RUN",
                        help="run folder, with model/ or merged/")
    parser.add_argument("--tokens", type=int, default=32, help="length of the sentence that is counted on: attention "
                                                               "takes more for longer ones (default: %(default)s)")
    parser.set_defaults(run=_parameters)


def _parameters(options: argparse.Namespace) -> int:
    from pipelines.inspection.parameters import parameter_table, table_as_text

    if options.tokens < 1:
        raise UserError(f"got --tokens {options.tokens}; wanted at least 1")
    family, folder = _family_and_folder(options.run_dir)
    print(table_as_text(parameter_table(family.load(folder).model, tokens=options.tokens)))
    return 0


def _add_inspect(subcommands: argparse._SubParsersAction) -> None:
    parser = subcommands.add_parser("inspect", help="look inside a tagger: its tags of one example, activations, what "
                                                    "it leans on, and its layers")
    parser.add_argument("--run", required=True, dest="run_dir", metavar="RUN", help="run folder of a token tagger")
    parser.add_argument("--id", metavar="ID", help="the example to look at")
    parser.add_argument("--input", metavar="FILE", help="where the examples are (default: the dev and test files that "
                                                        "the run names)")
    _add_columns(parser, mentions=True)
    parser.add_argument("--activations", metavar="MODULE", help="draw the activations of a module: tokens by units")
    parser.add_argument("--compare_layers", action="store_true",
                        help="measure over all labelled examples how sharply entity tokens stand out in each layer")
    parser.add_argument("--saliency", action="store_true", help="show which tokens each prediction leans on")
    parser.add_argument("--color", choices=("auto", "always", "never"), default="auto", help="of the terminal")
    parser.add_argument("--html", metavar="OUT", help="the page (default, where there are pictures: RUN/inspect.html)")
    parser.set_defaults(run=_inspect)


def _inspect(options: argparse.Namespace) -> int:
    from pipelines.inspection.command import inspect_run

    family, folder = _family_and_folder(options.run_dir)
    found = inspect_run(family, folder, options, columns=_columns(options))
    if options.html or found.has_pictures:
        from pipelines.reporting.inspection import write_inspection

        out = options.html or Path(options.run_dir) / "inspect.html"
        write_inspection(out, run=options.run_dir, inspection=found.inspection, activations=found.activations,
                         saliency=found.saliency, layers=found.layers, examples=found.examples)
        print(f"\n{out}")
    return 0


# The file that a family writes last into its model folder, and the family's module.
FAMILIES = {"prompt.json": "causal_lm", "lexical.json": "lexical", "tagger.json": "token_tagger",
            "classifier.json": "sequence_classifier"}

# One function a subcommand: adds its parser with `set_defaults(run=...)`, where run(options) returns the exit code.
# Modules are imported inside run, so that `pipelines --help` stays instant.
COMMANDS: list = [_add_check, _add_split, _add_predict, _add_vote, _add_evaluate, _add_compare, _add_submit,
                  _add_vocabulary, _add_parameters, _add_inspect]


if __name__ == "__main__":
    raise SystemExit(main())
