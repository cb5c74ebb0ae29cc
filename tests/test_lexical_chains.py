"""HMM, MEMM and CRF: their best paths and probabilities against sums over all paths, by hand and by a peer."""

from itertools import product

import numpy as np
import pytest
import torch

from pipelines.corpora.lexicon import Entry, Lexicon
from pipelines.errors import UserError
from pipelines.examples import Example, Span
from pipelines.families import lexical
from pipelines.families.lexical import chains, crf, hmm, memm, sequences
from pipelines.families.lexical.word_features import GROUPS, shape, word_features
from pipelines.networks.crf import LinearChainCRF
from pipelines.spans import join_tokens, tags_to_spans

TAGS = ["O", "B-D", "I-D"]
SENTENCES = [
    (["a", "colon", "cancer", "was", "seen"], ["O", "B-D", "I-D", "O", "O"]),
    (["no", "flu"], ["O", "B-D"]),
    (["Flu", "is", "a", "cancer"], ["B-D", "O", "O", "B-D"]),
    (["the", "colon", "is", "a", "place"], ["O", "O", "O", "O", "O"]),
]
WORDS = [words for words, _ in SENTENCES]
GIVEN = [tags for _, tags in SENTENCES]
UNSEEN = ["a", "bowel", "cancer", "is", "no", "place"]


def shares(scores):
    """Path -> its share of the sum over all paths, of log scores."""
    weights = {path: np.exp(score) for path, score in scores.items()}
    return {path: weight / sum(weights.values()) for path, weight in weights.items()}


def by_hand(of_path, length, states):
    """The best path, and the (T, S) sums of all paths' shares."""
    share = shares({path: of_path(path) for path in product(range(states), repeat=length)})
    best = max(share, key=share.get)
    table = np.zeros((length, states))
    for path, value in share.items():
        table[range(length), path] += value
    return list(best), table


@pytest.mark.parametrize("length", [1, 2, 5])
def test_chains_agree_with_all_paths(length):
    random = np.random.default_rng(length)
    first, steps = random.normal(size=3), random.normal(size=(length - 1, 3, 3))
    best, table = by_hand(
        lambda path: (
            first[path[0]] + sum(steps[t, path[t], path[t + 1]] for t in range(length - 1))
        ),
        length,
        3,
    )
    assert sequences.viterbi(first, steps) == best
    np.testing.assert_allclose(sequences.marginals(first, steps), table, atol=1e-12)


@pytest.mark.parametrize("words", [*WORDS, UNSEEN, ["cancer"], ["Zzz"]])
def test_the_hmm_agrees_with_all_paths(words):
    model = hmm.fit(SENTENCES, TAGS)
    transitions = hmm.transition_probabilities(model.trigrams, TAGS)
    emissions = np.exp([model._emission(word) for word in words])

    def score(path):
        states = [0, 0, *(tag + 1 for tag in path), 0]
        steps = [transitions[three] for three in zip(states, states[1:], states[2:], strict=False)]
        value = np.prod(steps) * np.prod([emissions[t, tag + 1] for t, tag in enumerate(path)])
        return np.log(value) if value > 0 else -np.inf

    best, table = by_hand(score, len(words), len(TAGS))
    tags, probabilities = model.tag(words)
    assert tags == best
    np.testing.assert_allclose(probabilities, table, atol=1e-9)


def test_transitions_are_probabilities_and_no_inside_follows_outside():
    model = hmm.fit(SENTENCES, TAGS)
    transitions = hmm.transition_probabilities(model.trigrams, TAGS)
    # The states: 0 the edge, 1 O, 2 B-D, 3 I-D.
    assert set(np.round(transitions.sum(axis=2), 9).ravel()) <= {0.0, 1.0}
    assert (transitions[:, [0, 1], 3] == 0).all()
    assert (transitions[1, 2, 3] > 0).all()


def test_interpolation_weights_by_hand():
    # A A A A: without itself, each trigram is as likely as can be by all three; the trigram's estimate wins.
    trigrams = np.zeros((2, 2, 2), dtype=int)
    trigrams[1, 1, 1] = 4
    assert hmm.interpolation_weights(trigrams).tolist() == [0, 0, 1]
    # One trigram alone says nothing once it is left out: 0 by all, and the trigram counts for the longest.
    trigrams = np.zeros((3, 3, 3), dtype=int)
    trigrams[1, 2, 1], trigrams[2, 2, 1] = 1, 3
    # 1 2 1: by three 0 / 0, by two (4 - 1) / (4 - 1) = 1, by one 3 / 3 = 1: two wins over one.
    # 2 2 1: by three 2 / 2 = 1.
    assert hmm.interpolation_weights(trigrams).tolist() == [0, 0.25, 0.75]


