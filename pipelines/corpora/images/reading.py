"""Reads the pictures of a source: each is opened once, and all that is wrong is reported."""

from __future__ import annotations

import logging
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pipelines.corpora.corpus import ColumnNames, Columns, Corpus, Fault, Unreadable, counted
from pipelines.corpora.images.duplicates import fingerprint, in_both, near_duplicates
from pipelines.corpora.images.paths import archive_file, archive_part
from pipelines.corpora.images.pictures import Picture, PictureError, read_picture
from pipelines.corpora.images.sources import SPLITS, Entry, Listing, listing
from pipelines.corpora.source import Source
from pipelines.corpora.splits.groups import connected
from pipelines.errors import DataError, UserError
from pipelines.examples import Example
from pipelines.formatting import some

logger = logging.getLogger(__name__)

# Options on the columns of a file that mean something for pictures.
_READ = {
    "answer",
    "default_type",
    "group_column",
    "id_column",
    "label_column",
    "layout",
    "max_unzipped",
    "skip_bad_rows",
    "text_column",
}


@dataclass(frozen=True, slots=True)
class ImageCorpus(Corpus):
    """Pictures as read.

    Attributes:
        fingerprints: id -> the fingerprint of its picture, see `duplicates.fingerprint`.
    """

    fingerprints: Mapping[str, np.ndarray] = field(default_factory=dict)


def split_folders(path: str) -> dict[str, str]:
    """Split -> its folder, for a folder or an archive with `train` and others in it.

    Validation folders (`val`, `valid`) are dev. Empty where there is no `train`.

    Raises:
        UserError: for two folders of one split, such as `val` and `dev`.
    """
    part = archive_part(path)
    if part is not None and not part[1]:
        names = {name.split("/")[0] for name in archive_file(str(part[0])).namelist()}
    elif Path(path).is_dir():
        names = {child.name for child in Path(path).iterdir() if child.is_dir()}
    else:
        return {}
    found: dict[str, str] = {}
    for split, known in SPLITS.items():
        own = sorted(name for name in names if name.lower() in known)
        if len(own) > 1:
            raise UserError(
                f"{path}: {' and '.join(own)} are both for {split}; name one by --{split}_file"
            )
        if own:
            found[split] = str(Path(path) / own[0])
    return found if "train" in found else {}


def read_image_corpus(
    source: Source, *, columns: Columns, answer: str | None = None
) -> ImageCorpus:
    """Reads the pictures of a folder, an archive or a table, each once.

    The class of a picture is the name of its folder, or in the row of a table. Near duplicates have
    one `group`, so that a split keeps them together.

    Args:
        columns: what the user named; `text_column` is the column of the paths.
        answer: `label`; `text` ignores the classes; `None` takes what is there.

    Raises:
        UserError: when there is no picture, or the columns of a table are uncertain.
    """
    _refuse_others(source.path, columns, answer)
    found = listing(source, columns)
    wants_label = answer != "text"
    examples: list[Example] = []
    codes: list[np.ndarray] = []
    faults = _empty_folders(source.path, found) if wants_label else []
    changes: defaultdict[str, list[str]] = defaultdict(list)
    ids = Counter(entry.id for entry in found.entries)
    for entry in _shown(found.entries):
        opened = _opened(entry, ids)
        if isinstance(opened, Unreadable):
            reason = opened.reason
            if found.unit == "row" and entry.path and opened.kind == "unreadable_row":
                reason = f"{entry.path}: {reason}"
            fault = Fault(source.path, entry.row, entry.id, opened.kind, reason, unit=found.unit)
            faults.append(fault)
            continue
        for change in opened.changes:
            changes[change].append(str(entry.id))
        codes.append(fingerprint(opened.image))
        label = entry.label if wants_label else None
        example = Example(str(entry.id), "", label=label, group=entry.group, features=entry.path)
        examples.append(example)
    groups = near_duplicates(codes)
    has_label = wants_label and any(example.label is not None for example in examples)
    notes = [*found.notes, *(f"{len(ids)} {what}: {some(ids, 3)}" for what, ids in changes.items())]
    notes += _duplicate_notes(examples, groups)
    return ImageCorpus(
        path=source.path,
        layout=found.layout,
        examples=_grouped(examples, groups),
        faults=faults,
        n_rows=len(found.entries),
        answer="label" if has_label else None,
        column_names=_column_names(found),
        notes=tuple(f"{source.path}: {note}" for note in notes),
        fingerprints={example.id: code for example, code in zip(examples, codes, strict=True)},
    )


