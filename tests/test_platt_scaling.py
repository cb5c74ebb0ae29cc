"""Scores as probabilities of being right: the fit, the folds of dev, and what is reported."""

import numpy as np
import pytest
from recipe_cases import CONFIGS, call, one_error
from sklearn.calibration import _SigmoidCalibration

from pipelines.errors import UserError
from pipelines.evaluation.platt_scaling import (
    FOLDS,
    PlattScaling,
    calibrated,
    calibration_error,
    dev_folds,
    fit,
    fit_spans,
)
from pipelines.examples import Example, Prediction, Span
from pipelines.families import causal_lm

MARGIN = 5e-7


def overconfident(count, seed=0):
    """Scores, and whether each is right, with probability σ(0.5 · logit(score) - 1)."""
    random = np.random.default_rng(seed)
    scores = random.uniform(0.02, 0.98, count)
    chances = PlattScaling(0.5, -1.0, MARGIN)(scores)
    return scores, random.uniform(size=count) < chances


def test_a_map_by_hand():
    scaling = PlattScaling(2.0, 0.0, 0.1)
    # logit(0.8) = ln 4, so that the odds become 16; 1 is taken as 0.9, whose odds are 9.
    assert scaling(np.array([0.5, 0.8, 1.0])) == pytest.approx([0.5, 16 / 17, 81 / 82])


@pytest.mark.parametrize("count", [12, 2000])
def test_the_fit_is_that_of_scikit_learn(count):
    scores, correct = overconfident(count)
    ours = fit(scores, correct, margin=MARGIN)
    theirs = _SigmoidCalibration().fit(np.log(scores / (1 - scores)), correct)
    assert (ours.slope, ours.intercept) == pytest.approx((-theirs.a_, -theirs.b_), abs=1e-3)


def test_the_fit_finds_what_the_scores_were_drawn_by():
    scaling = fit(*overconfident(20_000), margin=MARGIN)
    assert (scaling.slope, scaling.intercept) == pytest.approx((0.5, -1.0), abs=0.05)


@pytest.mark.parametrize(
    ("scores", "correct", "expected"),
    [
        ([0.9, 0.8, 0.7], [True, True, True], [4 / 5] * 3),  # (n + 1) / (n + 2) for each
        ([0.6, 0.7], [False, False], [1 / 4] * 2),
        ([0.5] * 4, [True, True, True, False], [(3 * 4 / 5 + 1 / 3) / 4] * 4),
        ([0.9, 0.2], [False, True], [1 / 2] * 2),  # higher scores are right less often
        ([0.0, 1.0], [True, True], [3 / 4] * 2),
    ],
)
def test_few_scores_give_finite_maps(scores, correct, expected):
    scaling = fit(np.array(scores), np.array(correct), margin=MARGIN)
    assert scaling(np.array(scores)) == pytest.approx(expected, abs=1e-6)
    assert scaling.slope >= 0


def test_scores_that_separate_right_from_wrong_do_so_by_finite_odds():
    scaling = fit(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True]), margin=0.01)
    mapped = scaling(np.array([0.1, 0.9]))
    assert 0.05 < mapped[0] < 0.3 < 0.7 < mapped[1] < 0.95


def test_without_scores_nothing_changes():
    scaling = fit(np.zeros(0), np.zeros(0, dtype=bool), margin=MARGIN)
    assert scaling(np.array([0.25, 0.75])) == pytest.approx([0.25, 0.75])


def test_spans_without_a_score_keep_none():
    pair = Example("0", "ab", spans=()), Prediction("0", spans=(Span(0, 1, "D"),), raw="a")
    [mapped] = fit_spans([pair], margin=MARGIN).of_spans([pair[1]])
    assert mapped.spans[0].score is None
    assert mapped.raw == "a"


# On dev


def data(split, count, seed, **more):
    """Texts with one predicted span each, and its score; it is gold where it is right."""
    scores, correct = overconfident(count, seed)
    span = Span(0, 1, "D")
    examples = [
        Example(f"{split}{n}", f"{split} text {n}", spans=(span,) if right else (), **more)
        for n, right in enumerate(correct)
    ]
    answers = [
        Prediction(f"{split}{n}", spans=(Span(0, 1, "D", float(score)),))
        for n, score in enumerate(scores)
    ]
    return examples, answers


