"""Heads on frozen features: stacks against single heads and autograd, cache, search, refit, checkpoints."""

import itertools
import json
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT, load_recipe, run_python
from test_features import EXAMPLES, extract
from tiny_encoder import ENCODERS, write
from transformers import AutoModelForSequenceClassification

from pipelines import cli
from pipelines.corpora.splits import stratified_folds
from pipelines.errors import DataError, UserError
from pipelines.examples import Example, read_predictions
from pipelines.families import frozen_head, head_search, head_study, sequence_classifier
from pipelines.families.frozen_head import Point, train_heads
from pipelines.families.head_search import SearchData, grid, search, stacks, train_and_score, tune_offsets
from pipelines.families.head_study import search_study
from pipelines.families.sequence_classifier import Settings


def data_for(n=60, width=6, classes=3, several=False, **options):
    random = np.random.default_rng(0)
    centres = random.normal(size=(classes, width)) * 2
    labels = random.integers(classes, size=n)
    vectors = (centres[labels] + random.normal(size=(n, width)) * [1, 5, 1, 1, 0.1, 1]).astype(np.float32)
    targets = labels.tolist() if not several else (np.eye(classes)[labels] + np.eye(classes)[labels[::-1]] > 0
                                                   ).astype(float).tolist()
    half = n // 2
    return SearchData({"mean": vectors[:half]}, {"mean": vectors[half:]}, targets[:half], targets[half:], classes,
                      batch_size=8, **options)


POINTS = grid(hidden_layer=[0, 5], learning_rate=[0.01, 0.1], dropout=[0.0, 0.4], class_weight=["none", "balanced"],
              epochs=[2, 5], weight_decay=[0.1])


def test_a_head_does_not_depend_on_those_it_is_stacked_with():
    data = data_for()
    for hidden in (0, 5):
        points = [point for point in POINTS if point.hidden_layer == hidden]
        together = train_heads(data.train["mean"], data.train_targets, points, n_classes=3, batch_size=8, seed=1)
        for number, point in enumerate(points):
            # Other points of as many epochs as the stack's longest change nothing either: a head stops by itself.
            alone = train_heads(data.train["mean"], data.train_targets, [point], n_classes=3, batch_size=8, seed=1)
            np.testing.assert_allclose(alone.scores(data.dev["mean"])[0], together.scores(data.dev["mean"])[number],
                                       atol=2e-4)


def test_a_linear_head_is_what_torch_trains():
    """The same batches and first weights through `nn.Linear`, `AdamW` and a linear schedule."""
    data, point = data_for(), Point(learning_rate=0.05, weight_decay=0.1, class_weight="balanced", epochs=4)
    x, y = torch.from_numpy(data.train["mean"]), torch.tensor(data.train_targets)
    scaled = (x - x.mean(0)) / x.std(0, correction=0)
    ours = train_heads(data.train["mean"], data.train_targets, [point], n_classes=3, batch_size=8, seed=7)

    random = torch.Generator().manual_seed(7)
    layer = torch.nn.Linear(6, 3)
    with torch.no_grad():
        layer.weight.copy_(((torch.rand(6, 3, generator=random) * 2 - 1) / 6 ** 0.5).T)
        layer.bias.zero_()
    optimizer = torch.optim.AdamW([{"params": [layer.weight], "weight_decay": 0.1},
                                   {"params": [layer.bias], "weight_decay": 0.0}], lr=0.05)
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
            losses = torch.nn.functional.cross_entropy(layer(scaled[rows]), y[rows], reduction="none")
            (losses * weight[y[rows]]).mean().backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    with torch.no_grad():
        np.testing.assert_allclose(ours.scores(data.train["mean"])[0], layer(scaled).numpy(), atol=1e-4)


def test_texts_of_one_token_train_the_head_of_their_vectors():
    vectors = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    targets = (vectors[:, 0] > 0).astype(int).tolist()
    points = [Point("token", hidden, learning_rate=0.05, dropout=0.2, epochs=3) for hidden in (3, 3)]
    once = np.stack([vectors, np.full_like(vectors, np.nan)], axis=1)                          # (40, 2, 6)
    wanted = train_heads(vectors, targets, points, n_classes=2).scores(vectors)
    np.testing.assert_allclose(train_heads(once, targets, points, n_classes=2).scores(once), wanted, atol=1e-5)
    plain = [replace(point, dropout=0.0) for point in points]
    twice = np.stack([vectors, vectors], axis=1)
    np.testing.assert_allclose(train_heads(twice, targets, plain, n_classes=2).scores(twice),
                               train_heads(vectors, targets, plain, n_classes=2).scores(vectors), atol=1e-4)


