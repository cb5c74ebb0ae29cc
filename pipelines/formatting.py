"""How numbers, names and tables are written for people: scores times 100, times, sizes, columns."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

LONGEST_NAME = 60  # characters of a name or value in a message


def some(names: Iterable[object], most: int = 10) -> str:
    """The first names, separated by commas, and how many more there are: `a, b and 3 more`.

    All is on one line: control characters are escaped, long names are cut.
    """
    names = list(names)
    listed = ", ".join(_shortened(_printable(str(name))) for name in names[:most])
    return f"{listed} and {len(names) - most} more" if len(names) > most else listed


def short_repr(value: object) -> str:
    """The `repr` of a value, cut to `LONGEST_NAME` characters."""
    return _shortened(repr(value))


def _shortened(string: str) -> str:
    return string if len(string) <= LONGEST_NAME else f"{string[: LONGEST_NAME - 1]}…"


def _printable(string: str) -> str:
    if string.isprintable():
        return string
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in string)


def text_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, prose: Collection[str] = ()
) -> list[str]:
    """Lines of a table for a terminal: names to the left, numbers to the right.

    Args:
        head: the names of the columns.
        rows: as many cells as the head has; the first names the row.
        prose: heads of further columns that hold words, and so are aligned to the left.

    Returns:
        The head, a rule and the rows; nothing without rows.
    """
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    is_left = [i == 0 or name in prose for i, name in enumerate(head)]
    lines = []
    for row in (head, ["-" * width for width in widths], *rows):
        columns = zip(row, widths, is_left, strict=True)
        cells = [cell.ljust(width) if left else cell.rjust(width) for cell, width, left in columns]
        lines.append("  ".join(cells).rstrip())
    return lines


def count(number: float) -> str:
    """A count, whole where it is whole: a mean over runs need not be."""
    return f"{number:,.1f}".removesuffix(".0")


def score(value: float | None, scale: float = 100) -> str:
    """A score between 0 and 1 times 100 with two decimals; with scale 1 an error, four digits."""
    if value is None:
        return ""
    return f"{100 * value:.2f}" if scale == 100 else f"{scale * value:.4g}"


def percent(share: float | None) -> str:
    """A share in percent."""
    return "" if share is None else f"{100 * share:.3g} %"


def interval(ends: Sequence[float] | None, scale: float = 100) -> str:
    """The two ends of an interval of scores."""
    return f"[{score(ends[0], scale)}, {score(ends[1], scale)}]" if ends else ""


def seconds(number: float | None) -> str:
    """A duration, in the unit that suits it."""
    if number is None:
        return ""
    if number < 10:
        return f"{number:.2g} s"
    if number < 60:
        return f"{number:.0f} s"
    if number < 600:
        return f"{number / 60:.1f} min"
    minutes = round(number / 60)
    return f"{minutes} min" if minutes < 60 else f"{number / 3600:.1f} h"


def size(number_of_bytes: float | None) -> str:
    """A size in B, KiB, MiB or GiB."""
    if number_of_bytes is None:
        return ""
    for unit in ("B", "KiB", "MiB"):
        if number_of_bytes < 1024:
            return f"{number_of_bytes:.1f}".removesuffix(".0") + f" {unit}"
        number_of_bytes /= 1024
    return f"{number_of_bytes:.2f} GiB"


def energy(watt_hours: float | None) -> str:
    """An energy in mWh, Wh or kWh."""
    if watt_hours is None:
        return ""
    if watt_hours < 0.1:
        return f"{1000 * watt_hours:.2g} mWh"
    return f"{watt_hours:.3g} Wh" if watt_hours < 1000 else f"{watt_hours / 1000:,.2f} kWh"


def short_count(number: float | None) -> str:
    """A number of parameters, such as 134.5M."""
    if number is None:
        return ""
    for unit in ("", "k", "M"):
        if number < 1000:
            return f"{number:.4g}{unit}"
        number /= 1000
    return f"{number:.4g}B"
