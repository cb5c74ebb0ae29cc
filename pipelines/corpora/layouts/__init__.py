"""Every layout of a corpus, as one ordered table: the first whose `sniff` says yes is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pipelines.corpora.corpus import Columns, Table
from pipelines.corpora.layouts import (
    brat,
    conll,
    datasets_layout,
    delimited,
    docbin,
    folders,
    json_layout,
    lines,
    pubtator,
    sequences,
)
from pipelines.corpora.source import Source
from pipelines.errors import UserError


class Layout(NamedTuple):
    """One layout.

    Attributes:
        name: what `--layout` calls it.
        sniff: whether a source has this layout, given that it has none of those before.
        read: the rows of the source; raises a UserError where it cannot be read at all.
    """

    name: str
    sniff: Callable[[Source], bool]
    read: Callable[[Source, Columns], Table]


LAYOUTS = (
    Layout("dataset", datasets_layout.sniff, datasets_layout.read),
    Layout("brat", brat.sniff, brat.read),
    Layout("folders", folders.sniff, folders.read),
    Layout("docbin", docbin.sniff, docbin.read),
    Layout("sequences", sequences.sniff, sequences.read),
    Layout("json", json_layout.sniff, json_layout.read),
    Layout("pubtator", pubtator.sniff, pubtator.read),
    Layout("reviews", lines.sniff_reviews, lines.read_reviews),
    Layout("fasttext", lines.sniff_fasttext, lines.read_fasttext),
    Layout("conll", conll.sniff, conll.read),
    Layout("table", delimited.sniff, delimited.read),
    Layout("lines", lines.sniff_texts, lines.read_texts),
)


def layout_of(source: Source, name: str | None = None) -> Layout | None:
    """The layout with a name, or without one that which the source has; `None` if there is none."""
    for layout in LAYOUTS:
        if layout.name == name or (name is None and layout.sniff(source)):
            return layout
    return None


def read_table(source: Source, columns: Columns) -> Table:
    """The rows of a source, in the layout that it has or that `columns.layout` names.

    Raises:
        UserError: when it has none of the layouts, or cannot be read as the named one.
    """
    layout = layout_of(source, columns.layout)
    if layout is not None:
        return layout.read(source, columns)
    names = ", ".join(layout.name for layout in LAYOUTS)
    if columns.layout is not None:
        raise UserError(f"got --layout {columns.layout}; wanted one of {names}, images")
    raise UserError(
        f"{source.path}: none of the layouts that are read ({names}); it begins "
        f"{source.head[0][:60].rstrip()!r}; --layout names one, data/README.md shows each"
    )
