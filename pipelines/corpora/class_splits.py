"""Train, dev and test of texts with classes, as files or cut from one, and what is odd in them."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.corpora import Columns, Corpus, good_rows, read_corpora
from pipelines.corpora.corpus import counted
from pipelines.corpora.splits import (
    classes_of,
    copies,
    parse_sizes,
    splits_as_text,
    stratified_split,
    write_split,
)
from pipelines.errors import DataError, UserError
from pipelines.examples import Example
from pipelines.formatting import some

logger = logging.getLogger(__name__)

RARE = 5  # texts; a class with fewer is reported


@dataclass(frozen=True, slots=True)
class ClassSplits:
    """What a classifier is trained, chosen and tested on.

    Attributes:
        splits: `train`, `dev` and, where there is one, `test`, as read: dev and test are predicted
            whole.
        labels: the classes of the training texts that are not empty.
        multi_label: whether a text may have several.
        corpora: the files as read.
    """

    splits: dict[str, list[Example]]
    labels: tuple[str, ...]
    multi_label: bool
    corpora: dict[str, Corpus]

    def usable(self, split: str) -> list[Example]:
        """The labelled texts of a split that a model of these classes can learn from."""
        labelled = [example for example in self.splits[split] if example.label is not None]
        known = [e for e in labelled if set(classes_of(e)) <= set(self.labels)]
        return [example for example in known if not is_empty(example)]


def is_empty(example: Example) -> bool:
    """Whether there is nothing to learn from: no text and no picture."""
    return example.features is None and not example.text.strip()


def read_class_splits(
    files: Mapping[str, str],
    *,
    columns: Columns,
    sizes: str,
    seed: int,
    skip_bad_rows: bool = False,
) -> ClassSplits:
    """Reads the files; without a dev file, cuts dev (and without a test file test) from train.

    The parts are those of `pipelines split --answer label` with the same sizes and seed. Train says
    which columns hold the classes, and train and dev whether a text may have several. A test file
    that lacks these columns is unlabelled. What was read is logged, and what is odd in it (see
    `oddities`).

    Args:
        files: `train` and perhaps `dev` and `test`.
        sizes: see `parse_sizes`; a part that has a file of its own is not cut.

    Raises:
        DataError: for bad rows, a single class, texts without a class in train or dev, a dev that
            decides nothing, several classes of a text in test alone, and classes of dev or test
            that train spells differently.
        UserError: for files that cannot be read.
    """
    if "train" not in files:
        raise UserError("got a dev or test file without --train_file; give all that are to be used")
    ordered = {split: files[split] for split in sorted(files, key=lambda name: name != "train")}
    corpora = read_corpora(ordered, columns=columns, answer="label")
    splits: dict[str, list[Example]] = {}
    for split, corpus in corpora.items():
        for line in corpus.described():
            logger.info("%s", line)
        splits[split] = good_rows(corpus, skip_bad_rows=skip_bad_rows)
    answered = [*splits["train"], *splits.get("dev", ())]
    several = any(isinstance(example.label, tuple) for example in answered)
    splits = {split: _of_one_kind(part, several, files[split]) for split, part in splits.items()}
    _refuse_unlabelled(splits, files)
    labels = _labels(splits["train"], several, files["train"])
    if "dev" not in splits:
        whole = splits.pop("train")
        cut = _cut(whole, sizes, beside=splits, seed=seed)
        logger.info("%s", splits_as_text(whole, cut))
        splits = cut | splits
        labels = _labels(
            splits["train"], several, f"{files['train']}, without what was cut from it"
        )
    class_splits = ClassSplits(splits, labels, several, corpora)
    _refuse_other_spellings(class_splits, files)
    if not class_splits.usable("dev"):
        raise DataError(
            f"{files.get('dev', files['train'])}: no text of dev decides anything: all "
            f"{len(splits['dev'])} are empty or of classes that train lacks; wanted texts of "
            f"{some(labels)}"
        )
    for line in oddities(class_splits):
        logger.info("%s", line)
    return class_splits


def _refuse_unlabelled(splits: Mapping[str, Sequence[Example]], files: Mapping[str, str]) -> None:
    for split in ("train", "dev"):
        unlabelled = [example.id for example in splits.get(split, ()) if example.label is None]
        if unlabelled:
            raise DataError(
                f"{files[split]}: {len(unlabelled)} texts without a class ({some(unlabelled)}); "
                f"--{split}_file needs them, and --label_column names another column"
            )


def _refuse_other_spellings(class_splits: ClassSplits, files: Mapping[str, str]) -> None:
    """Refuses classes of dev and test that train has, but for case, blanks and hyphens."""
    spelling = {_unspelt(label): label for label in class_splits.labels}
    faults = []
    for split, part in class_splits.splits.items():
        ids: dict[str, list[str]] = {}
        for example in part:
            for label in set(classes_of(example)) - set(class_splits.labels):
                if _unspelt(label) in spelling:
                    ids.setdefault(label, []).append(example.id)
        faults += [
            f"{files[split]}: the class {label!r} ({counted(len(named), 'text')}, first id "
            f"{named[0]}) is {spelling[_unspelt(label)]!r} in {files['train']}"
            for label, named in sorted(ids.items())
        ]
    if faults:
        raise DataError("\n".join([*faults, "spell a class alike in all files"]))


def _unspelt(label: str) -> str:
    return " ".join(re.split(r"[\s_-]+", label.casefold().strip()))


def _cut(
    whole: Sequence[Example], sizes: str, *, beside: Collection[str], seed: int
) -> dict[str, list[Example]]:
    """Cuts train and dev, and the other parts of `sizes` that are not `beside` them."""
    all_parts = parse_sizes(sizes)
    parts = {name: all_parts[name] for name in all_parts if name == "train" or name not in beside}
    if "train" not in parts or "dev" not in parts:
        raise UserError(
            f"got --sizes {sizes}; wanted sizes for train and dev, such as "
            "train=0.8,dev=0.1,test=0.1"
        )
    if len(parts) < len(all_parts) and all(size <= 1 for size in parts.values()):
        # Test has a file of its own.
        parts = {name: size / sum(parts.values()) for name, size in parts.items()}
    # Where the classes come from mentions, a part is written and read back by its classes alone.
    return stratified_split([replace(example, spans=None) for example in whole], parts, seed=seed)


def _of_one_kind(examples: Sequence[Example], several: bool, file: str) -> list[Example]:
    """The examples with one class each, or with all they have where a text may have several."""
    tuples = [example for example in examples if isinstance(example.label, tuple)]
    odd = [example.id for example in tuples if len(classes_of(example)) != 1]
    if odd and not several:
        raise DataError(
            f"{file}: {len(odd)} texts have several classes or none (id {some(odd)}), where each "
            "text of train has one; leave these rows out, or leave the classes out to have the "
            "file predicted"
        )
    labels = [classes_of(e) if several or e.label is None else classes_of(e)[0] for e in examples]
    return [
        example if example.label is None else replace(example, label=label)
        for example, label in zip(examples, labels, strict=True)
    ]


def _labels(train: Sequence[Example], several: bool, file: str) -> tuple[str, ...]:
    """The classes of the texts that can be learnt from, sorted."""
    classes = [classes_of(example) for example in train if not is_empty(example)]
    labels = tuple(sorted(set().union(*classes)))
    if len(labels) < (1 if several else 2):
        got = f"all texts are of one class ({labels[0]!r})" if labels else "no text has a class"
        raise DataError(
            f"{file}: {got}, {len(train)} texts of which the empty ones do not count; wanted "
            f"{'a class' if several else 'two classes'} or more, or another column by "
            "--label_column"
        )
    return labels


def write_cut(class_splits: ClassSplits, files: Mapping[str, str], folder: Path) -> list[Path]:
    """Writes dev and test where they have no file of their own: runs are compared on them."""
    written = []
    for split in sorted(set(class_splits.splits) - set(files)):
        written.append(folder / f"{split}.jsonl")
        write_split(written[-1], class_splits.splits[split])
    return written


def oddities(class_splits: ClassSplits) -> list[str]:
    """What is odd within and between splits, one line each, with ids.

    These are rare classes of train, and those that differ only in spelling; empty texts; and in dev
    and test classes without a text, texts of classes that train lacks, which are predicted and
    scored all the same, and texts that train has too.
    """
    train = class_splits.splits["train"]
    counts = Counter(label for example in train for label in classes_of(example))
    rare = [f"{label} ({n})" for label, n in sorted(counts.items()) if n < RARE]
    lines = [f"train: classes with fewer than {RARE} texts: {some(rare)}"] if rare else []
    alike: dict[str, list[str]] = {}
    for label, n in sorted(counts.items()):
        alike.setdefault(_unspelt(label), []).append(f"{label!r} ({n})")
    lines += [
        f"train: classes that differ only in their spelling: {some(names)}; are they one?"
        for names in alike.values()
        if len(names) > 1
    ]
    for split, part in class_splits.splits.items():
        empty = [example.id for example in part if is_empty(example)]
        if empty:
            what = "left out of training" if split == "train" else "predicted all the same"
            lines.append(f"{split}: {counted(len(empty), 'empty text')} (id {some(empty)}); {what}")
        if split != "train":
            lines += _beside_train(split, part, train, set(class_splits.labels))
    return lines


def _beside_train(
    split: str, part: Sequence[Example], train: Sequence[Example], labels: set[str]
) -> list[str]:
    lines = []
    present = set().union(*map(classes_of, part))
    absent = sorted(labels - present)
    if present and absent:
        lines.append(
            f"{split}: no text of {len(absent)} of the {len(labels)} classes, of which its scores "
            f"say nothing: {some(absent)}"
        )
    unknown = [(example.id, sorted(set(classes_of(example)) - labels)) for example in part]
    named = [f"{id} ({', '.join(names)})" for id, names in unknown if names]
    if named:
        lines.append(
            f"{split}: {counted(len(named), 'text')} of classes that train lacks, which cannot be "
            f"predicted: id {some(named)}"
        )
    shared = []
    for group in copies([*train, *part]):
        if group[0] < len(train):
            shared += [part[i - len(train)].id for i in group if i >= len(train)]
    if shared:
        verb = "occurs" if len(shared) == 1 else "occur"
        lines.append(
            f"{split}: {counted(len(shared), 'text')} {verb} word for word in train: id "
            f"{some(shared)}"
        )
    return lines