def test_one_word_of_many_makes_the_class():
    """A class that one token of thirty tells: its mean hardly does."""
    random = np.random.default_rng(0)
    states = random.normal(size=(400, 30, 8)).astype(np.float32)
    targets = (np.arange(400) % 2).tolist()
    states[1::2, 4] += 6 * np.eye(8, dtype=np.float32)[3]
    train, dev = slice(0, 200), slice(200, 400)
    right = {}
    for name, given in (("token", states), ("mean", states.mean(1))):
        [logits] = train_heads(given[train], targets[train], [Point(name, learning_rate=0.03)], n_classes=2).scores(
            given[dev])
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
        heads = train_heads(vectors[others], [together[row] for row in others], [point], n_classes=3, batch_size=8)
        np.testing.assert_allclose(found[:, fold], heads.scores(vectors[fold]), atol=1e-5)
    [row] = train_and_score(replace(data, folds=folds), [point])
    assert row["macro_f1"] == pytest.approx(head_search.scores(found[0], targets, None)["macro_f1"])
    assert replace(data, folds=folds).key() != data.key()


def test_the_same_grid_twice_gives_the_same_table_and_a_stopped_one_goes_on(tmp_path, monkeypatch):
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
    monkeypatch.setattr(head_search, "train_and_score",
                        lambda data, stack, **options: trained.append(stack) or original(data, stack, **options))
    told: list[str] = []
    assert search(data, POINTS, tmp_path / "b", progress=False, told=told.append) == whole
    assert len(trained) == len(stacks(POINTS))  # each stack once, over both searches
    assert told == [f"{len(trained[0])} of {len(POINTS)} points were there from an earlier search"]


def test_another_search_does_not_take_the_rows_of_this_one(tmp_path):
    search(data_for(), POINTS[:1], tmp_path, progress=False)
    told: list[str] = []
    search(data_for(seed=1), POINTS[:1], tmp_path, progress=False, told=told.append)
    assert told == []


def test_stacks_hold_one_shape_and_all_points():
    found = stacks(POINTS, size=8)
    assert [point for stack in found for point in stack] == POINTS
    assert all(len({point.hidden_layer for point in stack}) == 1 for stack in found)
    assert max(map(len, found)) == 8


@pytest.mark.parametrize(("values", "told"), [
    ({"pooling": ["attention"]}, "finetune_classifier.py --tune head"), ({"dropout": [1.0]}, "dropout 1.0"),
    ({"epochs": [0]}, "epochs 0"), ({"class_weight": ["some"]}, "class_weight some"),
    ({"learning_rate": [float("nan")]}, "learning_rate nan")])
def test_a_grid_refuses_what_cannot_be(values, told):
    with pytest.raises(UserError, match=told):
        grid(**values)


def test_thresholds_by_hand():
    # Two classes: class 1 is right from a margin of -2 up; the plain decision says class 0 everywhere.
    margins = np.array([-5.0, -4.0, -3.0, -1.0, -0.5])
    logits, targets = np.stack([np.zeros(5), margins], axis=1), np.array([0, 0, 0, 1, 1])
    offsets = tune_offsets(logits, targets, "macro_f1")
    assert ((logits + offsets).argmax(1) == targets).all()
    assert offsets[0] - offsets[1] == pytest.approx(-2.0)
    several = np.array([[-3.0, 2.0], [-1.0, -2.0], [-2.5, 3.0]])
    wanted = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    assert ((several + tune_offsets(several, wanted, "macro_f1") > 0) == wanted).all()


def test_scores_agree_with_scikit_learn():
    from sklearn import metrics

    random = np.random.default_rng(1)
    logits, targets = random.normal(size=(50, 4)), random.integers(4, size=50)
    found, guessed = head_search.scores(logits, targets, None), logits.argmax(1)
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(targets, guessed, average="macro"))
    assert found["weighted_f1"] == pytest.approx(metrics.f1_score(targets, guessed, average="weighted"))
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(targets, guessed))
    assert found["matthews"] == pytest.approx(metrics.matthews_corrcoef(targets, guessed))


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request, tmp_path):
    return f"sqlite:///{tmp_path / 'heads.db'}" if request.param == "sqlite" else request.getfixturevalue("postgresql")


