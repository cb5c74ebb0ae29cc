"""The section of a page on silver data: what was kept of it, and how far its teachers agree."""

from __future__ import annotations

from pipelines.examples import Fields
from pipelines.formatting import score, seconds
from pipelines.reporting.page import Section, Table

NOTE = (
    "F1 of spans, offsets and types alike, on the unlabelled texts: what teachers share, right or "
    "wrong."
)


def silver_section(summary: Fields) -> Section:
    """Two tables.

    Args:
        summary: as `families.teachers.teach` gives it.
    """
    share = 100 * summary["kept"] / max(1, summary["texts"])
    words = (
        f"{summary['kept']:,} of {summary['texts']:,} unlabelled texts were kept ({share:.1f} %), "
        f"{summary['texts_with_mentions']:,} of them with mentions, {summary['mentions']:,} "
        "mentions in all."
    )
    rows = [
        (
            row["name"],
            f"{row['mentions']:,}",
            score(row["f1_with_vote"]),
            seconds(row["seconds"]),
        )
        for row in summary["teachers"]
    ]
    own = Table(("teacher", "mentions", "F1 with the vote", "time"), rows, note=NOTE)
    pairs = [(f"{pair['first']}, {pair['second']}", score(pair["f1"])) for pair in summary["pairs"]]
    more = (Table(("teachers", "F1"), pairs, title="Pairs of teachers"),) if pairs else ()
    return Section("silver", "Silver data", (words, own, *more))
