"""The examples that a job learns from and answers, as read from its files."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.checks.audit import Split, as_text, audit
from pipelines.corpora import Corpus, good_rows, read_corpora, read_examples, refuse_unlabelled
from pipelines.corpora.class_splits import ClassSplits, read_class_splits
from pipelines.errors import DataError, UserError
from pipelines.examples import Example
from pipelines.formatting import some
from pipelines.runs.arguments import DataArguments
from pipelines.runs.options import given_files

MOST_WARNINGS = 5  # of one kind in one file, in the log of a recipe
logger = logging.getLogger(__name__)


@dataclass
class Data:
    """The examples of a job, as read.

    Attributes:
        answer: what is learnt, `spans`, `label`, `value`, or `text` where only texts are read.
        files: split -> file.
        splits: split -> examples.
        classes: for `label`, what else is known of the classes.
    """

    answer: str
    files: dict[str, str]
    splits: dict[str, list[Example]]
    corpora: dict[str, Corpus] = field(default_factory=dict)
    classes: ClassSplits | None = None


def answer_of(options: DataArguments, project: Path) -> str:
    """What is to be learnt, `spans` or `label`: as `--answer` says, else what the train file holds.

    Raises:
        UserError: for a file that holds neither.
    """
    if options.answer or options.mention_type:
        answer = options.answer or "label"
    else:
        file = given_files(options, project)["train"]
        [corpus] = read_corpora({"train": file}, columns=options.columns(), answer=None).values()
        answer = corpus.answer or "spans"  # an unlabelled file is refused where it is read
    if answer not in ("spans", "label"):
        raise UserError(f"got the answer {answer}; this recipe learns spans or label")
    return answer


def read_data(
    options: DataArguments,
    files: dict[str, str],
    *,
    answer: str,
    seed: int = 0,
    prompt_format: str | None = None,
) -> Data:
    """Reads the files of a job and logs how they were read; see `job.read`."""
    if answer == "text":
        return _read_texts(options, files)
    if answer == "label":
        return _read_classes(options, files, seed)
    return _read_answers(options, files, answer, prompt_format)


def _read_texts(options: DataArguments, files: dict[str, str]) -> Data:
    splits = {
        split: read_examples(file, labelled=False, answer="text", columns=options.columns())
        for split, file in files.items()
    }
    return Data("text", files, splits)


def _read_classes(options: DataArguments, files: dict[str, str], seed: int) -> Data:
    classes = read_class_splits(
        files,
        columns=options.columns(),
        sizes=getattr(options, "sizes", ""),
        seed=seed,
        skip_bad_rows=options.skip_bad_rows,
    )
    return Data("label", files, classes.splits, classes.corpora, classes)


def _read_answers(
    options: DataArguments, files: dict[str, str], answer: str, prompt_format: str | None
) -> Data:
    """Examples with mentions or numbers, of files without a fault that is not to be skipped."""
    corpora = read_corpora(files, columns=options.columns(), answer=answer)
    findings = audit(list(corpora.values()), format=prompt_format)
    logger.info("%s", as_text(findings, most_warnings=MOST_WARNINGS))
    if not findings.ok and not options.skip_bad_rows:
        raise DataError(
            "the data has faults (above); fix them, or leave those rows out by --skip_bad_rows true"
        )
    splits = {
        split: good_rows(corpus, skip_bad_rows=options.skip_bad_rows)
        for split, corpus in corpora.items()
    }
    for split in ("train", "dev"):
        refuse_unlabelled(files.get(split, split), splits.get(split, []), answer)
    if prompt_format and options.skip_bad_rows:
        audited = dict(zip(corpora, findings.splits, strict=True))
        _leave_lossy_texts_out_of_train(splits, audited, prompt_format)
    return Data(answer, files, splits, corpora)


def _leave_lossy_texts_out_of_train(
    splits: dict[str, list[Example]], audited: dict[str, Split], prompt_format: str
) -> None:
    """Takes texts whose mentions the prompt format loses out of train; dev and test keep theirs."""
    for split, found in audited.items():
        lossy = found.carried[prompt_format].ids if found.carried else []
        if not lossy:
            continue
        logger.warning(
            "%s: the prompt format %r loses mentions in %d of %d examples, which are %s: %s",
            found.path,
            prompt_format,
            len(lossy),
            len(splits[split]),
            "left out of training" if split == "train" else "scored with all their mentions",
            some(lossy, 5),
        )
        if split == "train":
            left_out = set(lossy)
            splits[split] = [example for example in splits[split] if example.id not in left_out]
            if not splits[split]:
                raise DataError(
                    f"{found.path}: not one example of train is left; take another "
                    "--prompt_format, such as tagged"
                )
