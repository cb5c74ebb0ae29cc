"""How numbers and tables are written for people: scores times 100, times, sizes, and columns for a terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def some(names: Sequence[object], most: int = 10) -> str:
    """The first names, separated by commas, and how many more there are: ``a, b and 3 more``."""
    shown = ", ".join(map(str, names[:most]))
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, prose: Collection[str] = ()) -> list[str]:
    """Lines with columns as wide as they need be: names to the left, numbers to the right; nothing without rows.

    Args:
        rows: as many cells as the head has; the first names the row.
        prose: heads of further columns that hold words, and so stand to the left.
    """
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    left = [i == 0 or name in prose for i, name in enumerate(head)]
    return ["  ".join(cell.ljust(width) if to_left else cell.rjust(width)
                      for cell, width, to_left in zip(row, widths, left, strict=True)).rstrip()
            for row in (head, ["-" * width for width in widths], *rows)]


def count(number: float) -> str:
    """Whole where it is whole: a mean over runs need not be."""
    return f"{number:,.1f}".removesuffix(".0")


def score(value: float | None, scale: float = 100) -> str:
    """Two decimals of a score between 0 and 1 times 100; four digits of an error or a perplexity (scale 1)."""
    return "" if value is None else f"{100 * value:.2f}" if scale == 100 else f"{scale * value:.4g}"


def interval(ends: Sequence[float] | None, scale: float = 100) -> str:
    return f"[{score(ends[0], scale)}, {score(ends[1], scale)}]" if ends else ""


def seconds(number: float | None) -> str:
    if number is None:
        return ""
    if number < 60:
        return f"{number:.2g} s" if number < 10 else f"{number:.0f} s"
    minutes = round(number / 60)
    return f"{number / 60:.1f} min" if number < 600 else f"{minutes} min" if minutes < 60 else f"{number / 3600:.1f} h"


def size(number_of_bytes: float | None) -> str:
    if number_of_bytes is None:
        return ""
    for unit in ("B", "KiB", "MiB"):
        if number_of_bytes < 1024:
            return f"{number_of_bytes:.1f}".removesuffix(".0") + f" {unit}"
        number_of_bytes /= 1024
    return f"{number_of_bytes:.2f} GiB"


def short_count(number: float | None) -> str:
    """A number of parameters, such as 134.5M."""
    if number is None:
        return ""
    for unit in ("", "k", "M"):
        if number < 1000:
            return f"{number:.4g}{unit}"
        number /= 1000
    return f"{number:.4g}B"
