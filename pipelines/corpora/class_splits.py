"""Train, dev and test of texts with classes: given as files or cut from one, and what is wrong between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.corpora import Columns, Corpus, good_rows, read_corpora
from pipelines.corpora.splits import classes_of, copies, parse_sizes, splits_as_text, stratified_split, write_split
from pipelines.errors import DataError, UserError
from pipelines.examples import Example

SHOWN = 10


@dataclass(frozen=True, slots=True)
class ClassSplits:
    """What a classifier is trained, chosen and tested on.

    Attributes:
        splits: `train`, `dev` and, where there is one, `test`, as given: dev and test are predicted whole.
        labels: the classes of the training texts that are not empty.
        multi_label: whether a text may have several.
        corpora: the files as read.
    """

    splits: dict[str, list[Example]]
    labels: tuple[str, ...]
    multi_label: bool
    corpora: dict[str, Corpus]

    def usable(self, split: str) -> list[Example]:
        """The labelled texts of a split that a model of these classes can learn from or be chosen on."""
        return [example for example in self.splits[split] if example.text.strip() and example.label is not None
                and set(classes_of(example)) <= set(self.labels)]


def read_class_splits(files: Mapping[str, str], *, columns: Columns, sizes: str, seed: int,
                      skip_bad_rows: bool = False, told: Callable[[str], object] = print) -> ClassSplits:
    """Reads the files; where there is no dev file, cuts dev (and without a test file test) from train by class.

    Train says which columns hold the classes, and train and dev whether a text may have several. A test file that lacks
    these columns is unlabelled. What the splits have against each other is told: empty texts and classes that training
    lacks, which are predicted and scored but not trained on, and texts of dev and test that stand in train.

    Args:
        files: `train` and perhaps `dev` and `test`.
        sizes: see `parse_sizes`; a part that has a file of its own is not cut.

    Raises:
        DataError: for bad rows, a single class, texts without a class in train or dev, a dev that decides nothing,
            several classes of a text in test alone.
        UserError: for files that cannot be read.
    """
    if "train" not in files:
        raise UserError("got a dev or test file without --train_file; give all that are to be used")
    ordered = {split: files[split] for split in sorted(files, key=lambda name: name != "train")}
    corpora = read_corpora(ordered, columns=columns, answer="label")
    splits: dict[str, list[Example]] = {}
    for split, corpus in corpora.items():
        for line in corpus.described():
            told(line)
        splits[split] = good_rows(corpus, skip_bad_rows=skip_bad_rows)
    several = any(isinstance(example.label, tuple) for split in ("train", "dev") for example in splits.get(split, ()))
    splits = {split: _of_one_kind(part, several, files[split]) for split, part in splits.items()}
    for split in ("train", "dev"):
        unlabelled = [example.id for example in splits.get(split, ()) if example.label is None]
        if unlabelled:
            raise DataError(f"{files[split]}: {len(unlabelled)} texts without a class ({_some(unlabelled)}); "
                            f"--{split}_file needs them, and --label_column names another column")
    labels = _labels(splits["train"], several, files["train"])
    if "dev" not in splits:
        whole = splits.pop("train")
        parts = {name: size for name, size in parse_sizes(sizes).items() if name == "train" or name not in splits}
        if "train" not in parts or "dev" not in parts:
            raise UserError(f"got --sizes {sizes}; wanted sizes for train and dev, such as train=0.8,dev=0.1,test=0.1")
        if set(parts) < set(parse_sizes(sizes)) and all(size <= 1 for size in parts.values()):
            parts = {name: size / sum(parts.values()) for name, size in parts.items()}  # test has a file of its own
        # Where the classes come from mentions, a part is written and read back by its classes alone.
        cut = stratified_split([replace(example, spans=None) for example in whole], parts, seed=seed)
        told(splits_as_text(whole, cut))
        splits = cut | splits
        labels = _labels(splits["train"], several, f"{files['train']}, without what was cut from it")
    found = ClassSplits(splits, labels, several, corpora)
    if not found.usable("dev"):
        raise DataError(f"{files.get('dev', files['train'])}: no text of dev decides anything: all "
                        f"{len(splits['dev'])} are empty or of classes that train lacks; wanted texts of "
                        f"{_some(labels)}")
    for message in complaints(found):
        told(message)
    return found


def _of_one_kind(examples: Sequence[Example], several: bool, file: str) -> list[Example]:
    """The examples with one class each, or where a text may have several, with as many as they have."""
    odd = [example.id for example in examples if isinstance(example.label, tuple) and len(example.label) != 1]
    if odd and not several:
        raise DataError(f"{file}: {len(odd)} texts have several classes or none (id {_some(odd)}), where each text of "
                        "train has one; leave these rows out, or leave the classes out to have the file predicted")
    return [example if example.label is None else
            replace(example, label=classes_of(example) if several else classes_of(example)[0]) for example in examples]


def _labels(train: Sequence[Example], several: bool, file: str) -> tuple[str, ...]:
    """The classes of the texts that can be learnt from, sorted."""
    labels = tuple(sorted({label for example in train if example.text.strip() for label in classes_of(example)}))
    if len(labels) < (1 if several else 2):
        got = f"all texts are of one class ({labels[0]!r})" if labels else "no text has a class"
        raise DataError(f"{file}: {got}, {len(train)} texts of which the empty ones do not count; wanted "
                        f"{'a class' if several else 'two classes'} or more, or another column by --label_column")
    return labels


def write_cut(found: ClassSplits, files: Mapping[str, str], folder: Path) -> list[Path]:
    """Writes dev and test where they have no file of their own: runs are compared on them, and errors looked up."""
    written = []
    for split in sorted(set(found.splits) - set(files)):
        written.append(folder / f"{split}.jsonl")
        write_split(written[-1], found.splits[split])
    return written


def complaints(found: ClassSplits) -> list[str]:
    """What is odd within and between splits, one line each, the ids named."""
    lines = []
    train = found.splits["train"]
    frequency = Counter(label for example in train for label in classes_of(example))
    rare = [f"{label} ({count})" for label, count in sorted(frequency.items()) if count < 5]
    if rare:
        lines.append(f"train: classes with fewer than 5 texts: {_some(rare)}")
    for split, part in found.splits.items():
        empty = [example.id for example in part if not example.text.strip()]
        if empty:
            lines.append(f"{split}: {len(empty)} empty texts (id {_some(empty)}); "
                         + ("left out of training" if split == "train" else "predicted all the same"))
        if split != "train":
            new = [f"{example.id} ({', '.join(set(classes_of(example)) - set(found.labels))})" for example in part
                   if not set(classes_of(example)) <= set(found.labels)]
            if new:
                lines.append(f"{split}: {len(new)} texts of classes that train lacks, which cannot be right: id "
                             f"{_some(new)}")
            groups = copies([*train, *part])
            shared = [part[place - len(train)].id for group in groups if group[0] < len(train) for place in group
                      if place >= len(train)]
            if shared:
                lines.append(f"{split}: {len(shared)} texts stand word for word in train: id {_some(shared)}")
    return lines


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
