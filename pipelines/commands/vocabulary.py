"""Shows what min_freq and remove_frac leave of the words of a corpus, its lengths and padding.

pipelines vocabulary train.json --dev dev.json --html vocabulary.html
pipelines vocabulary train.json --min_freq 2 --save_tokenizer tokenizer
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.commands.columns import add_columns, columns_of
from pipelines.errors import UserError

if TYPE_CHECKING:
    from pipelines.examples import Example

HELP = "show what min_freq and remove_frac leave of a corpus's words"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
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
    parser.add_argument(
        "--batch_size", type=int, default=32, help="rows of a batch (default: %(default)s)"
    )
    parser.add_argument(
        "--batch_tokens",
        type=int,
        default=2048,
        help="words of a batch of rows of one length (default: %(default)s)",
    )
    parser.add_argument(
        "--save_tokenizer",
        metavar="FOLDER",
        help="write a tokenizer of these words there, which train_tagger.py and "
        "train_text_classifier.py take by --tokenizer",
    )
    parser.add_argument(
        "--remove_frac",
        type=float,
        default=0.0,
        help="share of the words, the rarest, that --save_tokenizer leaves out too",
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
        batch_size=options.batch_size,
        batch_tokens=options.batch_tokens,
    )
    print(vocabulary_as_text(study))
    if options.save_tokenizer:
        _save_tokenizer(train or [], options)
    elif options.remove_frac:
        raise UserError("--remove_frac is of --save_tokenizer; the table shows all of its values")
    if options.html:
        from pipelines.reporting.run_facts import run_facts
        from pipelines.reporting.vocabulary import write_vocabulary
        from pipelines.runs.provenance import provenance

        facts = run_facts({}, provenance(list(filter(None, [options.file, options.dev]))))
        write_vocabulary(study, options.html, facts=facts)
        print(f"\n{options.html}")
    return 0


def _save_tokenizer(train: Sequence[Example], options: argparse.Namespace) -> None:
    """Writes the tokenizer of these filters.

    Raises:
        UserError: for a folder that holds something else.
    """
    from pipelines.families.token_tagger.word_tagging import fit_words
    from pipelines.networks.word_tokenizer import TOKENIZER_FILE
    from pipelines.runs.run import replacing_folder

    path = Path(options.save_tokenizer)
    files = {TOKENIZER_FILE, "tokenizer_config.json", "special_tokens_map.json"}
    if path.is_file() or (path.is_dir() and {file.name for file in path.iterdir()} - files):
        raise UserError(f"{path}: holds something else than a tokenizer; give a new folder")
    words = fit_words(
        train,
        min_freq=options.min_freq,
        remove_frac=options.remove_frac,
        lowercase=options.lowercase,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(path) as folder:
        words.tokenizer.save_pretrained(folder)
    print(f"\n{path}: {len(words.tokenizer):,} tokens")
