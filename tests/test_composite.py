"""Runs made of runs: the family by itself, then `pipelines vote --runs` and `pipelines cascade`."""

import json
import shutil
import weakref

import pytest
import torch
import word_bert
from conftest import ROOT, SAMPLE_CORPUS, run_python
from recipe_cases import call
from transformers import BertForTokenClassification

from pipelines import cli, families
from pipelines.corpora.predictions import read_predictions
from pipelines.errors import UserError
from pipelines.evaluation.cascade import EVERY_TEXT, certainty
from pipelines.evaluation.voting import vote
from pipelines.examples import Example, Span, prediction_to_json
from pipelines.families import batching, composite, lexical, token_tagger
from pipelines.families.composite import Composite
from pipelines.runs.run import Run
from pipelines.spans import word_units


@pytest.fixture(scope="module")
def examples():
    rows = json.loads((SAMPLE_CORPUS / "dev.json").read_text(encoding="utf-8"))
    return [
        Example(str(number), row["sentence"][: 30 + 9 * (number % 13)])
        for number, row in enumerate(rows[:23])
    ]


@pytest.fixture(scope="module")
def tree(examples, tmp_path_factory):
    """A tree of folders with an encoder and a dictionary, and a vote and a cascade of them."""
    tree = tmp_path_factory.mktemp("tree")
    torch.manual_seed(0)
    model = BertForTokenClassification(
        word_bert.bert_config(initializer_range=0.5, **word_bert.NAMES)
    ).eval()
    known = [
        Example(one.id, one.text, spans=(Span(*word_units(one.text)[0], "Disease"),))
        for one in examples[::2]
    ]
    for name in ("encoder", "dictionary", "vote", "cascade"):
        (tree / name / "model").mkdir(parents=True)
    token_tagger.save(
        tree / "encoder" / "model",
        model=model,
        tokenizer=word_bert.word_pieces(),
        settings=token_tagger.TaggerSettings(window=40, stride=8),
    )
    lexical.save(tree / "dictionary" / "model", lexical.fit(known))
    composite.save(tree / "vote" / "model", of(tree, "vote"))
    composite.save(tree / "cascade" / "model", of(tree, "cascade", threshold=0.5))
    return tree


def of(tree, rule, *, names=("encoder", "dictionary"), threshold=None):
    members = tuple(composite.member(name, tree / name / "model") for name in names)
    return Composite(rule, members, threshold)


def answers(folder, examples):
    return families.family_of(folder).predict(
        families.family_of(folder).load(folder), examples, progress=False
    )


def bytes_of(predictions):
    return [json.dumps(prediction_to_json(prediction)) for prediction in predictions]


@pytest.mark.slow
def test_a_vote_is_that_of_the_members_answers(tree, examples):
    each = [answers(tree / name / "model", examples) for name in ("encoder", "dictionary")]
    assert any(one != other for one, other in zip(*each, strict=True))
    joint = vote(each, names=["encoder", "dictionary"])
    assert bytes_of(answers(tree / "vote" / "model", examples)) == bytes_of(joint)


@pytest.mark.slow
def test_a_cascade_takes_each_answer_from_the_model_that_decides(tree, examples):
    cheap, expensive = (
        bytes_of(answers(tree / name / "model", examples)) for name in ("encoder", "dictionary")
    )

    def at(threshold):
        loaded = of(tree, "cascade", threshold=threshold)
        return bytes_of(composite.predict(loaded, examples, progress=False))

    assert at(0.0) == cheap
    assert at(EVERY_TEXT) == expensive
    sure = [certainty(one) for one in answers(tree / "encoder" / "model", examples)]
    middle = sorted(sure)[11]
    expected = [
        e if value < middle else c for value, c, e in zip(sure, cheap, expensive, strict=True)
    ]
    assert at(middle) == expected
    assert expected not in (cheap, expensive)


@pytest.mark.slow
@pytest.mark.parametrize("names", [("encoder", "dictionary"), ("dictionary", "encoder")])
@pytest.mark.parametrize("rule", ["vote", "cascade"])
def test_a_file_in_parts_gives_the_bytes_of_the_whole(tree, examples, rule, names, monkeypatch):
    monkeypatch.setattr(batching, "CHUNK", 4)
    first = answers(tree / names[0] / "model", examples)
    middle = sorted(certainty(one) or 1.0 for one in first)[14]
    loaded = of(tree, rule, names=names, threshold=middle if rule == "cascade" else None)
    whole = bytes_of(composite.predict(loaded, examples, progress=False))
    parts = []
    for start in range(0, len(examples), 12):
        part = examples[start : start + 12]
        parts += bytes_of(composite.predict(loaded, part, progress=False))
    assert parts == whole


@pytest.mark.parametrize("rule", ["vote", "cascade"])
def test_a_member_is_freed_before_the_next_is_loaded(tree, examples, rule, monkeypatch):
    loaded_models, load, load_next = [], token_tagger.load, lexical.load

    def first(folder):
        model = load(folder)
        loaded_models.append(weakref.ref(model.model))
        return model

    def second(folder):
        assert [reference() for reference in loaded_models] == [None]
        return load_next(folder)

    monkeypatch.setattr(token_tagger, "load", first)
    monkeypatch.setattr(lexical, "load", second)
    threshold = EVERY_TEXT if rule == "cascade" else None
    composite.predict(of(tree, rule, threshold=threshold), examples, progress=False)
    assert len(loaded_models) == 1


