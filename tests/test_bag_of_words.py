"""Linear classifiers on n-grams: scikit-learn's own predictions, saved without pickle, and probabilities that fit."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline, make_union
from sklearn.svm import LinearSVC

from pipelines.errors import UserError
from pipelines.examples import Example
from pipelines.families.lexical import bag_of_words
from pipelines.families.lexical.bag_of_words import NgramOptions

WORDS = {
    "sport": "ball goal team match win player",
    "food": "bread soup salt cook taste apple",
    "art": "paint song play stage colour line",
}


def texts(count, seed, labels=tuple(WORDS)):
    random = np.random.default_rng(seed)
    examples = []
    for number in range(count):
        label = labels[number % len(labels)]
        pool = [*WORDS[label].split(), "the", "a", "is", "good", *WORDS["sport"].split()[:2]]
        examples.append(Example(str(number), " ".join(random.choice(pool, size=6)), label=label))
    return examples


def targets(examples, labels=tuple(WORDS)):
    return np.array([labels.index(example.label) for example in examples])


TRAIN, TEST = texts(90, 0), texts(40, 1)
LABELS = tuple(WORDS)
PEERS = {
    "naive_bayes": lambda: MultinomialNB(),
    "logistic_regression": lambda: LogisticRegression(C=2.0, max_iter=1000),
    "linear_svm": lambda: LinearSVC(C=2.0, random_state=0),
}


@pytest.mark.parametrize("labels", [LABELS, LABELS[:2]], ids=["three classes", "two classes"])
@pytest.mark.parametrize(
    "options", [NgramOptions(), NgramOptions(1, 4, 2), NgramOptions(0, 3)], ids=str
)
@pytest.mark.parametrize("method", PEERS)
def test_the_predictions_are_scikit_learns(method, options, labels):
    train, test = texts(90, 0, labels), texts(40, 1, labels)
    kind = CountVectorizer if method == "naive_bayes" else TfidfVectorizer
    more = {"min_df": options.min_freq} | (
        {} if method == "naive_bayes" else {"sublinear_tf": True}
    )
    parts = []
    if options.word_ngrams:
        parts.append(kind(ngram_range=(1, options.word_ngrams), token_pattern=r"\w+", **more))
    if options.char_ngrams:
        parts.append(kind(ngram_range=(2, options.char_ngrams), analyzer="char_wb", **more))
    peer = make_pipeline(make_union(*parts), PEERS[method]())
    peer.fit([example.text for example in train], targets(train, labels))
    model = bag_of_words.fit(
        train, targets(train, labels), labels, method=method, options=options, c=2.0
    )
    logits = model.logits(test)
    assert (
        logits.argmax(axis=1).tolist() == peer.predict([example.text for example in test]).tolist()
    )
    if method != "linear_svm":
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(
            shares, peer.predict_proba([example.text for example in test]), atol=1e-6
        )


def test_the_majority_answers_by_the_shares_of_training():
    train = [*TRAIN, *texts(9, 2, ("food",))]
    model = bag_of_words.fit(train, targets(train), LABELS, method="majority")
    np.testing.assert_allclose(
        np.exp(model.logits(TEST[:2])), [[30 / 99, 39 / 99, 30 / 99]] * 2, atol=1e-9
    )


@pytest.mark.parametrize("method", bag_of_words.METHODS)
def test_several_classes_a_text_are_classifiers_of_their_own(method):
    marks = np.zeros((len(TRAIN), 3), dtype=int)
    marks[np.arange(len(TRAIN)), targets(TRAIN)] = 1
    marks[:, 0] |= targets(TRAIN) == 1  # food is sport too
    model = bag_of_words.fit(TRAIN, marks, LABELS, method=method, multi_label=True)
    decided = model.logits(TEST) > 0
    if method == "majority":
        assert decided.all(axis=0).tolist() == [True, False, False]  # two thirds, a third, a third
    else:
        alone = bag_of_words.fit(TRAIN, marks[:, 0], ("no", "yes"), method=method)
        assert decided[:, 0].tolist() == (alone.logits(TEST).argmax(axis=1) == 1).tolist()


def test_the_second_text_of_a_pair_has_features_of_its_own():
    pairs = [
        Example(str(n), "same", pair=word, label=label)
        for n, (word, label) in enumerate([("ball", "sport"), ("bread", "food")] * 4)
    ]
    model = bag_of_words.fit(pairs, targets(pairs), LABELS[:2], method="linear_svm")
    swapped = [Example("0", "ball", pair="same"), Example("1", "same", pair="ball")]
    logits = model.logits(swapped)
    assert logits[1].argmax() == 0
    assert logits[0, 0] < logits[1, 0] + 1e-9 or logits[0, 1] > logits[1, 1]


@pytest.mark.parametrize("method", bag_of_words.METHODS)
def test_it_is_saved_without_pickle(method, tmp_path):
    model = bag_of_words.fit(
        TRAIN, targets(TRAIN), LABELS, method=method, options=NgramOptions(2, 3)
    )
    bag_of_words.save(tmp_path, model)
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors", ".json"}
    np.testing.assert_allclose(
        bag_of_words.load(tmp_path, method).logits(TEST), model.logits(TEST), atol=1e-4
    )
    (tmp_path / bag_of_words.VOCABULARY_FILE).write_text("{")
    with pytest.raises(UserError, match="not a classifier that was saved to the end"):
        bag_of_words.load(tmp_path, method)


def test_the_temperature_makes_dev_likeliest():
    random = np.random.default_rng(0)
    logits = random.normal(size=(4000, 3)) * 2
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    drawn = np.array([random.choice(3, p=row) for row in shares])
    assert bag_of_words.fitted_temperature(logits * 3, drawn) == pytest.approx(3, rel=0.15)
    assert bag_of_words.fitted_temperature(logits / 3, drawn) == pytest.approx(1 / 3, rel=0.15)


def test_what_speaks_for_a_class():
    model = bag_of_words.fit(
        TRAIN, targets(TRAIN), LABELS, method="linear_svm", options=NgramOptions(1)
    )
    found = bag_of_words.strongest(model, most=4)
    assert {name for name, _ in found["food"]} <= set(WORDS["food"].split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"word_ngrams": 0}, "wanted one of them over 0"),
        ({"char_ngrams": 1}, "wanted 2 or more"),
        ({"min_freq": 0}, "wanted 1 or more"),
    ],
)
def test_options_that_make_no_features(options, message):
    with pytest.raises(UserError, match=message):
        NgramOptions(**options)


def test_texts_without_words():
    empty = [Example(str(n), "?!", label=label) for n, label in enumerate(LABELS)]
    with pytest.raises(UserError, match="no word ngrams of text that occurs in 1 texts"):
        bag_of_words.fit(empty, targets(empty), LABELS, method="linear_svm")
