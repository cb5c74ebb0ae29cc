"""Pages of a PDF that are filled from top to bottom, with measured text, tables and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from pipelines.reporting import plots
from pipelines.reporting.documents import column_blocks, texts
from pipelines.reporting.page import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure

# In points: A4, and the margins on each side.
WIDTH, HEIGHT, MARGIN = 595.0, 842.0, 54.0
LINE_WIDTH = WIDTH - 2 * MARGIN
LEADING = 1.35  # of a line, as a multiple of the size of its type
SIZES = (8.0, 7.0, 6.0)  # of a table: the largest that fits
GAP = 10.0  # between columns
NARROWEST = 70.0  # of a column that is wrapped
LINES_KEPT = 8  # of a paragraph: a longer one may go on on the next page
TABLE_KEPT = 240.0  # the height of a table that is not broken over pages
ROWS_KEPT = 3  # with the head of their table on one page


class Font(NamedTuple):
    """How a line of text is set."""

    size: float
    bold: bool = False
    colour: str = plots.INK


class Placed(NamedTuple):
    """A picture with its caption."""

    drawing: plots.Drawing
    caption: str


TITLE, HEADING, SUBHEADING = Font(18, True), Font(14, True), Font(11, True)
TABLE_TITLE, BODY = Font(9, True), Font(9)
NOTE, WARNING = Font(8, colour=plots.FAINT), Font(9, True, plots.ORANGE)


class Pages:
    """Sets text, tables and pictures from top to bottom, on as many pages as they need.

    Args:
        pdf: gets each page when it is full.
    """

    def __init__(self, pdf: PdfPages):
        self.pdf = pdf
        self.number = 0
        self.figure = self._new_figure()
        self.y = HEIGHT - MARGIN  # points above the lower edge, of what comes next

    def close(self) -> None:
        """Writes the last page."""
        self._put(f"{self.number}", WIDTH / 2, MARGIN / 2, NOTE)
        self.pdf.savefig(self.figure)

    def space(self, points: float) -> None:
        """Leaves space, but not at the top of a page."""
        if self.y < HEIGHT - MARGIN:
            self.y -= points

    def need(self, points: float) -> None:
        """Begins a new page where the rest of this one is shorter than that."""
        if self.y - points < MARGIN and self.y < HEIGHT - MARGIN:
            self.close()
            self.figure = self._new_figure()
            self.y = HEIGHT - MARGIN

    def text(self, text: str, font: Font, *, keep: float = 0) -> None:
        """Sets a paragraph.

        Args:
            keep: the points below it that must be on the same page, for a heading.
        """
        lines = wrapped(text, font, LINE_WIDTH)
        if keep or len(lines) <= LINES_KEPT:
            self.need(len(lines) * font.size * LEADING + keep)
        for line in lines:
            self.need(font.size * LEADING)
            self._put(line, MARGIN, self.y - font.size, font)
            self.y -= font.size * LEADING
        self.y -= 2 if lines else 0

    def table(self, table: Table) -> None:
        """Sets a table, its head on each page; one that is too wide is split by columns."""
        rows = texts(table)
        if not rows:
            return
        columns = list(zip(table.head, *rows, strict=True))
        wrap = {i for i, name in enumerate(table.head) if not i or name in table.prose}
        for size in SIZES:
            widths = column_widths(columns, wrap, Font(size))
            if sum(widths) + GAP * (len(widths) - 1) <= LINE_WIDTH:
                break
        else:  # it is split, so that nothing need be small or narrow
            size = SIZES[0]
            natural = _natural_widths(columns, Font(size))
            widths = [min(width, LINE_WIDTH / 2) for width in natural]
        for block in column_blocks([width + GAP for width in widths], LINE_WIDTH + GAP):
            chosen = [widths[column] for column in block]
            block_rows = [[row[column] for column in block] for row in (table.head, *rows)]
            flush_left = {i for i, column in enumerate(block) if column in wrap}
            self._block(block_rows, chosen, flush_left, Font(size))

    def _block(
        self, rows: Sequence[Sequence[str]], widths: Sequence[float], left: set[int], font: Font
    ) -> None:
        head, *body = (
            [wrapped(cell, font, width) or [""] for cell, width in zip(row, widths, strict=True)]
            for row in rows
        )
        heights = [_height(row, font) for row in body]
        kept = sum(heights) if sum(heights) <= TABLE_KEPT else sum(heights[:ROWS_KEPT])
        self.need(_height(head, font) + kept + 8)
        self._head(head, widths, left, font)
        for row, height in zip(body, heights, strict=True):
            if self.y - height < MARGIN:
                self._rule(widths, 0.9)
                self.need(height)
                self._head(head, widths, left, font)
            self._cells(row, widths, left, font)
        self._rule(widths, 0.9)
        self.y -= 4

    def _head(
        self, head: Sequence[Sequence[str]], widths: Sequence[float], left: set[int], font: Font
    ) -> None:
        self._rule(widths, 0.9)
        if any(map(any, head)):
            self._cells(head, widths, left, font._replace(colour=plots.FAINT))
            self._rule(widths, 0.5)

    def _cells(
        self, row: Sequence[Sequence[str]], widths: Sequence[float], left: set[int], font: Font
    ) -> None:
        x = MARGIN
        for column, (lines, width) in enumerate(zip(row, widths, strict=True)):
            for number, line in enumerate(lines):
                shift = 0.0 if column in left else width - text_width(line, font)
                y = self.y - font.size * (1.15 + number * LEADING)
                self._put(line, x + shift, y, font)
            x += width + GAP
        self.y -= _height(row, font)

    def _rule(self, widths: Sequence[float], thickness: float) -> None:
        from matplotlib.lines import Line2D

        end = MARGIN + sum(widths) + GAP * (len(widths) - 1)
        y = self.y / HEIGHT
        rule = Line2D([MARGIN / WIDTH, end / WIDTH], [y, y], color=plots.INK, linewidth=thickness)
        self.figure.add_artist(rule)

    def pictures(self, row: Sequence[Placed]) -> None:
        """Draws pictures side by side in their own size or smaller, each above its caption."""
        column = (LINE_WIDTH - 2 * GAP * (len(row) - 1)) / len(row)
        captions = [wrapped(own.caption, NOTE, column) for own in row]
        text_height = max(map(len, captions)) * NOTE.size * LEADING + 8
        largest = HEIGHT - 2 * MARGIN - text_height
        sizes = [_fitting_size(own.drawing.inches, column, largest) for own in row]
        height = max(height for _, height in sizes)
        self.need(height + text_height)
        for number, (own, size) in enumerate(zip(row, sizes, strict=True)):
            left = MARGIN + number * (column + 2 * GAP)
            axes = self.figure.add_axes((0.1, 0.1, 0.5, 0.5))
            own.drawing.draw(axes)
            _fit(axes, (left, self.y - size[1], *size))
            for line, text in enumerate(captions[number]):
                below = height + 4 + NOTE.size + line * NOTE.size * LEADING
                self._put(text, left, self.y - below, NOTE)
        self.y -= height + text_height

    def _new_figure(self) -> Figure:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.number += 1
        figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72), facecolor="white")
        FigureCanvasAgg(figure)
        return figure

    def _put(self, text: str, x: float, y: float, font: Font) -> None:
        weight = "bold" if font.bold else "normal"
        self.figure.text(
            x / WIDTH,
            y / HEIGHT,
            text,
            parse_math=False,
            fontsize=font.size,
            fontweight=weight,
            color=font.colour,
        )


def _fitting_size(inches: tuple[float, float], width: float, height: float) -> tuple[float, float]:
    """Width and height of a picture in points, made smaller to fit."""
    own_width, own_height = 72 * inches[0], 72 * inches[1]
    scale = min(1.0, width / own_width, height / own_height)
    return scale * own_width, scale * own_height


def _fit(axes: Axes, box: tuple[float, float, float, float]) -> None:
    """Places axes so that they and what is written around them fill a box, in points."""
    left, bottom, width, height = box
    figure = axes.figure
    inner = box
    for _ in range(3):  # labels change a little as the axes do
        frame = (inner[0] / WIDTH, inner[1] / HEIGHT, inner[2] / WIDTH, inner[3] / HEIGHT)
        axes.set_position(frame)
        around = axes.get_tightbbox()
        if around is None:
            return
        own = axes.get_window_extent()
        points = 72 / figure.dpi
        before_x, before_y = (own.x0 - around.x0) * points, (own.y0 - around.y0) * points
        after_x, after_y = (around.x1 - own.x1) * points, (around.y1 - own.y1) * points
        inner = (
            left + before_x,
            bottom + before_y,
            max(width - before_x - after_x, 20.0),
            max(height - before_y - after_y, 20.0),
        )


def _height(row: Sequence[Sequence[str]], font: Font) -> float:
    return max(len(lines) for lines in row) * font.size * LEADING + 1.5


def column_widths(columns: Sequence[Sequence[str]], wrap: set[int], font: Font) -> list[float]:
    """The widths of columns in points; heads are wrapped, and where space is short, prose too.

    Args:
        columns: head and cells of each.
        wrap: the columns whose cells may be wrapped.
    """
    natural = _natural_widths(columns, font)
    gaps = GAP * (len(columns) - 1)
    if sum(natural) + gaps <= LINE_WIDTH:
        return natural
    widths = []
    for head, *cells in columns:
        words = [*head.split(), *cells]
        widths.append(max((text_width(text, font) for text in words), default=0.0))
    left = LINE_WIDTH - gaps - sum(width for i, width in enumerate(widths) if i not in wrap)
    # The narrow ones keep their width; the others share what is left.
    for position, i in enumerate(sorted(wrap, key=lambda i: widths[i])):
        share = left / (len(wrap) - position)
        widths[i] = min(widths[i], max(share, NARROWEST))
        left -= widths[i]
    return widths


def _natural_widths(columns: Sequence[Sequence[str]], font: Font) -> list[float]:
    return [max(text_width(text, font) for text in column) for column in columns]


def wrapped(text: str, font: Font, width: float) -> list[str]:
    """Lines that are at most as wide as that, in points; a longer word is broken."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if text_width(longer, font) <= width + 0.01:
            line = longer
            continue
        if line:
            lines.append(line)
        while text_width(word, font) > width + 0.01 and len(word) > 1:
            fitting = _fitting(word, font, width)
            lines.append(word[:fitting])
            word = word[fitting:]
        line = word
    return [*lines, line] if line else lines


def _fitting(word: str, font: Font, width: float) -> int:
    """How many characters fit, at least one."""
    count = 1
    while count < len(word) and text_width(word[: count + 1], font) <= width:
        count += 1
    return count


def text_width(text: str, font: Font) -> float:
    """The width of text in points."""
    return font.size * _relative_width(text, font.bold)


@cache
def _relative_width(text: str, bold: bool) -> float:
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=100, weight="bold" if bold else "normal")
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, False)
    return float(width) / 100