def test_the_hmm_comes_back_from_its_counts():
    model = hmm.fit(SENTENCES, TAGS)
    again = hmm.from_json(hmm.to_json(model))
    np.testing.assert_array_equal(model.tag(UNSEEN)[1], again.tag(UNSEEN)[1])


def test_an_unknown_word_is_read_by_its_ending():
    sentences = [([f"{stem}itis"], ["B-D"]) for stem in ("arthr", "col", "bronch", "ot")]
    sentences += [([f"{stem}ing"], ["O"]) for stem in ("runn", "sitt", "walk", "read")]
    model = hmm.fit(sentences, TAGS)
    assert [model.tag([word])[0] for word in ("nephritis", "eating")] == [[1], [0]]


def test_the_memm_agrees_with_all_paths_and_with_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    features = [word_features(words, GROUPS) for words in WORDS]
    model = memm.fit(features, GIVEN, TAGS, min_count=1)
    words = word_features(UNSEEN, GROUPS)
    columns = [
        [model.vocabulary[name] for name in names if name in model.vocabulary] for names in words
    ]

    def score(path):
        previous = [memm.START, *(TAGS[tag] for tag in path)]
        return sum(
            model._scores(before, active)[tag]
            for before, active, tag in zip(previous, columns, path, strict=False)
        )

    best, table = by_hand(score, len(words), len(TAGS))
    tags, probabilities = model.tag(words)
    assert tags == best
    np.testing.assert_allclose(probabilities, table, atol=1e-5)
    # The words after an O, by a regression of one's own.
    pairs = [
        (names, tag)
        for sentence, given in zip(features, GIVEN, strict=True)
        for names, before, tag in zip(sentence[1:], given, given[1:], strict=False)
        if before == "O"
    ]
    matrix = np.zeros((len(pairs), len(model.vocabulary)))
    for row, (names, _) in enumerate(pairs):
        matrix[row, [model.vocabulary[name] for name in names]] = 1
    peer = LogisticRegression(max_iter=200).fit(matrix, [tag for _, tag in pairs])
    probe = np.zeros((1, len(model.vocabulary)))
    probe[0, columns[1]] = 1
    expected = dict(zip(peer.classes_, peer.predict_proba(probe)[0], strict=True))
    ours = np.exp(model._scores("O", columns[1]))
    assert [ours[TAGS.index(tag)] for tag in expected] == pytest.approx(
        list(expected.values()), abs=1e-3
    )


def test_the_memm_is_saved_without_pickle(tmp_path):
    features = [word_features(words, GROUPS) for words in WORDS]
    model = memm.fit(features, GIVEN, TAGS, min_count=1)
    memm.save(tmp_path, model)
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors", ".json"}
    again = memm.load(tmp_path, TAGS)
    words = word_features(UNSEEN, GROUPS)
    np.testing.assert_array_equal(model.tag(words)[1], again.tag(words)[1])
    weights = tmp_path / memm.WEIGHTS_FILE
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(UserError, match="not a MEMM that was saved to the end"):
        memm.load(tmp_path, TAGS)


def test_the_crfs_probabilities_are_those_of_our_own_on_the_same_weights(tmp_path):
    features = [word_features(words, GROUPS) for words in WORDS]
    crf.save(tmp_path, crf.fit(features, GIVEN, TAGS, c1=0.0, c2=0.1, max_iterations=30))
    model = crf.load(tmp_path, TAGS)
    info = model.tagger.info()
    chain = LinearChainCRF(len(TAGS))
    with torch.no_grad():
        chain.start.zero_()
        chain.end.zero_()
        chain.transitions.zero_()
        for (before, after), weight in info.transitions.items():
            chain.transitions[TAGS.index(before), TAGS.index(after)] = weight
    words = word_features(UNSEEN, GROUPS)
    emissions = torch.zeros(1, len(words), len(TAGS))
    for position, names in enumerate(words):
        for name in names:
            for tag in TAGS:
                emissions[0, position, TAGS.index(tag)] += info.state_features.get((name, tag), 0.0)
    mask = torch.ones(1, len(words), dtype=torch.bool)
    tags, probabilities = model.tag(words)
    np.testing.assert_allclose(
        probabilities, chain.marginals(emissions, mask)[0].detach(), atol=1e-4
    )
    assert tags == chain.viterbi(emissions, mask)[0].tolist()


