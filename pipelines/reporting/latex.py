"""A document as LaTeX: booktabs tables that break over pages, pictures as PDF files beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipelines.corpora.writing import replacing
from pipelines.reporting.documents import (
    Chapter,
    Document,
    column_blocks,
    drawing_of,
    fact_rows,
    figures_folder,
    texts,
)
from pipelines.reporting.page import Part, Picture, Table
from pipelines.reporting.pdf import write_picture
from pipelines.reporting.plots import Drawing
from pipelines.runs.run import replacing_folder

PREAMBLE = r"""\documentclass[a4paper,10pt]{article}
\usepackage{iftex}
\ifPDFTeX
  \usepackage[utf8]{inputenc}
  \usepackage[T1]{fontenc}
  \usepackage{textcomp}
\else
  \usepackage{fontspec}
\fi
\usepackage[margin=20mm]{geometry}
\usepackage{array,booktabs,longtable,graphicx}
\setlength{\parindent}{0pt}
\setlength{\parskip}{4pt}
\setlength{\tabcolsep}{4pt}
\setlength{\LTleft}{0pt}
\raggedbottom
"""
ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "[": "{[}",  # neither the option nor the star of a \\ before it
    "*": "{*}",
    "]": "{]}",
    "–": "--",
    "—": "---",
    "“": "``",
    "”": "''",
    "…": r"\dots{}",
}
# Signs that only mathematics has in pdfTeX's fonts.
MATHEMATICS = {
    "−": "-",
    "×": r"\times",
    "·": r"\cdot",
    "±": r"\pm",
    "≥": r"\geq",
    "≤": r"\leq",
    "≠": r"\neq",
    "≈": r"\approx",
    "→": r"\rightarrow",
    "←": r"\leftarrow",
    "↓": r"\downarrow",
    "↑": r"\uparrow",
    "²": "{}^2",
    "√": r"\surd",
    "Σ": r"\Sigma",
    "Δ": r"\Delta",
    "α": r"\alpha",
    "β": r"\beta",
    "γ": r"\gamma",
    "δ": r"\delta",
    "κ": r"\kappa",
    "λ": r"\lambda",
    "μ": r"\mu",
    "σ": r"\sigma",
    "τ": r"\tau",
}
ESCAPES |= {sign: f"${command}$" for sign, command in MATHEMATICS.items()}
_SPECIAL = re.compile("|".join(map(re.escape, ESCAPES)))
LINE = 118  # characters of \footnotesize between the margins
GAP = 3  # characters between two columns
LONGEST_NAME = 40  # characters; longer names are wrapped
MAX_INCHES = 6.5


def write(document: Document, out: Path) -> list[Path]:
    """Writes the file, and `NAME-tex-figures/` beside it where it has pictures."""
    folder = figures_folder(out)
    pictures: dict[str, Drawing] = {}
    lines = [PREAMBLE + rf"\title{{{escaped(document.title)}}}"]
    authors = r" \and ".join(map(escaped, document.authors))
    lines += [rf"\author{{{authors}}}", r"\date{}", r"\begin{document}", r"\maketitle"]
    for number, chapter in enumerate(document.chapters, start=1):
        lines += _chapter(chapter, f"{folder.name}/{number}", pictures)
    lines += [r"\end{document}", ""]
    if pictures:
        with replacing_folder(folder) as partial:
            for name, drawing in pictures.items():
                write_picture(drawing, partial / Path(name).name)
    with replacing(out) as f:
        f.write("\n".join(lines))
    return [out, folder] if pictures else [out]


def escaped(text: str) -> str:
    """Text that LaTeX sets as it is, on one line."""
    text = "".join(sign if sign.isprintable() else " " for sign in " ".join(text.split()))
    return _SPECIAL.sub(lambda found: ESCAPES[found.group()], text)


def _chapter(chapter: Chapter, prefix: str, pictures: dict[str, Drawing]) -> Iterator[str]:
    yield from ("", rf"\section{{{escaped(chapter.title)}}}", escaped(chapter.note), "")
    for warning in chapter.warnings:
        yield from (rf"\textbf{{Warning:}} {escaped(warning)}", "")
    facts = list(fact_rows(chapter.facts))
    if facts:
        yield from table_lines(("what was run", ""), facts, {""})
    for section in chapter.sections:
        yield rf"\subsection{{{escaped(section.title)}}}"
        for part in section.parts:
            yield from _part(part, f"{prefix}-{section.id}", pictures)


def _part(part: Part, prefix: str, pictures: dict[str, Drawing]) -> Iterator[str]:
    if isinstance(part, str):
        yield from (escaped(part), "")
    elif isinstance(part, Table):
        if part.title:
            yield rf"\subsubsection*{{{escaped(part.title)}}}"
        yield from table_lines(part.head, texts(part), set(part.prose))
        if part.note:
            yield from (rf"{{\small\itshape {escaped(part.note)}\par}}", "")
    elif isinstance(part, Picture):
        drawing = drawing_of(part)
        if isinstance(drawing, Drawing):
            name = f"{prefix}-{len(pictures) + 1}.pdf"
            pictures[name] = drawing
            yield from _figure(part, name, drawing.inches[0])


def _figure(picture: Picture, name: str, inches: float) -> Iterator[str]:
    # Not a float: a picture stays in its section.
    width = f"{min(inches, MAX_INCHES):.2f}in"
    caption = f"{picture.title}. {picture.note}".strip()
    yield r"\begin{center}\begin{minipage}{\linewidth}\centering"
    yield rf"\includegraphics[width={width}]{{{name}}}\\"
    yield rf"{{\small {escaped(caption)}}}"
    yield r"\end{minipage}\end{center}"


def table_lines(
    head: Sequence[str], rows: Sequence[Sequence[str]], prose: set[str]
) -> Iterator[str]:
    """Lines of a table that repeats its head on each page; one that is too wide is split."""
    if not rows:
        return
    columns = list(zip(head, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    wrapped = {i for i, name in enumerate(head) if name in prose}
    if widths[0] > LONGEST_NAME:
        wrapped.add(0)
    limits = _limited(widths, wrapped)
    padded = [width + GAP for width in limits]
    for block in column_blocks(padded, LINE):
        specification = ""
        for column in block:
            share = (limits[column] + 2) / LINE
            paragraph = rf">{{\raggedright\arraybackslash}}p{{{share:.2f}\linewidth}}"
            left_or_right = "l" if not column else "r"
            specification += paragraph if column in wrapped else left_or_right
        yield r"{\footnotesize"
        yield rf"\begin{{longtable}}{{@{{}}{specification}@{{}}}}"
        named = rf"{_row(head, block)} \midrule" if any(head[column] for column in block) else ""
        yield rf"\toprule {named}\endhead"
        yield r"\bottomrule\endfoot"
        for row in rows:
            yield _row(row, block)
        yield r"\end{longtable}}"


def _limited(widths: Sequence[int], wrapped: set[int]) -> list[int]:
    """The widths in characters, those of wrapped columns cut to what is left on the line."""
    fixed = sum(width for i, width in enumerate(widths) if i not in wrapped)
    left = LINE - GAP * len(widths) - fixed
    natural = sum(widths[i] for i in wrapped)
    limits = list(widths)
    if natural > left:
        for i in wrapped:
            share = max(left, 0) * widths[i] // natural
            limits[i] = min(widths[i], max(share, 20))
    return limits


def _row(cells: Sequence[str], block: Sequence[int]) -> str:
    return " & ".join(escaped(cells[column]) for column in block) + r" \\"
