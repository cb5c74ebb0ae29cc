"""Near duplicates: the most similar text of each, and in time where all texts are alike."""

import random
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.checks import duplicates
from pipelines.checks.duplicates import SIMILAR, near_duplicates, shingles

SENTENCE = "Mutations of the gene cause familial breast cancer in young women."
WORDS = st.lists(st.sampled_from(list("abcdef")), min_size=1, max_size=8).map(" ".join)


def brute_force(texts, others, threshold=SIMILAR):
    """Index -> similarity and index of the most similar of the others, the first of equals."""
    best = {}
    left, right = [[shingles(text) for text in side] for side in (texts, others)]
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            similarity = len(a & b) / len(a | b) if a | b else 0
            if similarity >= threshold:
                best[i] = max(best.get(i, (0, 0)), (similarity, -j))
    return {i: (similarity, -j) for i, (similarity, j) in best.items()}


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    texts=st.lists(WORDS, max_size=12),
    others=st.lists(WORDS, max_size=12),
    threshold=st.sampled_from([0.1, 0.5, SIMILAR, 0.9, 1.0]),
)
def test_few_texts_get_their_most_similar(texts, others, threshold):
    matches = near_duplicates(texts, others, threshold=threshold)
    assert {m.position: (m.similarity, m.other) for m in matches} == brute_force(
        texts, others, threshold
    )
    assert len({match.position for match in matches}) == len(matches)
    similarities = [match.similarity for match in matches]
    assert similarities == sorted(similarities, reverse=True)


DISEASES = [
    "flu",
    "gout",
    "cancer",
    "measles",
    "mumps",
    "asthma",
    "anaemia",
    "diabetes",
    "lupus",
    "sepsis",
]


def template(rng):
    return (
        f"Patient {rng.randrange(100)} of {rng.randrange(10)} came with {rng.choice(DISEASES)} since "
        f"{1980 + rng.randrange(40)}, and was seen by Dr {rng.choice('ABCDEFGHIJKL')} today."
    )


def test_what_is_missed_where_many_are_similar_is_little(monkeypatch):
    monkeypatch.setattr(duplicates, "COMPARED_SHINGLES", 1000)  # some 40 texts of 600
    rng = random.Random(0)
    texts, others = [[template(rng) for _ in range(600)] for _ in range(2)]
    wanted = brute_force(texts, others)
    matches = near_duplicates(texts, others)
    assert 300 < len(wanted) < 600
    # None is similar enough by mistake, 98 % are found, and most of them with their best.
    assert {match.position for match in matches} <= wanted.keys()
    assert len(matches) >= 0.98 * len(wanted)
    best = sum(match.similarity == wanted[match.position][0] for match in matches)
    assert best >= 0.95 * len(matches)


@pytest.mark.extensive
@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda rng: f"Patient {rng.randrange(100)} has gout since {1980 + rng.randrange(40)}.",
        lambda rng: (
            f"Patient {rng.randrange(10**6)} came to the ward with gout of the left foot and was treated."
        ),
    ],
    ids=["two short slots", "one slot of rare numbers"],
)
def test_rows_of_one_template_end_in_time(make):
    rng = random.Random(0)
    texts, others = [[make(rng) for _ in range(10_000)] for _ in range(2)]
    started = time.process_time()
    assert len(near_duplicates(texts, others)) == 10_000
    assert time.process_time() - started < 20


@pytest.mark.slow
def test_rows_of_a_template_with_many_slots_end_in_time():
    rng = random.Random(0)
    texts, others = [[template(rng) for _ in range(10_000)] for _ in range(2)]
    started = time.process_time()
    assert near_duplicates(texts, others)
    assert time.process_time() - started < 60


def test_texts_without_words_are_nobodys_duplicates():
    assert near_duplicates(["...", ""], ["...", "", "a"]) == []


@pytest.mark.parametrize(
    ("changed", "near"),
    [
        (SENTENCE.upper(), True),
        (SENTENCE.replace("cause", "cause a"), True),
        (SENTENCE.replace(".", " !"), True),
        (SENTENCE.replace("familial", "sporadic"), True),
        (SENTENCE[:30], False),
        ("Something else in young women.", False),
    ],
)
def test_a_word_changed_is_a_near_duplicate(changed, near):
    assert bool(near_duplicates([changed], [SENTENCE])) == near