def test_dev_gets_scores_of_maps_that_were_fitted_without_the_text():
    (dev, on_dev), (test, on_test) = data("dev", 200, 1), data("test", 150, 2)
    found = calibrated({"dev": dev, "test": test}, {"dev": on_dev, "test": on_test}, margin=MARGIN)
    pairs = list(zip(dev, on_dev, strict=True))
    assert found.scaling == fit_spans(pairs, margin=MARGIN)
    assert found.answers["test"] == found.scaling.of_spans(on_test)
    for fold in dev_folds(dev):
        ids = {dev[position].id for position in fold}
        others = fit_spans([pair for pair in pairs if pair[0].id not in ids], margin=MARGIN)
        for (example, before), after in zip(pairs, found.answers["dev"], strict=True):
            if example.id in ids:
                expected = others.of_spans([before])[0].spans[0].score
                assert after.spans[0].score == expected
                assert after.spans[0].score != found.scaling.of_spans([before])[0].spans[0].score
    assert found.report["spans"] == 200
    for split, examples in (("dev", dev), ("test", test)):
        row = found.report["ece"][split]
        assert row["after"] == calibration_error(examples, found.answers[split])
        assert row["after"] < row["before"] / 2


def test_texts_of_a_document_stay_in_one_fold():
    examples = [Example(f"{n}", f"text {n}", spans=(), group=f"doc {n // 4}") for n in range(40)]
    folds = dev_folds(examples)
    assert list(map(len, folds)) == [8] * FOLDS
    groups = [{examples[position].group for position in fold} for fold in folds]
    assert sum(map(len, groups)) == 10


def test_a_dev_set_of_few_documents_has_fewer_folds():
    groups = [*["long"] * 30, "short", "short", "third"]
    examples = [Example(str(n), f"text {n}", spans=(), group=name) for n, name in enumerate(groups)]
    assert dev_folds(examples) == [[*range(30)], [30, 31], [32]]


def test_a_test_set_without_answers_is_mapped_and_not_scored():
    (dev, on_dev), (test, on_test) = data("dev", 30, 1), data("test", 9, 2)
    unlabelled = [Example(example.id, example.text) for example in test]
    answers = {"dev": on_dev, "test": on_test}
    found = calibrated({"dev": dev, "test": unlabelled}, answers, margin=MARGIN)
    assert found.report["ece"].keys() == {"dev"}
    assert found.answers["test"] == found.scaling.of_spans(on_test)


@pytest.mark.parametrize("count", [0, 1])
def test_a_small_dev_is_refused_before_training(count):
    dev = [Example(str(n), f"text {n}", spans=()) for n in range(count)]
    with pytest.raises(
        UserError, match="--calibrate true and a dev set of less than two documents"
    ):
        dev_folds(dev)


def test_a_run_without_dev_is_refused(tiny_llama, corpus, tmp_path, capsys):
    words = ["--config", CONFIGS / "sft_smoke.yaml", "--model_name_or_path", tiny_llama]
    words += ["--train_file", corpus["train"], "--eval_strategy", "no", "--calibrate", "true"]
    words += ["--load_best_model_at_end", "false", "--run_dir", tmp_path / "run"]
    assert call("sft_tinyllama", *words) == 2
    assert "a dev set of less than two documents" in one_error(capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_a_saved_model_applies_its_map(answering, tiny_llama, tmp_path):
    model, tokenizer, prompt, *_ = answering
    causal_lm.save(
        tmp_path, model=model, tokenizer=tokenizer, prompt=prompt, base_model=str(tiny_llama)
    )
    plain = causal_lm.load(tmp_path)
    assert plain.scaling is None
    scaling = PlattScaling(0.5, -1.0, MARGIN)
    causal_lm.save_scaling(tmp_path, scaling)
    loaded = causal_lm.load(tmp_path)
    assert loaded.scaling == scaling
    examples = [Example("0", "Colon cancer is no flu, she said.")]
    before = causal_lm.predict(plain, examples, progress=False)
    after = causal_lm.predict(loaded, examples, progress=False)
    assert after == before
    scores = [span.score for one in scaling.of_spans(before) for span in one.spans]
    assert [span.score for one in after for span in one.spans] == scores
    assert len(scores) == 2