def test_a_study_is_shared_and_taken_up_again(storage, tmp_path):
    data = data_for()
    points = POINTS[:6]
    plain = search(data, points, tmp_path / "plain", progress=False)
    killed = subprocess.Popen(["true"])
    killed.wait()
    told: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        # A process of this machine took some points and was killed.
        patch.setattr(os, "getpid", lambda: killed.pid)
        patch.setattr(head_study, "train_and_score", raising(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            search_study(data, points, storage=storage, progress=False, told=told.append)
    rows = search_study(data, points, storage=storage, progress=False, told=told.append)
    assert [head_search.point_of(row) for row in rows] == points
    assert [row["accuracy"] for row in rows] == [row["accuracy"] for row in plain]
    again = search_study(data, points, storage=storage, progress=False, told=told.append)
    assert again == rows
    assert told[-2].endswith("6 of 6 points are there already")
    assert told[-1].endswith("0 of 6 points trained here, the others elsewhere or before")
    # Another grid on the same data takes what it has in common.
    more = search_study(data, POINTS[4:8], storage=storage, progress=False, told=told.append)
    assert more[:2] == rows[4:]
    assert told[-2].endswith("2 of 4 points are there already")
    assert told[-1].split(":")[1].startswith(" 2 of 4 points trained here")


def test_a_point_taken_by_a_process_killed_before_it_signed_is_given_out_again(tmp_path, monkeypatch):
    data, storage = data_for(), f"sqlite:///{tmp_path / 'heads.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head_study.optuna.Trial, "set_user_attr", raising(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            search_study(data, POINTS[:3], storage=storage, progress=False, told=lambda line: None)
    monkeypatch.setattr(head_study, "UNSIGNED_SECONDS", 0.2)
    monkeypatch.setattr(head_study, "WAIT_SECONDS", 0.1)
    told: list[str] = []
    rows = search_study(data, POINTS[:3], storage=storage, progress=False, told=told.append)
    assert [head_search.point_of(row) for row in rows] == POINTS[:3]
    assert "waiting for 1 points that another process holds" in told


def raising(error):
    def raises(*arguments, **options):
        raise error

    return raises


def test_a_stack_that_takes_too_long_is_given_up_and_counts_all_the_same(tmp_path, monkeypatch):
    data, storage, told = data_for(), f"sqlite:///{tmp_path / 'heads.db'}", list[str]()
    original, first = head_study.train_and_score, [True]
    monkeypatch.setattr(head_study, "WAIT_SECONDS", 0.0)

    def overtaken(*arguments, **options):
        if first and first.pop():
            with monkeypatch.context() as patch:
                patch.setattr(head_study.platform, "node", lambda: "elsewhere")
                seconds = itertools.count(time.time() + head_study.GIVEN_UP_SECONDS - 100, 20)
                patch.setattr(head_study, "time", SimpleNamespace(
                    time=lambda: next(seconds), sleep=time.sleep, monotonic=time.monotonic))
                search_study(data, POINTS[:2], storage=storage, progress=False, told=told.append)
        return original(*arguments, **options)

    monkeypatch.setattr(head_study, "train_and_score", overtaken)
    rows = search_study(data, POINTS[:2], storage=storage, progress=False, told=told.append)
    assert [head_search.point_of(row) for row in rows] == POINTS[:2]
    assert [line for line in told if "waiting" in line] == [
        f"waiting for 2 points that process {os.getpid()} on {platform.node()} holds"]


@pytest.mark.parametrize(("holder", "gone"), [
    ({"pid": "own"}, True), ({"pid": "parent"}, False), ({"pid": "parent", "since": -1801}, True),
    ({"pid": "own", "node": "elsewhere"}, False), ({"pid": "own", "node": "elsewhere", "since": -1801}, True)])
def test_who_is_gone(holder, gone):
    import optuna

    pids = {"own": os.getpid(), "parent": os.getppid()}
    attributes = {"node": holder.get("node", platform.node()), "pid": pids[holder["pid"]],
                  "since": time.time() + holder.get("since", 0)}
    trial = optuna.trial.create_trial(value=0.0, user_attrs={"holder": attributes})
    assert head_study._is_gone(trial, 0.0) == gone


@pytest.mark.parametrize(("seconds", "gone"), [(0.0, False), (19.0, False), (21.0, True)])
def test_who_has_not_signed_is_gone_after_a_while(seconds, gone):
    import optuna

    assert head_study._is_gone(optuna.trial.create_trial(value=0.0), seconds) == gone


def test_one_of_two_who_make_a_database_at_once_tries_again(tmp_path, monkeypatch):
    import optuna
    from sqlalchemy.exc import IntegrityError

    original, failing = optuna.create_study, [IntegrityError("INSERT", {}, ValueError("alembic_version"))] * 2

    def create_study(**options):
        if failing:
            raise failing.pop()
        return original(**options)

    monkeypatch.setattr(optuna, "create_study", create_study)
    monkeypatch.setattr(head_study.time, "sleep", lambda seconds: None)
    assert len(search_study(data_for(), POINTS[:1], storage=f"sqlite:///{tmp_path / 'h.db'}", progress=False)) == 1


def test_a_search_is_named_by_what_its_features_are_made_of(tmp_path):
    data = data_for(origin="an encoder and some texts")
    other_cpu = replace(data, train={"mean": data.train["mean"] + 1e-7}, dev={"mean": data.dev["mean"] + 1e-7})
    assert other_cpu.key() == data.key() != replace(data, origin="another encoder").key()
    assert replace(data, origin="").key() != replace(other_cpu, origin="").key()


def test_a_storage_that_cannot_be_had_is_told(tmp_path):
    with pytest.raises(UserError, match="wanted a database such as"):
        search_study(data_for(), POINTS[:1], storage=f"sqlite:///{tmp_path}/no/such/folder/x.db")


# Checkpoints


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize(("pooling", "hidden"), [("cls", 16), ("cls", 0), ("mean", 5), ("max", 0), ("token", 0),
                                                 ("token", 5)])
def test_the_checkpoint_gives_the_heads_logits(kind, pooling, hidden, tmp_path):
    folder = write(tmp_path / "base", kind)
    # One text a batch: what rounding in another batch changes, weights that undo the scaling of five texts enlarge.
    found = extract(folder, tmp_path / "cache", tokens=pooling == "token", batch_tokens=1)
    encoder, tokenizer = sequence_classifier.load_encoder(str(folder)), sequence_classifier.load_tokenizer(str(folder))
    point = Point(pooling=pooling, hidden_layer=hidden, learning_rate=0.05, epochs=8)
    heads = train_heads(found.vectors[pooling], [0, 1, 2, 0, 1], [point, point], n_classes=3,
                        activation=frozen_head.activation_for(kind))
    settings = Settings(("a", "b", "c"), max_length=40)
    model = frozen_head.classifier_with(encoder, heads, 1, point, settings)
    sequence_classifier.save(tmp_path / "model", model=model, tokenizer=tokenizer, settings=settings)
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
    texts = [Example(str(number), text) for number, text in enumerate(
        ["no disease", "Breast and ovarian cancer run in families with BRCA1.", "A " + "very " * 90 + "cold"])]
    found = extract("local:minilm", tmp_path / "cache", texts, max_length=128, tokens=pooling == "token")
    encoder = sequence_classifier.load_encoder("local:minilm")
    point = Point(pooling=pooling, hidden_layer=0, learning_rate=0.05, epochs=30)
    heads = train_heads(found.vectors[pooling], [0, 1, 2], [point], n_classes=3, activation="gelu")
    model = frozen_head.classifier_with(encoder, heads, 0, point, Settings(("a", "b", "c"), max_length=128))
    model.save_pretrained(tmp_path / "model")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    wanted, tokenizer = heads.scores(found.vectors[pooling])[0], sequence_classifier.load_tokenizer("local:minilm")
    assert np.abs(wanted).max() > 0.5
    for row, example in enumerate(texts):
        with torch.no_grad():
            logits = plain(**tokenizer(example.text, return_tensors="pt", truncation=True, max_length=128)).logits[0]
        np.testing.assert_allclose(logits, wanted[row], rtol=1e-5, atol=1e-5)


# The recipe


@pytest.fixture(scope="session")
def recipe_arguments(tiny_bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("classes")
    words = {"fruit": "apple pear plum", "metal": "iron zinc lead", "beast": "wolf bear lynx"}
    rows = [{"text": f"the {words[label].split()[i % 3]} of day {i}", "label": label}
            for i in range(60) for label in words]
    (folder / "all.json").write_text(json.dumps(rows), encoding="utf-8")
    return [ROOT / "recipes" / "grid_search_head.py", "--model_name_or_path", tiny_bert, "--train_file",
            folder / "all.json", "--cache_dir", folder / "cache", "--learning_rate", "0.01", "0.1", "--epochs", "5"]


@pytest.mark.parametrize(("options", "points"), [((), 24), (("--pooling", "token", "mean", "--folds", "3"), 16)])
def test_the_recipe_from_texts_to_a_checkpoint(options, points, recipe_arguments, tiny_bert, tmp_path):
    done = run_python(*recipe_arguments, *options, "--run_dir", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["split"] == "test"
    assert len(json.loads((tmp_path / "run" / "grid.json").read_text())["points"]) == points
    page = (tmp_path / "run" / "grid.html").read_text()
    assert "learning_rate and pooling" in page or "pooling and learning_rate" in page
    arguments = ["predict", "--run", tmp_path / "run", "--input", recipe_arguments[4], "--output", tmp_path / "p.jsonl"]
    assert cli.main(list(map(str, arguments))) == 0
    by_id = {p.id: p for p in read_predictions(tmp_path / "p.jsonl")}
    for prediction in read_predictions(tmp_path / "run" / "predictions" / "test.jsonl"):
        assert by_id[prediction.id].label == prediction.label
        assert by_id[prediction.id].scores == pytest.approx(prediction.scores, abs=1e-5)
    module = load_recipe("grid_search_head")
    with pytest.raises(UserError, match="holds a trained run"):
        module.run(module.RecipeArguments(model_name_or_path=str(tiny_bert), train_file=str(recipe_arguments[4]),
                                          run_dir=str(tmp_path / "run")))


def test_folds_hold_every_text_once_and_its_copies_with_it():
    examples = [Example("same", f"text {number // 2 if number < 8 else number}", label="ab"[number % 10 == 9])
                for number in range(60)]
    folds = stratified_folds(examples, 3)
    assert sorted(number for fold in folds for number in fold) == list(range(60))
    for first in range(0, 8, 2):
        assert any({first, first + 1} <= set(fold) for fold in folds)
    assert [sum(examples[number].label == "b" for number in fold) for fold in folds] == [2, 2, 2]


def test_too_few_texts_for_the_folds_are_told_before_any_is_encoded(tiny_bert, tmp_path, monkeypatch):
    rows = [{"text": f"text {i}", "label": "a" if i > 3 else "rare"} for i in range(40)]
    (tmp_path / "all.json").write_text(json.dumps(rows), encoding="utf-8")
    module = load_recipe("grid_search_head")
    monkeypatch.setattr(module.features, "extract", raising(AssertionError))
    with pytest.raises(DataError, match=r"parts \(5\)[^\n]*\nclass 'rare': 4 \(id (\d, ){3}\d\)"):
        module.run(module.RecipeArguments(model_name_or_path=tiny_bert, train_file=str(tmp_path / "all.json"), folds=5,
                                          run_dir=str(tmp_path / "run"), sizes="train=0.5,dev=0.5"))


@pytest.mark.slow
def test_a_search_that_was_killed_ends_with_the_same_table(recipe_arguments, tmp_path):
    grids = ["--hidden_layer", "0", "64", "--dropout", "0.1", "0.3", "--epochs", "30", "--pooling", "mean", "cls"]
    whole = run_python(*recipe_arguments, *grids, "--run_dir", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    process = subprocess.Popen([sys.executable, *map(str, [*recipe_arguments, *grids, "--run_dir", tmp_path / "run"])],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "run").glob("search/*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "run" / "grid.json").exists()
    again = run_python(*recipe_arguments, *grids, "--run_dir", tmp_path / "run")
    assert again.returncode == 0, again.stderr
    assert "points were there from an earlier search" in again.stdout
    assert "train: 144 texts, 0 encoded now" in again.stdout
    assert (tmp_path / "run" / "grid.json").read_bytes() == (tmp_path / "whole" / "grid.json").read_bytes()


@pytest.mark.slow
def test_searches_share_a_study_and_one_that_was_killed_goes_on(storage, recipe_arguments, tmp_path):
    grids = ["--hidden_layer", "0", "64", "--dropout", "0.1", "0.3", "--epochs", "30", "--pooling", "mean", "cls"]
    alone = run_python(*recipe_arguments, *grids, "--run_dir", tmp_path / "alone")
    assert alone.returncode == 0, alone.stderr

    def start(name):
        arguments = [*recipe_arguments, *grids, "--study", storage, "--run_dir", tmp_path / name]
        return subprocess.Popen([sys.executable, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True, cwd=ROOT)

    killed, other = start("killed"), start("other")
    for line in killed.stdout:
        if "points; decided by" in line:
            break
    time.sleep(1)
    killed.kill()
    killed.communicate()
    again = start("killed")
    points = json.loads((tmp_path / "alone" / "grid.json").read_text())["points"]
    for process, name in ((other, "other"), (again, "killed")):
        printed, faults = process.communicate(timeout=300)
        assert process.returncode == 0, printed + faults
        found = json.loads((tmp_path / name / "grid.json").read_text())["points"]
        for mine, theirs in zip(found, points, strict=True):
            assert mine == pytest.approx(theirs, abs=0.03)  # a stack of other heads sums in another order
