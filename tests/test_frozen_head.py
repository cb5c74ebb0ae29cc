"""Heads on frozen features: stacks against single heads and autograd, search, checkpoints."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_features import EXAMPLES, extract
from tiny_encoder import ENCODERS, write
from transformers import AutoModelForSequenceClassification

from pipelines.errors import UserError
from pipelines.evaluation.thresholds import decision_scores
from pipelines.examples import Example
from pipelines.families import frozen_head, sequence_classifier
from pipelines.families.class_answers import ClassifierSettings
from pipelines.families.frozen_head import Point, head_search, train_heads
from pipelines.families.frozen_head.head_search import (
    SearchData,
    grid,
    search,
    stacks,
    train_and_score,
)


def data_for(n=60, width=6, classes=3, several=False, **options):
    random = np.random.default_rng(0)
    centres = random.normal(size=(classes, width)) * 2
    labels = random.integers(classes, size=n)
    vectors = (centres[labels] + random.normal(size=(n, width)) * [1, 5, 1, 1, 0.1, 1]).astype(
        np.float32
    )
    targets = (
        labels.tolist()
        if not several
        else (np.eye(classes)[labels] + np.eye(classes)[labels[::-1]] > 0).astype(float).tolist()
    )
    half = n // 2
    return SearchData(
        {"mean": vectors[:half]},
        {"mean": vectors[half:]},
        targets[:half],
        targets[half:],
        classes,
        batch_size=8,
        **options,
    )


POINTS = grid(
    hidden_layer=[0, 5],
    learning_rate=[0.01, 0.1],
    dropout=[0.0, 0.4],
    class_weight=["none", "balanced"],
    epochs=[2, 5],
    weight_decay=[0.1],
)


def test_a_head_does_not_depend_on_those_it_is_stacked_with():
    data = data_for()
    for hidden in (0, 5):
        points = [point for point in POINTS if point.hidden_layer == hidden]
        together = train_heads(
            data.train["mean"], data.train_targets, points, n_classes=3, batch_size=8, seed=1
        )
        for number, point in enumerate(points):
            # Other points of as many epochs as the stack's longest change nothing either: a head stops by itself.
            alone = train_heads(
                data.train["mean"], data.train_targets, [point], n_classes=3, batch_size=8, seed=1
            )
            np.testing.assert_allclose(
                alone.scores(data.dev["mean"])[0],
                together.scores(data.dev["mean"])[number],
                atol=2e-4,
            )


def test_a_linear_head_is_what_torch_trains():
    """The same batches and first weights through `nn.Linear`, `AdamW` and a linear schedule."""
    data, point = (
        data_for(),
        Point(learning_rate=0.05, weight_decay=0.1, class_weight="balanced", epochs=4),
    )
    x, y = torch.from_numpy(data.train["mean"]), torch.tensor(data.train_targets)
    scaled = (x - x.mean(0)) / x.std(0, correction=0)
    ours = train_heads(
        data.train["mean"], data.train_targets, [point], n_classes=3, batch_size=8, seed=7
    )

    random = torch.Generator().manual_seed(7)
    layer = torch.nn.Linear(6, 3)
    with torch.no_grad():
        layer.weight.copy_(((torch.rand(6, 3, generator=random) * 2 - 1) / 6**0.5).T)
        layer.bias.zero_()
    optimizer = torch.optim.AdamW(
        [
            {"params": [layer.weight], "weight_decay": 0.1},
            {"params": [layer.bias], "weight_decay": 0.0},
        ],
        lr=0.05,
    )
    steps = 4 * 4
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    counts = torch.bincount(y, minlength=3)
    weight = len(y) / (3 * counts)
    random = torch.Generator().manual_seed(7)
    for _ in range(4):
        order = torch.randperm(len(x), generator=random)
        for start in range(4):
            rows = order[start::4]
            torch.rand(len(rows), 6, generator=random)  # drawn for dropout
            losses = torch.nn.functional.cross_entropy(
                layer(scaled[rows]), y[rows], reduction="none"
            )
            (losses * weight[y[rows]]).mean().backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    with torch.no_grad():
        np.testing.assert_allclose(
            ours.scores(data.train["mean"])[0], layer(scaled).numpy(), atol=1e-4
        )


def test_texts_of_one_token_train_the_head_of_their_vectors():
    vectors = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    targets = (vectors[:, 0] > 0).astype(int).tolist()
    points = [
        Point("token", hidden, learning_rate=0.05, dropout=0.2, epochs=3) for hidden in (3, 3)
    ]
    once = np.stack([vectors, np.full_like(vectors, np.nan)], axis=1)  # (40, 2, 6)
    wanted = train_heads(vectors, targets, points, n_classes=2).scores(vectors)
    np.testing.assert_allclose(
        train_heads(once, targets, points, n_classes=2).scores(once), wanted, atol=1e-5
    )
    plain = [replace(point, dropout=0.0) for point in points]
    twice = np.stack([vectors, vectors], axis=1)
    np.testing.assert_allclose(
        train_heads(twice, targets, plain, n_classes=2).scores(twice),
        train_heads(vectors, targets, plain, n_classes=2).scores(vectors),
        atol=1e-4,
    )


def test_one_word_of_many_makes_the_class():
    """A class that one token of thirty shows, and their mean hardly."""
    random = np.random.default_rng(0)
    states = random.normal(size=(400, 30, 8)).astype(np.float32)
    targets = (np.arange(400) % 2).tolist()
    states[1::2, 4] += 6 * np.eye(8, dtype=np.float32)[3]
    train, dev = slice(0, 200), slice(200, 400)
    right = {}
    for name, given in (("token", states), ("mean", states.mean(1))):
        [logits] = train_heads(
            given[train], targets[train], [Point(name, learning_rate=0.03)], n_classes=2
        ).scores(given[dev])
        right[name] = (logits.argmax(1) == targets[dev]).mean()
    assert right["token"] > 0.9 > 0.8 > right["mean"]


def test_several_classes_a_text_are_learnt():
    data = data_for(n=240, several=True)
    [row] = train_and_score(data, [Point(learning_rate=0.05, epochs=40, hidden_layer=8)])
    assert row["macro_f1"] > 0.7


# Search


def test_folds_score_each_text_by_a_head_that_has_not_seen_it():
    data = data_for(n=60)
    folds = [list(range(fold, 60, 3)) for fold in range(3)]
    point = Point(learning_rate=0.05, epochs=5)
    found, targets = head_search.held_out_scores(replace(data, folds=folds), [point])
    vectors = np.concatenate([data.train["mean"], data.dev["mean"]])
    together = [*data.train_targets, *data.dev_targets]
    assert targets.tolist() == together
    for fold in folds:
        others = [row for row in range(60) if row not in fold]
        heads = train_heads(
            vectors[others], [together[row] for row in others], [point], n_classes=3, batch_size=8
        )
        np.testing.assert_allclose(found[:, fold], heads.scores(vectors[fold]), atol=1e-5)
    [row] = train_and_score(replace(data, folds=folds), [point])
    assert row["macro_f1"] == pytest.approx(decision_scores(found[0], targets)["macro_f1"])
    assert replace(data, folds=folds).key() != data.key()


def test_the_same_grid_twice_gives_the_same_table_and_a_stopped_one_goes_on(
    tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.INFO)
    data, trained = data_for(), []
    whole = search(data, POINTS, tmp_path / "a", progress=False)
    assert [head_search.point_of(row) for row in whole] == POINTS
    original = head_search.train_and_score

    def stops_after_one(data, stack, **options):
        if trained:
            raise KeyboardInterrupt
        trained.append(stack)
        return original(data, stack, **options)

    monkeypatch.setattr(head_search, "train_and_score", stops_after_one)
    with pytest.raises(KeyboardInterrupt):
        search(data, POINTS, tmp_path / "b", progress=False)
    monkeypatch.setattr(
        head_search,
        "train_and_score",
        lambda data, stack, **options: trained.append(stack) or original(data, stack, **options),
    )
    caplog.clear()
    assert search(data, POINTS, tmp_path / "b", progress=False) == whole
    assert len(trained) == len(stacks(POINTS))  # each stack once, over both searches
    assert caplog.messages == [
        f"{len(trained[0])} of {len(POINTS)} points are there from an earlier search"
    ]


def test_another_search_does_not_take_the_rows_of_this_one(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    search(data_for(), POINTS[:1], tmp_path, progress=False)
    search(data_for(seed=1), POINTS[:1], tmp_path, progress=False)
    assert caplog.messages == []


def test_stacks_hold_one_shape_and_all_points():
    found = stacks(POINTS, size=8)
    assert [point for stack in found for point in stack] == POINTS
    assert all(len({point.hidden_layer for point in stack}) == 1 for stack in found)
    assert max(map(len, found)) == 8


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"pooling": ["attention"]}, "finetune_classifier.py --tune head"),
        ({"dropout": [1.0]}, "dropout 1.0"),
        ({"epochs": [0]}, "epochs 0"),
        ({"class_weight": ["some"]}, "class_weight some"),
        ({"learning_rate": [float("nan")]}, "learning_rate nan"),
    ],
)
def test_a_grid_refuses_what_cannot_be(values, expected):
    with pytest.raises(UserError, match=expected):
        grid(**values)


# Checkpoints


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize(
    ("pooling", "hidden"),
    [("cls", 16), ("cls", 0), ("mean", 5), ("max", 0), ("token", 0), ("token", 5)],
)
def test_the_checkpoint_gives_the_heads_logits(kind, pooling, hidden, tmp_path):
    folder = write(tmp_path / "base", kind)
    # One text a batch: what rounding in another batch changes, weights that undo the scaling of five texts enlarge.
    found = extract(folder, tmp_path / "cache", tokens=pooling == "token", batch_tokens=1)
    encoder, tokenizer = (
        sequence_classifier.load_encoder(str(folder)),
        sequence_classifier.load_tokenizer(str(folder)),
    )
    point = Point(pooling=pooling, hidden_layer=hidden, learning_rate=0.05, epochs=8)
    heads = train_heads(
        found.vectors[pooling],
        [0, 1, 2, 0, 1],
        [point, point],
        n_classes=3,
        activation=frozen_head.activation_for(kind),
    )
    settings = ClassifierSettings(("a", "b", "c"), max_length=40)
    model = frozen_head.classifier_with(encoder, heads, 1, point, settings)
    sequence_classifier.save(
        tmp_path / "model", model=model, tokenizer=tokenizer, settings=settings
    )
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    ours = type(plain).__name__ == "PooledClassifier"
    assert ours == ((pooling, hidden) != ("cls", 16))
    assert plain.config.id2label == {0: "a", 1: "b", 2: "c"}
    wanted = heads.scores(found.vectors[pooling])[1]
    assert np.abs(wanted).max() > 0.1
    for row, example in enumerate(EXAMPLES):
        batch = tokenizer(example.text, return_tensors="pt", truncation=True, max_length=40)
        with torch.no_grad():
            np.testing.assert_allclose(plain(**batch).logits[0], wanted[row], rtol=1e-5, atol=1e-5)
    loaded = sequence_classifier.load(tmp_path / "model")
    logits = sequence_classifier.predict_logits(loaded, EXAMPLES, batch_tokens=1, progress=False)
    np.testing.assert_allclose(logits, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "token"])
def test_the_checkpoint_gives_the_heads_logits_on_real_weights(pooling, tmp_path):
    texts = [
        Example(str(number), text)
        for number, text in enumerate(
            [
                "no disease",
                "Breast and ovarian cancer run in families with BRCA1.",
                "A " + "very " * 90 + "cold",
            ]
        )
    ]
    found = extract(
        "local:minilm", tmp_path / "cache", texts, max_length=128, tokens=pooling == "token"
    )
    encoder = sequence_classifier.load_encoder("local:minilm")
    point = Point(pooling=pooling, hidden_layer=0, learning_rate=0.05, epochs=30)
    heads = train_heads(found.vectors[pooling], [0, 1, 2], [point], n_classes=3, activation="gelu")
    model = frozen_head.classifier_with(
        encoder, heads, 0, point, ClassifierSettings(("a", "b", "c"), max_length=128)
    )
    model.save_pretrained(tmp_path / "model")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    wanted, tokenizer = (
        heads.scores(found.vectors[pooling])[0],
        sequence_classifier.load_tokenizer("local:minilm"),
    )
    assert np.abs(wanted).max() > 0.5
    for row, example in enumerate(texts):
        with torch.no_grad():
            logits = plain(
                **tokenizer(example.text, return_tensors="pt", truncation=True, max_length=128)
            ).logits[0]
        np.testing.assert_allclose(logits, wanted[row], rtol=1e-5, atol=1e-5)
