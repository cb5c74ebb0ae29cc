"""What a model must beat: answers made from training by counting, and a linear SVM."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pipelines.evaluation.counts import label_set
from pipelines.examples import Example, Prediction, Span
from pipelines.spans import Offsets, spans_to_tags, tags_to_spans, word_units

# The names of the baselines in a report, in words.
BASELINES = {
    "dictionary": "a dictionary of the training mentions",
    "most_frequent_tag": "the most frequent tag of each word",
    "majority": "always predicting the most frequent class",
    "linear_svm": "a linear SVM on TF-IDF weights",
    "linear_pixels": "logistic regression on the pixels",
    "mean": "always predicting the training mean",
    "kneser_ney": "a Kneser-Ney trigram over the training words",
}


class MentionDictionary(NamedTuple):
    """Lower-cased mentions, as words, and the type of each."""

    entries: Mapping[tuple[str, ...], str]


class UsualTags(NamedTuple):
    """The most frequent BIO tag of each word, and the one for words that are not there."""

    usual: Mapping[str, str]
    unseen: str


def dictionary_predictions(
    train: Iterable[Example], examples: Iterable[Example]
) -> list[Prediction]:
    """Finds the training mentions again, lower-cased, on word borders.

    The longest match from left to right. A string with several types in training gets its most
    frequent one.
    """
    return predict_mentions(count_mentions(train), examples)


def count_mentions(train: Iterable[Example]) -> MentionDictionary:
    """Makes a dictionary of the training mentions."""
    types: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for example in train:
        for span in example.spans or ():
            types[_words(example.text[span.start : span.end])][span.label] += 1
    types.pop((), None)
    return MentionDictionary({words: _most_frequent(counts) for words, counts in types.items()})


def predict_mentions(
    dictionary: MentionDictionary, examples: Iterable[Example]
) -> list[Prediction]:
    """Finds the entries of a dictionary in texts."""
    lengths: dict[str, set[int]] = defaultdict(set)
    for words in dictionary.entries:
        lengths[words[0]].add(len(words))
    longest_first = {word: sorted(sizes, reverse=True) for word, sizes in lengths.items()}
    predictions = []
    for example in examples:
        spans = tuple(_matches(example.text, dictionary.entries, longest_first))
        predictions.append(Prediction(example.id, spans=spans))
    return predictions


def _words(text: str) -> tuple[str, ...]:
    return tuple(text[start:end].lower() for start, end in word_units(text))


def _most_frequent(counts: Counter[str]) -> str:
    return min(counts, key=lambda label: (-counts[label], label))


def _matches(
    text: str,
    entries: Mapping[tuple[str, ...], str],
    longest_first: Mapping[str, Sequence[int]],
) -> Iterator[Span]:
    offsets = word_units(text)
    words = [text[start:end].lower() for start, end in offsets]
    position = 0
    while position < len(words):
        for length in longest_first.get(words[position], ()):
            # Shorter at the end of the text, and then perhaps another entry.
            candidate = tuple(words[position : position + length])
            if candidate in entries:
                start, end = offsets[position][0], offsets[position + len(candidate) - 1][1]
                yield Span(start, end, entries[candidate])
                position += len(candidate)
                break
        else:
            position += 1


def most_frequent_tag_predictions(
    train: Iterable[Example], examples: Iterable[Example]
) -> list[Prediction]:
    """Gives each word its most frequent BIO tag in training, a new word the one of all words."""
    return predict_usual_tags(count_tags(train), examples)


def count_tags(train: Iterable[Example]) -> UsualTags:
    """Counts the tags of each word."""
    by_word: dict[str, Counter[str]] = defaultdict(Counter)
    for example in train:
        tokens = _tokens(example)
        tags = spans_to_tags(example.spans or (), tokens)
        for (start, end), tag in zip(tokens, tags, strict=True):
            by_word[example.text[start:end]][tag] += 1
    usual = {word: _most_frequent(counts) for word, counts in by_word.items()}
    return UsualTags(usual, _most_frequent(sum(by_word.values(), Counter(O=1))))


def predict_usual_tags(tags: UsualTags, examples: Iterable[Example]) -> list[Prediction]:
    """Tags each word by itself."""
    predictions = []
    for example in examples:
        tokens = _tokens(example)
        words = [example.text[start:end] for start, end in tokens]
        spans = tags_to_spans([tags.usual.get(word, tags.unseen) for word in words], tokens)
        predictions.append(Prediction(example.id, spans=tuple(spans)))
    return predictions


def _tokens(example: Example) -> Offsets:
    return word_units(example.text) if example.tokens is None else example.tokens


def majority_predictions(train: Iterable[Example], examples: Iterable[Example]) -> list[Prediction]:
    """Gives every example the most frequent class, or set of classes, of the training examples."""
    counts = Counter(map(_class_or_classes, train))
    label = min(counts, key=lambda label: (-counts[label], label_set(label)))
    return [Prediction(example.id, label=label) for example in examples]


def linear_svm_predictions(
    train: Sequence[Example], examples: Sequence[Example]
) -> list[Prediction]:
    """Classifies by a linear SVM over TF-IDF weights of words and pairs of words (scikit-learn).

    Each set of classes is a class of its own.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    labels = list(map(_class_or_classes, train))
    classes = sorted(set(labels), key=label_set)
    if len(classes) < 2 or not any(re.search(r"\w", example.text) for example in train):
        return majority_predictions(train, examples)  # nothing to learn: scikit-learn refuses it
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+")
    model = make_pipeline(words, LinearSVC(random_state=0))
    index = {label: i for i, label in enumerate(classes)}
    model.fit([example.text for example in train], [index[label] for label in labels])
    predicted = model.predict([example.text for example in examples])
    return [
        Prediction(example.id, label=classes[i])
        for example, i in zip(examples, predicted, strict=True)
    ]


def _class_or_classes(example: Example) -> str | tuple[str, ...]:
    classes = label_set(example.label)
    return classes if isinstance(example.label, tuple) else classes[0]