@pytest.mark.slow
def test_runs_are_moved_together(tree, examples, tmp_path):
    before = bytes_of(answers(tree / "cascade" / "model", examples))
    shutil.copytree(tree, tmp_path / "elsewhere")
    moved = composite.load(tmp_path / "elsewhere" / "cascade" / "model")
    assert moved.members[0].folder == tmp_path / "elsewhere" / "encoder" / "model"
    assert bytes_of(composite.predict(moved, examples, progress=False)) == before
    shutil.copytree(tree / "cascade", tmp_path / "alone" / "cascade")
    with pytest.raises(UserError, match=r"its member encoder is not at .* its member dictionary"):
        composite.load(tmp_path / "alone" / "cascade" / "model")


def test_a_member_that_was_trained_again_is_refused(tree, tmp_path):
    shutil.copytree(tree, tmp_path / "tree")
    model = tmp_path / "tree" / "dictionary" / "model"
    (model / "README.md").write_text("A card is no model.")
    composite.load(tmp_path / "tree" / "vote" / "model")
    (model / "lexical.json").write_text((model / "lexical.json").read_text() + " ")
    with pytest.raises(UserError, match="its member dictionary was trained again since; make"):
        composite.load(tmp_path / "tree" / "vote" / "model")


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"rule": "vote"}', '{"rule": "mean", "threshold": null, "members": []}'],
)
def test_a_damaged_file_is_reported(content, tmp_path):
    (tmp_path / "composite.json").write_text(content)
    with pytest.raises(UserError, match="no readable composite"):
        composite.load(tmp_path)


def test_no_composite_is_a_member(tree, tmp_path):
    with pytest.raises(UserError, match="vote: made of other runs itself; give the runs"):
        composite.member("vote", tree / "vote" / "model")
    with pytest.raises(UserError, match="no finished model"):
        composite.member("none", tmp_path)


def test_the_members_are_listed(tree):
    lines = composite.sizes_as_text(of(tree, "cascade", threshold=0.5)).splitlines()
    assert lines[0] == "cascade, threshold 0.5 of 2 runs"
    assert lines[3].split()[:2] == ["encoder", "token_tagger"]


