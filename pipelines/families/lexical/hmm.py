"""A hidden Markov model of tags, as in TnT (Brants 2000): closed form, no training loop.

Tags follow one another by interpolated unigrams, bigrams and trigrams (section 2.1, weights by
deleted interpolation, figure 1); a word that training lacks is read by its ending (section 2.3).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.examples import Fields, JsonObject
from pipelines.families.lexical.sequences import log_sum

EDGE = 0  # the state before the first and after the last tag; tags count from 1
LONGEST_SUFFIX = 10
SMOOTHING = 1.0  # of an occurrence, spread over the tags of a known word by its ending
RARE = 10  # words that occur at most this often teach the endings of unknown ones


@dataclass(frozen=True)
class HiddenMarkovModel:
    """Counts, and the probabilities that follow from them.

    Attributes:
        tags: S tags; state s + 1 is tag s.
        trigrams: (S + 1, S + 1, S + 1) counts of three states in a row.
        words: word -> tag -> how often.
    """

    tags: tuple[str, ...]
    trigrams: np.ndarray
    words: Mapping[str, Mapping[str, int]]

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "_transitions", _log(transition_probabilities(self.trigrams, self.tags))
        )
        object.__setattr__(self, "_endings", Endings.of(self.words, self.tags))
        totals = Counter[str]()
        for counts in self.words.values():
            totals.update(counts)
        object.__setattr__(
            self, "_totals", np.array([max(1, totals[tag]) for tag in self.tags], float)
        )

    def tag(self, words: Sequence[str]) -> tuple[list[int], np.ndarray]:
        """The indices of the best tags of T words, and the (T, S) probabilities of all tags."""
        transitions: np.ndarray = self._transitions  # type: ignore[attr-defined]
        emissions = np.stack([self._emission(word) for word in words])  # (T, S + 1)
        return best_path(transitions, emissions), probabilities(transitions, emissions)

    def _emission(self, word: str) -> np.ndarray:
        """(S + 1,) log P(word | tag), up to a constant for an unknown word."""
        endings: Endings = self._endings  # type: ignore[attr-defined]
        totals: np.ndarray = self._totals  # type: ignore[attr-defined]
        counts = self.words.get(word)
        shares = endings.shares(word)
        if counts is None:
            likelihood = shares / endings.prior
        else:
            # TnT has no smoothing here: a sentence of words that were never seen with legal tags
            # would have no path.
            likelihood = (
                np.array([counts.get(tag, 0) for tag in self.tags]) + SMOOTHING * shares
            ) / totals
        return np.concatenate([[-np.inf], _log(likelihood)])


def fit(
    sentences: Sequence[tuple[Sequence[str], Sequence[str]]], tags: Sequence[str]
) -> HiddenMarkovModel:
    """Counts words and tags.

    Args:
        sentences: the words and the tags of each.
        tags: all that occur, `O` first.
    """
    state = {tag: index + 1 for index, tag in enumerate(tags)}
    trigrams = np.zeros((len(tags) + 1,) * 3, dtype=np.int64)
    words: dict[str, Counter[str]] = defaultdict(Counter)
    for spoken, given in sentences:
        states = [EDGE, EDGE, *(state[tag] for tag in given), EDGE]
        for three in zip(states, states[1:], states[2:], strict=False):
            trigrams[three] += 1
        for word, tag in zip(spoken, given, strict=True):
            words[word][tag] += 1
    return HiddenMarkovModel(tuple(tags), trigrams, words)


def transition_probabilities(trigrams: np.ndarray, tags: Sequence[str]) -> np.ndarray:
    """(S + 1, S + 1, S + 1) P(third | first, second), interpolated; 0 for an illegal `I`."""
    bigrams, unigrams = (
        trigrams.sum(axis=0),
        trigrams.sum(axis=(0, 1)),
    )  # of the last two, of the last
    by_three = _shares(trigrams)
    by_two = _shares(bigrams)
    by_one = _shares(unigrams)
    weights = interpolation_weights(trigrams)
    mixed = weights[0] * by_one + weights[1] * by_two[None] + weights[2] * by_three
    for second, third in illegal_pairs(tags):
        mixed[:, second, third] = 0.0
    total: np.ndarray = _shares(mixed)
    return total


def interpolation_weights(trigrams: np.ndarray) -> np.ndarray:
    """(3,) weights of 1-, 2- and 3-grams by deleted interpolation (Brants 2000, figure 1)."""
    bigrams, unigrams = trigrams.sum(axis=0), trigrams.sum(axis=(0, 1))
    history, pairs, total = trigrams.sum(axis=2), bigrams.sum(axis=1), unigrams.sum()
    weights = np.zeros(3)
    for first, second, third in np.argwhere(trigrams > 0):
        count = trigrams[first, second, third]
        # Each estimate without the trigram that it is tried on.
        left_out = [
            _ratio(unigrams[third] - 1, total - 1),
            _ratio(bigrams[second, third] - 1, pairs[second] - 1),
            _ratio(count - 1, history[first, second] - 1),
        ]
        weights[int(np.argmax(left_out[::-1]) * -1 + 2)] += count
    return weights / weights.sum() if weights.sum() else np.array([1.0, 0.0, 0.0])


def illegal_pairs(tags: Sequence[str]) -> list[tuple[int, int]]:
    """States that cannot follow one another: `I-X` has to follow `B-X` or `I-X`."""
    return [
        (before, after + 1)
        for after, tag in enumerate(tags)
        if tag.startswith("I-")
        for before in range(len(tags) + 1)
        if before == EDGE or tags[before - 1][2:] != tag[2:]
    ]


def best_path(transitions: np.ndarray, emissions: np.ndarray) -> list[int]:
    """Tag indices of the best path.

    Args:
        transitions: (S + 1, S + 1, S + 1) log probabilities.
        emissions: (T, S + 1) log likelihoods.
    """
    score = np.full(transitions.shape[:2], -np.inf)  # of the last two states
    score[EDGE, EDGE] = 0.0
    pointers = []
    for emission in emissions:
        through = score[:, :, None] + transitions  # (first, second, third)
        pointers.append(through.argmax(axis=0))  # (second, third) -> first
        score = through.max(axis=0) + emission
    score = score + transitions[:, :, EDGE]
    before, last = np.unravel_index(int(score.argmax()), score.shape)
    path = [int(last), int(before)]
    for pointer in pointers[:0:-1]:
        path.append(int(pointer[path[-1], path[-2]]))
    return [state - 1 for state in path[::-1][-len(emissions) :]]


def probabilities(transitions: np.ndarray, emissions: np.ndarray) -> np.ndarray:
    """(T, S) probabilities of the tags, by forward and backward sums over pairs of states."""
    start = np.full(transitions.shape[:2], -np.inf)
    start[EDGE, EDGE] = 0.0
    forward = [start]
    for emission in emissions:
        forward.append(log_sum(forward[-1][:, :, None] + transitions, axis=0) + emission)
    backward = [transitions[:, :, EDGE]]  # (second, third)
    for emission in emissions[:0:-1]:
        backward.append(log_sum(transitions + (emission + backward[-1])[None], axis=2))
    pairs = np.stack(forward[1:]) + np.stack(backward[::-1])  # (T, before, now)
    now = log_sum(pairs, axis=1)  # (T, S + 1)
    shares: np.ndarray = np.exp(now - log_sum(now, axis=1)[:, None])[:, 1:]
    return shares


@dataclass(frozen=True)
class Endings:
    """What the endings of rare words say of their tags, capitalised words apart.

    Attributes:
        counts: (capitalised, ending) -> (S,) counts of tags.
        prior: (S,) shares of the tags.
        theta: weight of the shorter ending (Brants 2000, equation 10).
    """

    counts: Mapping[tuple[bool, str], np.ndarray]
    prior: np.ndarray
    theta: float

    @classmethod
    def of(cls, words: Mapping[str, Mapping[str, int]], tags: Sequence[str]) -> Endings:
        """Counts the endings of all words that occur at most `RARE` times."""
        counts: dict[tuple[bool, str], np.ndarray] = defaultdict(lambda: np.zeros(len(tags)))
        prior = np.zeros(len(tags))
        for word, by_tag in words.items():
            row = np.array([by_tag.get(tag, 0) for tag in tags], float)
            prior += row
            if row.sum() <= RARE:
                for length in range(min(LONGEST_SUFFIX, len(word)) + 1):
                    counts[word[:1].isupper(), word[len(word) - length :]] += row
        prior = (prior + 1) / (prior + 1).sum()
        return cls(dict(counts), prior, float(prior.std(ddof=1)) if len(tags) > 1 else 0.0)

    def shares(self, word: str) -> np.ndarray:
        """(S,) P(tag | ending)."""
        capitalised = word[:1].isupper()
        share = self.prior
        for length in range(min(LONGEST_SUFFIX, len(word)) + 1):
            counts = self.counts.get((capitalised, word[len(word) - length :]))
            if counts is None:
                break
            share = (counts / counts.sum() + self.theta * share) / (1 + self.theta)
        return share


def to_json(model: HiddenMarkovModel) -> JsonObject:
    """The counts as plain values."""
    return {
        "tags": list(model.tags),
        "trigrams": model.trigrams.tolist(),
        "words": {word: dict(counts) for word, counts in model.words.items()},
    }


def from_json(content: Fields) -> HiddenMarkovModel:
    """The model of such counts."""
    return HiddenMarkovModel(
        tuple(content["tags"]), np.array(content["trigrams"], dtype=np.int64), content["words"]
    )


def _shares(counts: np.ndarray) -> np.ndarray:
    totals = counts.sum(axis=-1, keepdims=True)
    shares: np.ndarray = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    return shares


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


def _log(values: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        logs: np.ndarray = np.log(values)
    return logs