def _opened(entry: Entry, ids: Mapping[str | None, int]) -> Picture | Unreadable:
    """The picture of an entry, or what is wrong with it."""
    if entry.fault is not None:
        return Unreadable(entry.fault)
    if entry.id is None:
        return Unreadable("no id", "missing_value")
    if ids[entry.id] > 1:
        return Unreadable(f"{ids[entry.id]} rows have the id {entry.id!r}", "duplicate_id")
    try:
        return read_picture(entry.path)
    except PictureError as error:
        return Unreadable(str(error))


def _shown(entries: Sequence[Entry]) -> Iterable[Entry]:
    return tqdm(entries, desc="reading", unit="picture", disable=not sys.stderr.isatty())


def _refuse_others(path: str, columns: Columns, answer: str | None) -> None:
    """Refuses options that pictures have no use for."""
    if answer not in (None, "label", "text"):
        raise UserError(f"{path}: holds pictures, which have classes; {answer} needs texts")
    changed = [
        f"--{option.name}"
        for option in fields(Columns)
        if option.name not in _READ and getattr(columns, option.name) not in (option.default, False)
    ]
    if changed:
        raise UserError(f"{path}: {', '.join(changed)} has no meaning for pictures; leave it out")


def _empty_folders(path: str, found: Listing) -> list[Fault]:
    """Class folders without a picture."""
    message = "an empty folder of a class; wanted pictures in it, or no such folder"
    return [
        Fault(path, number, name, "missing_value", message, unit="folder")
        for number, name in enumerate(found.empty)
    ]


def _column_names(found: Listing) -> ColumnNames | None:
    path, label, id, group = found.columns
    if path is None:
        return None
    return ColumnNames(text=path, labels=(label,) if label else (), id=id, group=group)


def _grouped(examples: Sequence[Example], groups: Sequence[Sequence[int]]) -> list[Example]:
    """The examples, with one group for near duplicates and the groups they belong to."""
    keys: list[list[str]] = []
    for position, example in enumerate(examples):
        keys.append([f"row {position}", *([f"group {example.group}"] if example.group else [])])
    for number, group in enumerate(groups):
        for position in group:
            keys[position].append(f"copies {number}")
    grouped = list(examples)
    for positions in connected(keys):
        if len(positions) > 1:
            names = sorted({examples[p].group or examples[p].id for p in positions})
            for position in positions:
                grouped[position] = replace(examples[position], group=names[0])
    return grouped


def _duplicate_notes(examples: Sequence[Example], groups: Sequence[Sequence[int]]) -> list[str]:
    """How many pictures are near duplicates, and those among them of different classes."""
    if not groups:
        return []
    several = [[examples[position] for position in group] for group in groups]
    shown = some([" = ".join(example.id for example in group) for group in several], 3)
    n_copies = sum(len(group) - 1 for group in several)
    notes = [f"{counted(n_copies, 'near duplicate')}, kept in one split: {shown}"]
    mixed = [group for group in several if len({example.label for example in group}) > 1]
    if mixed:
        listed = [" = ".join(f"{e.id} ({e.label})" for e in group) for group in mixed]
        notes.append(f"near duplicates of different classes: {some(listed, 3)}")
    return notes


def refuse_texts(path: str, examples: Sequence[Example]) -> None:
    """Requires pictures.

    Raises:
        DataError: for examples that are texts.
    """
    if any(not isinstance(example.features, str) for example in examples):
        raise DataError(
            f"{path}: holds texts; wanted a folder or zip archive of pictures, or a table with a "
            "column of their paths"
        )


def log_shared(corpora: Mapping[str, Corpus]) -> None:
    """Logs pictures of dev and test that are near duplicates of others in train."""
    pictures = {split: c for split, c in corpora.items() if isinstance(c, ImageCorpus)}
    train = pictures.pop("train", None)
    for split, corpus in pictures.items():
        pairs = in_both(train.fingerprints, corpus.fingerprints) if train else []
        if pairs:
            shown = some([f"{second} = {first}" for first, second in pairs], 3)
            number = counted(len(pairs), "picture")
            logger.warning("%s: %s of it nearly in train too: %s", split, number, shown)
