"""What a model must beat: answers made from the training examples by counting, and a linear SVM."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pipelines.examples import Example, Prediction, Span
from pipelines.spans import spans_to_token_ranges, tags_to_spans, word_units


class MentionDictionary(NamedTuple):
    """Lower-cased mentions, as words, and the type of each."""

    entries: Mapping[tuple[str, ...], str]


class UsualTags(NamedTuple):
    """The BIO tag that each word has most often, and the one for words that are not there."""

    usual: Mapping[str, str]
    unseen: str


def dictionary_predictions(train: Iterable[Example], examples: Iterable[Example]) -> list[Prediction]:
    """Finds the training mentions again, lower-cased, on word borders, the longest match from left to right.

    A string with several types in training gets its most frequent one.
    """
    return predict_mentions(count_mentions(train), examples)


def count_mentions(train: Iterable[Example]) -> MentionDictionary:
    types: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for example in train:
        for span in example.spans or ():
            types[_words(example.text[span.start:span.end])][span.label] += 1
    types.pop((), None)
    return MentionDictionary({words: _most_frequent(counts) for words, counts in types.items()})


def predict_mentions(dictionary: MentionDictionary, examples: Iterable[Example]) -> list[Prediction]:
    lengths: dict[str, set[int]] = defaultdict(set)
    for words in dictionary.entries:
        lengths[words[0]].add(len(words))
    longest_first = {word: sorted(sizes, reverse=True) for word, sizes in lengths.items()}
    return [Prediction(example.id, spans=tuple(_found(example.text, dictionary.entries, longest_first)))
            for example in examples]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text[start:end].lower() for start, end in word_units(text))


def _most_frequent(counts: Counter[str]) -> str:
    return min(counts, key=lambda label: (-counts[label], label))


def _found(text: str, entries: Mapping[tuple[str, ...], str], longest_first: dict[str, list[int]]) -> Iterable[Span]:
    places = word_units(text)
    words = [text[start:end].lower() for start, end in places]
    at = 0
    while at < len(words):
        for length in longest_first.get(words[at], ()):
            found = tuple(words[at:at + length])  # shorter at the end of the text, and then perhaps another entry
            if found in entries:
                at += len(found)
                yield Span(places[at - len(found)][0], places[at - 1][1], entries[found])
                break
        else:
            at += 1


def most_frequent_tag_predictions(train: Iterable[Example], examples: Iterable[Example]) -> list[Prediction]:
    """Gives each word the BIO tag it had most often in training, a new word the tag most frequent of all."""
    return predict_usual_tags(count_tags(train), examples)


def count_tags(train: Iterable[Example]) -> UsualTags:
    tags_of: dict[str, Counter[str]] = defaultdict(Counter)
    for example in train:
        tokens = _tokens(example)
        tags = ["O"] * len(tokens)
        for first, past, label in spans_to_token_ranges(example.spans or (), tokens):
            tags[first:past] = [f"B-{label}"] + [f"I-{label}"] * (past - first - 1)
        for (start, end), tag in zip(tokens, tags, strict=True):
            tags_of[example.text[start:end]][tag] += 1
    return UsualTags({word: _most_frequent(counts) for word, counts in tags_of.items()},
                     _most_frequent(sum(tags_of.values(), Counter(O=1))))


def predict_usual_tags(tags: UsualTags, examples: Iterable[Example]) -> list[Prediction]:
    predictions = []
    for example in examples:
        tokens = _tokens(example)
        written = [tags.usual.get(example.text[start:end], tags.unseen) for start, end in tokens]
        predictions.append(Prediction(example.id, spans=tuple(tags_to_spans(written, tokens))))
    return predictions


def _tokens(example: Example) -> Sequence[tuple[int, int]]:
    if example.tokens is not None:
        return example.tokens
    return word_units(example.text)


def majority_predictions(train: Iterable[Example], examples: Iterable[Example]) -> list[Prediction]:
    """Gives every example the most frequent class of the training examples."""
    label = _most_frequent(Counter(str(example.label) for example in train))
    return [Prediction(example.id, label=label) for example in examples]


def linear_svm_predictions(train: Sequence[Example], examples: Sequence[Example]) -> list[Prediction]:
    """Classifies by a linear SVM over TF-IDF weights of words and pairs of words (scikit-learn)."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    classes = [str(example.label) for example in train]
    if len(set(classes)) < 2 or not any(re.search(r"\w", example.text) for example in train):
        return majority_predictions(train, examples)  # nothing to learn, which scikit-learn refuses
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+")
    model = make_pipeline(words, LinearSVC(random_state=0))
    model.fit([example.text for example in train], classes)
    labels = model.predict([example.text for example in examples])
    return [Prediction(example.id, label=str(label)) for example, label in zip(examples, labels, strict=True)]