def train(recipe, folder, *options):
    done = run_python(ROOT / "recipes" / recipe, *options, "--run_dir", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def runs(corpus, tmp_path_factory):
    """The folder of a dictionary and an HMM on the small corpus, with its labelled test file."""
    folder = tmp_path_factory.mktemp("runs")
    files = []
    for split in ("train", "dev", "test"):
        files += [f"--{split}_file", corpus[split]]
    for network in ("dictionary", "hmm"):
        assert (
            call("train_tagger", "--network", network, *files, "--run_dir", folder / network) == 0
        )
    return folder


def command(*arguments):
    """Runs `pipelines` in this process."""
    assert cli.main(list(map(str, arguments))) == 0


def seconds(run):
    return Run(run).report()["cost"]["seconds"]


@pytest.mark.slow
def test_a_vote_of_runs(runs, corpus, tmp_path, capsys):
    hmm, dictionary = runs / "hmm", runs / "dictionary"
    command("vote", "--runs", hmm, dictionary, "--run_dir", runs / "joint")
    assert capsys.readouterr().out.endswith(f"{runs / 'joint'}: vote of hmm, dictionary\n")
    own = read_predictions(runs / "joint" / "predictions" / "dev.jsonl")
    each = [read_predictions(run / "predictions" / "dev.jsonl") for run in (hmm, dictionary)]
    assert own == vote(each, names=["hmm", "dictionary"])
    out = tmp_path / "p.jsonl"
    command("predict", "--run", runs / "joint", "--input", corpus["test"], "--output", out)
    assert out.read_bytes() == (runs / "joint" / "predictions" / "test.jsonl").read_bytes()
    report = Run(runs / "joint").report()
    assert report["split"] == "test"
    assert report["members"] == [
        {"name": "hmm", "run": "../hmm"},
        {"name": "dictionary", "run": "../dictionary"},
    ]
    for stage in ("training", "predict_dev", "predict_test"):
        total = seconds(hmm)[stage] + seconds(dictionary)[stage]
        assert seconds(runs / "joint")[stage] == pytest.approx(total)
    assert "as one tree of folders" in (runs / "joint" / "README.md").read_text()
    assert (runs / "joint" / "submission.csv").is_file()
    capsys.readouterr()
    command("compare", runs / "joint", hmm)
    assert "joint" in capsys.readouterr().out


@pytest.mark.slow
def test_a_cascade_of_runs(runs, corpus, tmp_path, capsys):
    cheap, expensive, made = runs / "hmm", runs / "dictionary", runs / "made"
    members = ("--cheap", cheap, "--expensive", expensive)
    command("cascade", *members, "--run_dir", made, "--threshold", 0.9)
    assert "0.9 (taken)" in capsys.readouterr().out
    report = Run(made).report()
    curve = report["cascade"]
    assert (curve["cheap"], curve["expensive"]) == ("hmm", "dictionary")
    dev = read_predictions(cheap / "predictions" / "dev.jsonl")
    assert curve["points"][0]["score"] == pytest.approx(dev_f1(cheap, corpus))
    assert curve["points"][-1]["score"] == pytest.approx(dev_f1(expensive, corpus))
    share = sum(certainty(one) < 0.9 for one in dev) / len(dev)
    assert 0 < share < 1
    spent = seconds(cheap)["predict_dev"] + share * seconds(expensive)["predict_dev"]
    assert seconds(made)["predict_dev"] == pytest.approx(spent, abs=0.006)
    out = tmp_path / "p.jsonl"
    command("predict", "--run", made, "--input", corpus["dev"], "--output", out)
    assert out.read_bytes() == (made / "predictions" / "dev.jsonl").read_bytes()
    page = (made / "report.html").read_text(encoding="utf-8")
    assert 'id="cascade"' in page
    assert "decides those on which its certainty is below 0.9" in page


def dev_f1(run, corpus):
    from pipelines.corpora import read_examples
    from pipelines.evaluation.tasks import SPAN_EXTRACTION

    gold = read_examples(corpus["dev"], answer="spans")
    predictions = read_predictions(run / "predictions" / "dev.jsonl")
    return SPAN_EXTRACTION.evaluate(gold, predictions)["strict"]["f1"]


@pytest.mark.slow
def test_answers_that_are_not_there_are_predicted(runs, tmp_path):
    for name in ("hmm", "dictionary"):
        shutil.copytree(runs / name, tmp_path / name)
    (tmp_path / "dictionary" / "predictions" / "dev.jsonl").unlink()
    command(
        "vote", "--runs", tmp_path / "hmm", tmp_path / "dictionary", "--run_dir", tmp_path / "v"
    )
    each = [
        read_predictions(runs / name / "predictions" / "dev.jsonl")
        for name in ("hmm", "dictionary")
    ]
    own = read_predictions(tmp_path / "v" / "predictions" / "dev.jsonl")
    assert own == vote(each, names=["hmm", "dictionary"])


MEMBERS = ("--cheap", "hmm", "--expensive", "dictionary")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["vote"], "vote wants files of predictions and --out"),
        (["vote", "--runs", "hmm", "dictionary"], "wants --runs R1 R2 … and --run_dir R"),
        (["vote", "--runs", "hmm", "--run_dir", "new"], "got one run; wanted two or more"),
        (["vote", "--runs", "hmm", "hmm", "--run_dir", "new"], "a run twice"),
        (["vote", "--runs", "hmm", "gone", "--run_dir", "new"], "gone: no such folder"),
        (
            ["vote", "--runs", "hmm", "dictionary", "--run_dir", "new", "--out", "o.jsonl"],
            "--out: no effect beside --runs",
        ),
        (["vote", "--runs", "hmm", "dictionary", "--run_dir", "hmm"], "is the member hmm"),
        (["vote", "--runs", "hmm", "texts", "--run_dir", "new"], "texts is a run of sequence_cl"),
        (["cascade", "--cheap", "hmm", "--run_dir", "new"], "--expensive"),
        (
            ["cascade", *MEMBERS, "--run_dir", "new", "--threshold", "-1"],
            "got --threshold -1.0; wanted a number of 0 or more",
        ),
    ],
)
def test_what_does_not_fit_is_refused(arguments, expected, runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    if not (runs / "texts").exists():  # a run of another task, as far as it is looked at
        shutil.copytree(runs / "hmm", runs / "texts")
        report = Run("texts").report() | {"task": "sequence_classification"}
        Run("texts").write_json("report.json", report)
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert expected in capsys.readouterr().err
    assert not (runs / "new").exists()


@pytest.mark.extensive
@pytest.mark.slow
def test_classifiers_whose_dev_was_cut_from_train(tmp_path):
    rows = (ROOT / "data/samples/tweets/train.csv").read_text(encoding="utf-8").splitlines()[:201]
    file = tmp_path / "train.csv"
    file.write_text("\n".join(rows), encoding="utf-8")
    for network in ("naive_bayes", "logistic_regression"):
        options = ("--network", network, "--train_file", file)
        train("train_text_classifier.py", tmp_path / network, *options)
    cheap, expensive = tmp_path / "naive_bayes", tmp_path / "logistic_regression"
    command("vote", "--runs", cheap, expensive, "--run_dir", tmp_path / "joint")
    members = ("--cheap", cheap, "--expensive", expensive)
    command("cascade", *members, "--run_dir", tmp_path / "made", "--threshold", 0.8)
    for made in (tmp_path / "joint", tmp_path / "made"):
        out = tmp_path / "p.jsonl"
        texts = Run(made).split_file("dev")
        assert texts.is_relative_to(made)
        assert len(Run(made).examples("dev")) == len(Run(cheap).examples("dev"))
        command("predict", "--run", made, "--input", file, "--output", out)
        assert len(read_predictions(out)) == 200
