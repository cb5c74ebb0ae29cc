"""Padding of an epoch's batches: by hand, and against all ways to draw the batches."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.inspection.padding import expected_positions, padding_as_text, padding_shares


def test_four_rows_by_hand():
    static, dynamic, grouped, sorted_rows = padding_shares(
        [1, 3, 3, 9], batch_size=2, batch_tokens=6
    )
    assert (static.batches, static.positions, static.share) == (2, 36, pytest.approx(20 / 36))
    # Of the 6 pairs 3 have a 9, 3 have a 3 as their longest.
    assert dynamic.positions == pytest.approx(2 * 2 * (9 + 3) / 2)
    assert grouped.positions >= 2 * 9 + 2 * 3
    # 1 and 3 fill 2 x 3; another 3 would make 9 of 6 positions.
    assert (sorted_rows.batches, sorted_rows.positions) == (3, 6 + 3 + 9)
    assert "static: 2 rows, all 9 long" in padding_as_text([static])[2]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 7))
def test_the_expectation_is_the_mean_over_all_orders(lengths, batch_size):
    totals = []
    for order in permutations(lengths):
        batches = [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
        totals.append(sum(len(batch) * max(batch) for batch in batches))
    mean = sum(totals) / len(totals)
    assert expected_positions(lengths, batch_size) == pytest.approx(mean)


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=200),
    st.integers(1, 40),
    st.integers(1, 500),
)
def test_no_batches_are_worse_than_static_ones(lengths, batch_size, batch_tokens):
    static, *others = padding_shares(lengths, batch_size=batch_size, batch_tokens=batch_tokens)
    for padding in others:
        assert sum(lengths) <= padding.positions + 1e-6
        assert padding.positions <= static.positions + 1e-6


def test_rows_of_one_length_need_no_padding():
    shares = padding_shares([5] * 70, batch_size=32, batch_tokens=64)
    assert [padding.share for padding in shares] == pytest.approx([0, 0, 0, 0])
