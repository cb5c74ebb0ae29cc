"""Shows what min_freq and remove_frac leave of the words of a corpus."""

from __future__ import annotations

import argparse

from pipelines.commands.columns import add_columns, columns_of

HELP = "show what min_freq and remove_frac leave of a corpus's words"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", help="training examples, in any format of data/README.md"
    )
    parser.add_argument(
        "--dev", metavar="FILE", help="count the unknown words of these examples too"
    )
    parser.add_argument("--lowercase", action="store_true", help="count words in lower case")
    parser.add_argument(
        "--min_freq",
        type=int,
        default=1,
        help="at which remove_frac is tried (default: %(default)s)",
    )
    add_columns(parser)
    parser.add_argument("--html", metavar="OUT", help="write a page with pictures there")


def run(options: argparse.Namespace) -> int:
    from pipelines.corpora import read_examples
    from pipelines.inspection.vocabulary import study_vocabulary, vocabulary_as_text

    columns = columns_of(options)
    train, dev = (
        read_examples(file, columns=columns, skip_bad_rows=options.skip_bad_rows) if file else None
        for file in (options.file, options.dev)
    )
    study = study_vocabulary(
        train or [],
        dev,
        file=options.file,
        dev_file=options.dev,
        lowercase=options.lowercase,
        min_freq=options.min_freq,
    )
    print(vocabulary_as_text(study))
    if options.html:
        from pipelines.reporting.run_facts import run_facts
        from pipelines.reporting.vocabulary import write_vocabulary
        from pipelines.runs.provenance import provenance

        facts = run_facts({}, provenance(list(filter(None, [options.file, options.dev]))))
        write_vocabulary(study, options.html, facts=facts)
        print(f"\n{options.html}")
    return 0
