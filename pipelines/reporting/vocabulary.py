"""The page from which a person chooses min_freq, remove_frac and the longest sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.inspection.padding import padding_table
from pipelines.inspection.vocabulary import Cut, VocabularyStudy, cut_table, study_facts
from pipelines.reporting import plots
from pipelines.reporting.page import Part, Picture, Section, Table, write_page
from pipelines.reporting.run_facts import Facts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BARS = 40  # of the histogram
SHARES = (0.5, 0.9, 0.95, 0.99, 0.999, 1.0)  # of the sentences


def write_vocabulary(
    study: VocabularyStudy, out: str | Path, *, facts: Facts | None = None
) -> None:
    """Writes tables and pictures as one self-contained HTML file.

    Args:
        facts: what was read, when and where, as `run_facts` gives it, for the header.
    """
    rarest = f"Without the rarest, at min_freq {study.min_freq}"
    sections = [
        Section("min_freq", "Words that occur at least min_freq times", _cuts(study, "min_freq")),
        Section("remove_frac", rarest, _cuts(study, "remove_frac")),
        Section("length", "Sentence length", _lengths(study)),
        Section("padding", "Padding of the batches of an epoch", [_padding(study)]),
    ]
    least, reason = study.recommended
    note = f"{study_facts(study)}. Recommended: --min_freq {least}; {reason}."
    write_page(out, title="Vocabulary", note=note, facts=facts, sections=sections)


def _cuts(study: VocabularyStudy, option: str) -> list[Part]:
    """Vocabulary size and unknown words against one of the two options, and their table."""
    cuts = study.by_min_freq if option == "min_freq" else study.by_remove_frac
    values = [getattr(cut, option) for cut in cuts]
    name = option.replace("_", "-")
    head, rows = cut_table(cuts, option)
    return [
        Picture(plots.svg(f"size-{name}", _draw_sizes(option, values, cuts)), "Vocabulary size"),
        Picture(plots.svg(f"unknown-{name}", _draw_unknown(option, values, cuts)), "Unknown words"),
        Table(head, rows),
    ]


def _draw_sizes(
    option: str, values: Sequence[float], cuts: Sequence[Cut]
) -> Callable[[Axes], None]:
    sizes = [cut.size for cut in cuts]

    def draw(axes: Axes) -> None:
        axes.plot(values, sizes, "-o", color=plots.BLUE, markersize=3.5)
        axes.set(xlabel=option, ylabel="words")
        if option == "min_freq":
            axes.loglog()
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        else:
            axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")

    return draw


def _draw_unknown(
    option: str, values: Sequence[float], cuts: Sequence[Cut]
) -> Callable[[Axes], None]:
    lines = [("training", "--o", plots.ORANGE, [100 * cut.unknown_train for cut in cuts])]
    if cuts[0].unknown_dev is not None:
        lines.append(("dev", "-o", plots.BLUE, [100 * (cut.unknown_dev or 0) for cut in cuts]))

    def draw(axes: Axes) -> None:
        for label, style, color, shares in lines:
            axes.plot(values, shares, style, color=color, markersize=3.5, label=label)
        axes.set(xlabel=option, ylabel="% of the words")
        if option == "min_freq":
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False)

    return draw


def _lengths(study: VocabularyStudy) -> list[Part]:
    """A histogram of the words of a sentence in each file, and the quantiles of training."""
    files = [("training", plots.ORANGE, study.lengths)]
    if study.dev_lengths:
        files.append(("dev", plots.BLUE, study.dev_lengths))
    longest = max(max(lengths) for _, _, lengths in files)
    width = max(1, -(-longest // BARS))  # rounded up
    starts = [width * i for i in range(longest // width + 1)]

    def draw(axes: Axes) -> None:
        for name, color, lengths in files:
            heights = [0.0] * len(starts)
            total = sum(lengths.values())
            for length, sentences in lengths.items():
                heights[length // width] += 100 * sentences / total
            axes.bar(
                starts,
                heights,
                width=0.9 * width,
                align="edge",
                alpha=0.6,
                color=color,
                label=name,
            )
        axes.set(xlabel="words", ylabel="% of the sentences")
        axes.legend(frameon=False)

    rows = [(f"{100 * share:g} %", str(study.length_at(share))) for share in SHARES]
    quantiles = Table(("share of the sentences", "words at most"), rows)
    return [Picture(plots.svg("lengths", draw), "Words of a sentence"), quantiles]


def _padding(study: VocabularyStudy) -> Table:
    head, rows = padding_table(study.padding)
    return Table(head, rows)
