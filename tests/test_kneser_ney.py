"""Kneser-Ney trigrams: a case worked by hand, the formula by brute force, and that probabilities sum to one."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.evaluation import kneser_ney
from pipelines.evaluation.kneser_ney import KneserNey
from pipelines.evaluation.word_trigrams import Words, fit, fit_spelling, rare_words, trigram_nats
from pipelines.examples import Example

END, UNKNOWN, A, B, C = range(5)
SEQUENCES = [[A, B, END], [A, B, END], [A, C, END]]
sequences = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=8), min_size=1, max_size=8)


def test_a_case_worked_by_hand():
    model = kneser_ney.fit(SEQUENCES, n_symbols=5)
    # D1 = 3 / (3 + 2), D2 falls back to 1/2 (nothing counts twice), D3 = 2 / (2 + 4).
    assert [order.discount for order in model.orders] == pytest.approx([0.6, 0.5, 1 / 3])
    p1 = (1 - 0.6) / 5 + 0.6 * 4 / 5 / 5
    p2 = (1 - 0.5) / 2 + 0.5 * 2 / 2 * p1
    p3 = (2 - 1 / 3) / 3 + (1 / 3) * 2 / 3 * p2
    assert model.probability(B, [A]) == pytest.approx(p3)
    assert model.probability(UNKNOWN, [UNKNOWN, UNKNOWN]) == pytest.approx(0.6 * 4 / 5 / 5)


def test_nothing_precedes_the_begin_mark_so_that_plain_counts_follow_it():
    model = kneser_ney.fit([[A], [A], [A], [B]], n_symbols=5)
    # Counts after the begin mark: 3 and 1; of the orders below 1 and 1. Both discounts fall back.
    p1 = (1 - 0.5) / 2 + 0.5 * 2 / 2 / 5
    assert model.probability(A, []) == pytest.approx((3 - 0.5) / 4 + 0.5 * 2 / 4 * p1)


@given(sequences, st.lists(st.integers(0, 7), max_size=4))
@settings(max_examples=100, deadline=None)
def test_probabilities_sum_to_one_in_every_context(rows, context):
    model = kneser_ney.fit(rows, n_symbols=8)
    probabilities = [model.probability(symbol, context) for symbol in range(8)]
    assert sum(probabilities) == pytest.approx(1, abs=1e-12)
    assert min(probabilities) > 0


@given(sequences)
@settings(max_examples=50, deadline=None)
def test_it_is_the_formula_of_its_docstring(rows):
    model = kneser_ney.fit(rows, n_symbols=6)
    padded = [["^", *row] for row in rows]
    trigrams = [tuple(row[i : i + 3]) for row in padded for i in range(len(row) - 2)]
    firsts = [row[0] for row in rows]
    d1, d2, d3 = (order.discount for order in model.orders)

    def p1(w):
        kinds = {(row[i - 1], row[i]) for row in padded for i in range(1, len(row))}
        followers = {pair[1] for pair in kinds}
        before_w = sum(pair[1] == w for pair in kinds)
        return (max(before_w - d1, 0) + d1 * len(followers) / 6) / len(kinds)

    def p2(v, w):
        after = [trigram[2] for trigram in set(trigrams) if trigram[1] == v]
        seen = firsts if v == "^" else after
        if not seen:
            return p1(w)
        return (max(seen.count(w) - d2, 0) + d2 * len(set(seen)) * p1(w)) / len(seen)

    def p3(u, v, w):
        seen = [trigram[2] for trigram in trigrams if trigram[:2] == (u, v)]
        if not seen:
            return p2(v, w)
        return (max(seen.count(w) - d3, 0) + d3 * len(set(seen)) * p2(v, w)) / len(seen)

    for row in rows:
        expected = [p2("^", row[0])]
        expected += [p3(*before, w) for *before, w in zip(["^", *row], row, row[1:], strict=False)]
        assert np.exp(-model.nats(row)) == pytest.approx(expected)


def test_saved_counts_give_the_same_model():
    model = kneser_ney.fit(SEQUENCES, n_symbols=5)
    again = KneserNey.from_array(model.to_array(), 5)
    assert again.nats([A, B, C, END]).tolist() == model.nats([A, B, C, END]).tolist()


@pytest.mark.parametrize(
    "rows", [np.ones((2, 3)), np.array([[0, 1, 9, 1]]), np.array([[0, 1, 2, 0]])]
)
def test_damaged_counts_are_refused(rows):
    with pytest.raises(ValueError, match="counts"):
        KneserNey.from_array(rows, 5)


def test_an_unknown_word_costs_its_letters():
    spelling = fit_spelling(["ab", "ab", "b"])
    letters = kneser_ney.fit([[2, 3, 0], [3, 0]], n_symbols=4)  # each word once
    assert spelling.nats("ab") == pytest.approx(letters.nats([2, 3, 0]).sum())
    new = letters.nats([1, 3, 0]).sum() + math.log(0x110000)
    assert spelling.nats("βb") == pytest.approx(new)


def test_unknown_words_are_spelt_like_those_that_the_vocabulary_lacks():
    counts = {"the": 3, "a": 1, "of": 2, "x": 1}
    assert rare_words(counts, ["the", "of"]) == ["a", "x"]
    assert rare_words(counts, counts) == ["a", "x"]
    assert rare_words({"the": 2}, ["the"]) == ["the"]


def test_words_of_a_text_and_of_a_vocabulary():
    assert Words().of("The p53-gene.") == ["The", "p53", "-", "gene", "."]
    assert Words(split="blanks", lowercase=True).of("The p53-gene.") == ["the", "p53-gene."]
    counts = {"b": 2, "a": 2, "c": 3, "d": 1}
    assert Words().kept(counts) == ["c", "a", "b"]
    assert Words(vocab_size=2).kept(counts) == ["c", "a"]
    assert Words(min_freq=3).kept(counts) == ["c"]


def test_nats_of_texts_with_and_without_the_letters_of_unknown_words():
    train = [Example("0", "a b"), Example("1", "a b c")]
    texts = [Example("2", "a b"), Example("3", "a d")]
    plain = trigram_nats(train, texts, words=Words(), spelt=False)
    spelt = trigram_nats(train, texts, words=Words(), spelt=True)
    assert plain[:, 1].tolist() == [3, 3]
    assert spelt[0].tolist() == plain[0].tolist()
    model = fit(train, words=Words())
    assert spelt[1, 0] - plain[1, 0] == pytest.approx(model.spelling.nats("d"))
