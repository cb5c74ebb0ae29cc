"""Metrics of Hugging Face evaluate: they load offline, and agree with reports, seqeval and scikit-learn."""

import json
import os

import pytest
from conftest import ROOT, run_python

pytestmark = pytest.mark.slow

CODE = """
import json, random
from importlib.resources import files
import evaluate
from seqeval.metrics import f1_score
from seqeval.scheme import IOB2
from sklearn import metrics
from pipelines.evaluation.tasks import TASKS
from pipelines.examples import Example, Prediction

folder = files("pipelines.evaluation")
draw = random.Random(0)
tags = ["O", "O", "B-Disease", "I-Disease", "B-Gene", "I-Gene"]
gold, predicted = [], []
for _ in range(200):
    words = draw.randint(1, 8)
    gold.append([draw.choice(tags) for _ in range(words)])
    predicted.append([draw.choice(tags) for _ in range(words)])
tag_f1 = evaluate.load(str(folder / "tag_f1"))
tagged = tag_f1.compute(references=gold, predictions=predicted)
strict = f1_score(gold, predicted, mode="strict", scheme=IOB2)
theirs = {
    "default_f1": f1_score(gold, predicted),
    "weighted_entity_f1": f1_score(gold, predicted, average="weighted"),
    "strict_f1": strict,
}
faults = []
for answer in (["O"], ["O", "Disease"]):
    try:
        tag_f1.compute(references=[["O", "O"]], predictions=[answer])
    except Exception as error:
        faults.append(str(error))

names = ["pos", "neg", "so-so"]
gold, predicted = ([draw.choice(names) for _ in range(300)] for _ in range(2))
single = evaluate.load(str(folder / "class_scores")).compute(
    references=gold, predictions=predicted
)
examples = [Example(str(n), "x", label=label) for n, label in enumerate(gold)]
answers = [Prediction(str(n), label=label) for n, label in enumerate(predicted)]
report = TASKS["sequence_classification"].evaluate(examples, answers)
sklearn = {
    "accuracy": metrics.accuracy_score(gold, predicted),
    "matthews": metrics.matthews_corrcoef(gold, predicted),
    "macro_f1": metrics.f1_score(gold, predicted, average="macro"),
    "weighted_precision": metrics.precision_score(gold, predicted, average="weighted"),
}
several = evaluate.load(str(folder / "class_scores"), "multilabel").compute(
    references=[["a"], ["a", "b"], []], predictions=[["a"], ["b"], ["b"]]
)
print(json.dumps([tagged, theirs, faults, single, sklearn, report["macro"]["f1"], several]))
"""


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path_factory.mktemp("home"))}
    # From another folder, as a user would who has the package installed.
    done = run_python(
        "-c",
        CODE,
        cwd=tmp_path_factory.mktemp("elsewhere"),
        env=os.environ | environment | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_tags_agree_with_seqeval(computed):
    ours, theirs = computed[0], computed[1]
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs)
    assert ours["default_f1"] != ours["strict_f1"]


def test_tags_that_do_not_fit_are_named(computed):
    short, unknown = computed[2]
    assert short == "sentence 0: got 1 predicted tags; wanted 2, one for each gold tag"
    assert unknown.startswith("sentence 0: got the tag 'Disease'; wanted O, or B- or I-")


def test_classes_agree_with_scikit_learn_and_the_report(computed):
    ours, theirs, macro_f1 = computed[3], computed[4], computed[5]
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs)
    assert ours["macro_f1"] == macro_f1


def test_several_classes_of_a_text(computed):
    # Right: a of the first, b of the second; wrong: one missed a, one b too many.
    several = computed[6]
    assert several["accuracy"] == pytest.approx(1 / 3)
    assert several["micro_f1"] == pytest.approx(2 / 3)
    assert "matthews" not in several
