"""The page from which a person chooses min_freq, remove_frac and the longest sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes

from pipelines.inspection.vocabulary import Cut, VocabularyStudy, facts
from pipelines.reporting import plots
from pipelines.reporting.page import Picture, Section, Table, write_page

BARS = 40  # of the histogram


def write_vocabulary(study: VocabularyStudy, out: str | Path) -> None:
    """Writes tables and pictures as one HTML file that needs nothing else."""
    by_min_freq, by_remove_frac = study.by_min_freq, study.by_remove_frac
    sections = [
        Section("min_freq", "Words that occur at least min_freq times", [
            Picture(_size("size-min-freq", "min_freq", [cut.min_freq for cut in by_min_freq], by_min_freq, log=True),
                    "Vocabulary size"),
            Picture(_unknown("unknown-min-freq", "min_freq", [cut.min_freq for cut in by_min_freq], by_min_freq,
                             log=True), "Unknown words"),
            _table(by_min_freq, "min_freq", lambda cut: str(cut.min_freq))]),
        Section("remove_frac", f"Without the rarest, at min_freq {study.min_freq}", [
            Picture(_size("size-remove-frac", "remove_frac", [cut.remove_frac for cut in by_remove_frac],
                          by_remove_frac), "Vocabulary size"),
            Picture(_unknown("unknown-remove-frac", "remove_frac", [cut.remove_frac for cut in by_remove_frac],
                             by_remove_frac), "Unknown words"),
            _table(by_remove_frac, "remove_frac", lambda cut: f"{cut.remove_frac:.1f}")]),
        Section("length", "Sentence length", [
            Picture(_lengths(study), "Words of a sentence"),
            Table(("share of the sentences", "at most so many words"), [
                (f"{100 * share:g} %", str(study.length_at(share))) for share in (0.5, 0.9, 0.95, 0.99, 0.999, 1.0)])]),
    ]
    write_page("page.html", out, title="Vocabulary", facts=f"{facts(study)}.", sections=sections)


def _table(cuts: Sequence[Cut], name: str, show: Callable[[Cut], str]) -> Table:
    with_dev = cuts[0].unknown_dev is not None
    return Table((name, "words", "unknown, train", *(["unknown, dev"] if with_dev else [])), [
        (show(cut), f"{cut.size:,}", f"{100 * cut.unknown_train:.2f} %",
         *([f"{100 * (cut.unknown_dev or 0):.2f} %"] if with_dev else [])) for cut in cuts])


def _size(name: str, label: str, x: Sequence[float], cuts: Sequence[Cut], *, log: bool = False) -> str:
    def draw(axes: Axes) -> None:
        axes.plot(x, [cut.size for cut in cuts], "-o", color=plots.BLUE, markersize=3.5)
        axes.set(xlabel=label, ylabel="words")
        if log:
            axes.loglog()
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        else:
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")

    return plots.svg(name, draw)


def _unknown(name: str, label: str, x: Sequence[float], cuts: Sequence[Cut], *, log: bool = False) -> str:
    def draw(axes: Axes) -> None:
        axes.plot(x, [100 * cut.unknown_train for cut in cuts], "--o", color=plots.ORANGE, markersize=3.5,
                  label="training")
        if cuts[0].unknown_dev is not None:
            axes.plot(x, [100 * (cut.unknown_dev or 0) for cut in cuts], "-o", color=plots.BLUE, markersize=3.5,
                      label="dev")
        axes.set(xlabel=label, ylabel="% of the words")
        if log:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False)

    return plots.svg(name, draw)


def _lengths(study: VocabularyStudy) -> str:
    longest = max(study.lengths)
    width = max(1, -(-longest // BARS))
    bars = [0] * (longest // width + 1)
    for length, number in study.lengths.items():
        bars[length // width] += number

    def draw(axes: Axes) -> None:
        axes.bar([width * i for i in range(len(bars))], bars, width=0.9 * width, align="edge", color=plots.BLUE)
        axes.set(xlabel="words", ylabel="sentences")

    return plots.svg("lengths", draw)
