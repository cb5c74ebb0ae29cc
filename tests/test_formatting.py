"""How numbers and tables are written."""

from __future__ import annotations

import pytest

from pipelines.formatting import count, interval, score, seconds, short_count, size, text_table


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (seconds(None), ""),
        (seconds(0.6), "0.6 s"),
        (seconds(59.4), "59 s"),
        (seconds(90), "1.5 min"),
        (seconds(1027), "17 min"),
        (seconds(5400), "1.5 h"),
        (size(1000), "1000 B"),
        (size(2048), "2 KiB"),
        (size(3 * 2**30), "3.00 GiB"),
        (short_count(999), "999"),
        (short_count(4_884_480), "4.884M"),
        (short_count(1.1e9), "1.1B"),
        (count(12.0), "12"),
        (count(1234.5), "1,234.5"),
        (score(0.5), "50.00"),
        (score(None), ""),
        (score(12.34567, 1), "12.35"),
        (interval((0.1, 0.25)), "[10.00, 25.00]"),
        (interval(None), ""),
    ],
)
def test_figures_with_units(shown, expected):
    assert shown == expected


def test_columns_are_as_wide_as_they_need_be():
    assert text_table(
        ("score", "F1", "meaning"),
        [("strict", "100.00", "all"), ("x", "5.00", "some of it")],
        prose=("meaning",),
    ) == [
        "score       F1  meaning",
        "------  ------  ----------",
        "strict  100.00  all",
        "x         5.00  some of it",
    ]
    assert text_table(("score", "F1"), []) == []