def test_a_damaged_crf_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"no crf\.crfsuite"):
        crf.load(tmp_path, TAGS)
    (tmp_path / crf.MODEL_FILE).write_bytes(b"lCRF")
    with pytest.raises(UserError, match="not a CRF that was saved to the end"):
        crf.load(tmp_path, TAGS)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("BRCA1", "Xd"),
        ("cancer", "x"),
        ("C-Abl", "X-Xx"),
        ("2.5", "d.d"),
        ("Ärzte", "Xx"),
        ("", ""),
    ],
)
def test_shapes(word, expected):
    assert shape(word) == expected


def test_features_at_the_edges():
    [only] = word_features(["Flu"], GROUPS)
    assert {
        "word=Flu",
        "lower=flu",
        "shape+0=Xx",
        "shape-1=<edge>",
        "lower-2=<edge>",
        "before=<edge> flu",
        "prefix=fl",
        "suffix=lu",
    } <= set(only)
    assert not [name for name in only if name.startswith("lexicon")]


def examples():
    """The sentences as examples."""
    made = []
    for number, (words, tags) in enumerate(SENTENCES):
        text, tokens = join_tokens(words)
        spans = tags_to_spans(tags, tokens)
        made.append(Example(str(number), text, spans=tuple(spans), tokens=tokens))
    return made


@pytest.mark.parametrize("method", chains.METHODS)
def test_scores_are_probabilities_and_come_back(method, tmp_path):
    lexicon = Lexicon({"flu": Entry("D", "1")})
    model = lexical.fit(examples(), method=method, lexicon=lexicon)
    lexical.save(tmp_path, model)
    texts = [*examples(), Example("unseen", "a Bowel cancer , flu"), Example("empty", " ")]
    predictions = lexical.predict(model, texts)
    assert lexical.predict(lexical.load(tmp_path), texts) == predictions
    scores = [span.score for prediction in predictions for span in prediction.spans]
    assert scores
    assert all(0 < score <= 1 for score in scores)
    assert predictions[-1].spans == ()


def test_the_score_of_a_span_is_the_least_probability_of_its_tags():
    model = chains.fit(examples(), method="crf")
    [prediction] = chains.predict(model, examples()[:1])
    _, shares = model.tag(WORDS[0])
    [span] = prediction.spans
    assert (span.start, span.end) == (2, 14)
    assert span.score == pytest.approx(min(shares[1, 1], shares[2, 2]), abs=1e-6)
    assert shares[1, 1] != pytest.approx(shares[2, 2], abs=1e-6)


def test_options_that_do_not_exist_are_refused_with_those_that_do():
    with pytest.raises(UserError, match=f"got --features words shape; wanted .*{GROUPS[-1]}"):
        chains.ChainOptions(features=("words", "shape"))
    with pytest.raises(UserError, match="got --features ; wanted some of words"):
        chains.ChainOptions(features=())
    for name, value in (("c1", -1.0), ("max_iterations", 0), ("regularization", 0.0)):
        with pytest.raises(UserError, match=f"got --{name} {value}"):
            chains.ChainOptions(**{name: value})


def test_features_that_were_not_asked_for_are_not_read():
    model = chains.fit(examples(), method="crf", options=chains.ChainOptions(features=["shapes"]))
    names = {name for features in model.model.strongest(99).values() for name, _ in features}
    assert {name.split("=")[0] for name in names} <= {"bias", "shape-1", "shape+0", "shape+1"}


@pytest.mark.parametrize("method", ["memm", "crf"])
def test_the_strongest_features_of_each_tag(method):
    # A lexicon that knows the mentions, and words that never come again.
    train, names = [], {}
    for number in range(8):
        word, other = f"w{number}x", f"v{number}y"
        names[word] = Entry("D")
        train.append(Example(str(number), f"{other} {other} {word}", spans=(Span(8, 11, "D"),)))
    options = chains.ChainOptions(features=("words", "lexicon"))
    model = lexical.fit(train, method=method, options=options, lexicon=Lexicon(names))
    strongest = lexical.strongest(model, 3)
    assert list(strongest) == ["O", "B-D"]
    assert strongest["B-D"][0][0] in ("lexicon+0=S-D", "lexicon+1=<edge>")
    for features in strongest.values():
        weights = [weight for _, weight in features]
        assert weights == sorted(weights, reverse=True)
        assert weights[0] > 0


def test_counting_has_no_strongest_features():
    assert lexical.strongest(lexical.fit(examples(), method="hmm")) == {}
