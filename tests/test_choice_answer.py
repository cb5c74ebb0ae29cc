"""Which model is chosen, by hand-worked cases, and what the paragraph says of it."""

from __future__ import annotations

import pytest
from choice_inputs import choice_of, rung, verdict
from hypothesis import given
from hypothesis import strategies as st

from pipelines.evaluation.choice import choose, estimate_error, front, neighbour, paragraph

ESTIMATE = {"seconds": 720, "memory": 2e9, "disk": 1e8, "source": "probe"}


def ladder(**changes):
    """Three finished rungs, 70, 80 and 85, in 1, 10 and 100 seconds."""
    rows = [
        rung("dictionary", 0.70, [0.66, 0.74], 1.0),
        rung("crf", 0.80, [0.76, 0.84], 10.0, unseen=0.61),
        rung("encoder", 0.85, [0.81, 0.89], 100.0),
    ]
    return [row | changes.get(row["name"], {}) for row in rows]


@pytest.mark.parametrize(
    ("goal", "chosen", "reached", "tied", "following"),
    [
        (0.60, "dictionary", True, [], "crf"),
        (0.66, "dictionary", True, [], "crf"),  # the end of the interval counts
        (0.70, "crf", True, [], "encoder"),
        (0.80, "encoder", True, [], None),
        (0.82, "encoder", False, ["crf"], None),  # its score reaches the goal, that of crf does not
        (0.86, "encoder", False, [], None),
        (0.88, "encoder", False, [], None),
        (0.95, "encoder", False, [], None),
    ],
)
def test_a_goal(goal, chosen, reached, tied, following):
    assert choose(ladder(), goal, "budget") == {
        "chosen": chosen,
        "reached": reached,
        "tied": tied,
        "next": following,
    }


def test_the_cheapest_is_that_of_the_fewest_seconds_not_the_first():
    rows = ladder(dictionary={"cost": {"seconds": 1000.0}})
    assert choose(rows, 0.6, "budget")["chosen"] == "crf"


def test_of_equal_seconds_the_first_of_the_ladder_is_chosen():
    rows = ladder(dictionary={"cost": {"seconds": 10.0}})
    assert choose(rows, 0.6, "budget")["chosen"] == "dictionary"
    assert choose(rows[::-1], 0.6, "budget")["chosen"] == "crf"


@pytest.mark.parametrize(
    ("test", "chosen"),
    [
        (verdict("encoder", 0.05, 0.001, significant=True), "encoder"),
        (verdict("encoder", 0.05, 0.2, significant=False), "crf"),
        (None, "encoder"),  # 84 is below 85
    ],
)
def test_without_a_goal_a_test_decides_before_intervals(test, chosen):
    answer = choose(ladder(crf={"next": test}), None, "budget")
    assert answer["chosen"] == chosen
    assert answer["reached"] is None
    assert answer["tied"] == (["encoder"] if chosen == "crf" else [])


def test_without_a_goal_and_a_test_an_interval_that_holds_the_best_score_is_as_good():
    rows = ladder(dictionary={"interval": [0.5, 0.9]})
    assert choose(rows, None, "budget")["chosen"] == "dictionary"


def test_a_test_against_the_best_decides_where_the_next_is_another():
    tests = {"best": verdict("encoder", 0.15, 0.3, significant=False)}
    tests["next"] = verdict("crf", 0.1, 0.001, significant=True)
    assert choose(ladder(dictionary=tests), None, "budget")["chosen"] == "dictionary"


def test_what_did_not_finish_is_not_chosen():
    failed = {"status": "failed", "reason": "exit code 1", "score": None, "cost": None}
    rows = ladder(dictionary=failed, encoder=failed)
    answer = choose(rows, 0.7, "budget")
    assert (answer["chosen"], answer["next"]) == ("crf", None)
    nothing = choose(ladder(dictionary=failed, crf=failed, encoder=failed), 0.7, "budget")
    assert nothing == {"chosen": None, "reached": False, "tied": [], "next": None}
    assert choose([], None, "budget")["chosen"] is None


def test_the_next_may_be_untrained_only_where_the_ladder_ended_at_the_goal():
    rows = [*ladder(), rung("lora", estimate=ESTIMATE)]
    assert choose(rows, 0.8, "goal")["next"] == "lora"
    assert choose(rows, 0.8, "budget")["next"] is None


def test_front_leaves_out_what_another_beats():
    worse = rung("hmm", 0.69, [0.6, 0.7], 2.0)
    unknown = rung("outside", 0.99, [0.9, 1.0])
    assert front([*ladder(), worse, unknown]) == ["dictionary", "crf", "encoder"]


@pytest.mark.parametrize(
    ("test", "sentence"),
    [
        (
            verdict("encoder", 0.05, 0.2, significant=False),
            "crf (CRF on hand-made features) is cheaper and not significantly worse: 80.00 [76.00, 84.00], difference 5.00 "
            "[-1.00, 11.00] (p = 0.2), in 10 s instead of 1.7 min.",
        ),
        (verdict("encoder", 0.05, 0.001, significant=True), None),
        (verdict("lora", 0.05, 0.2, significant=False), None),
        (None, None),
    ],
)
def test_a_cheaper_model_that_may_be_as_good_is_named(test, sentence):
    if test:
        test |= {"interval": [-0.01, 0.11]}
    rows = ladder(crf={"best": test})
    text = paragraph(choice_of(rows, goal=0.81))
    assert ("not significantly worse" in text) == bool(sentence)
    assert (sentence or "") in text


scores = st.floats(0.1, 0.9)


@given(st.lists(st.tuples(scores, st.floats(0, 0.1), st.floats(0.1, 1000)), min_size=1), scores)
def test_a_reached_goal_is_reached_by_no_cheaper_model(numbers, goal):
    rows = [rung(str(i), s, [s - w, s + w], t) for i, (s, w, t) in enumerate(numbers)]
    answer = choose(rows, goal, "budget")
    chosen = rows[int(answer["chosen"])]
    cheaper = [row for row in rows if row["cost"]["seconds"] < chosen["cost"]["seconds"]]
    assert answer["reached"] == any(row["interval"][0] >= goal for row in rows)
    if answer["reached"]:
        assert chosen["interval"][0] >= goal
        assert all(row["interval"][0] < goal for row in cheaper)
    assert answer["chosen"] not in answer["tied"]
    assert set(front(rows)) >= {
        max(rows, key=lambda r: (r["score"], -r["cost"]["seconds"]))["name"]
    }


def test_estimate_error_by_hand():
    rows = ladder(
        dictionary={"estimate": {"seconds": 1.5}},  # + 50 %
        crf={"estimate": {"seconds": 9.0}},  # - 10 %
    )
    errors = estimate_error(rows)
    assert errors["rungs"] == pytest.approx({"dictionary": 0.5, "crf": -0.1})
    assert errors["median"] == pytest.approx(0.3)  # of 50 and 10
    assert estimate_error([rung("lora", estimate=ESTIMATE)]) == {"median": None, "rungs": {}}


def test_the_neighbour_is_the_next_or_else_the_one_before():
    assert neighbour(choice_of(ladder(), goal=0.7))["name"] == "encoder"
    assert neighbour(choice_of(ladder(), goal=0.8))["name"] == "crf"
    assert neighbour(choice_of(ladder()[:1], goal=0.8)) is None
    assert neighbour(choice_of([rung("lora")], goal=0.8)) is None
    untrained = choice_of([*ladder(), rung("lora")], goal=0.8, until="goal")
    assert neighbour(untrained)["name"] == "crf"


def test_paragraph_of_a_goal_that_is_reached():
    test = {"score": 0.78, "interval": [0.74, 0.82]}
    tested = {"test": test, "next": verdict("encoder", 0.05, 0.012, significant=True)}
    choice = choice_of(ladder(crf=tested), goal=0.75, price_per_hour=0.5)
    assert paragraph(choice) == (
        "The cheapest model that reaches the goal of strict F1 75.00 is crf (CRF on hand-made "
        "features): 80.00 [76.00, 84.00] on dev. "
        "On test, scored once at the end, it has 78.00 [74.00, 82.00]; that interval contains the "
        "goal. "
        "Report the test score: the dev score favours the model that it chose. "
        "The next more expensive one, encoder, adds 5.00 (difference [4.00, 6.00]), which is "
        "significant (p = 0.012), in 1.7 min instead of 10 s. "
        "Training takes 7.5 s and costs under 0.01; predicting a million texts takes 10.0 h and "
        "costs 5.00, at 0.50 an hour. "
        "It finds 61.00 % of the dev mentions whose text is not in train."
    )


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ([0.60, 0.70], "the goal is above that interval"),
        ([0.80, 0.90], "the goal is below that interval"),
    ],
)
def test_paragraph_says_where_the_goal_is_on_test(interval, said):
    test = {"score": sum(interval) / 2, "interval": interval}
    assert said in paragraph(choice_of(ladder(crf={"test": test}), goal=0.75))


def test_paragraph_of_a_goal_within_intervals():
    said = paragraph(choice_of(ladder(), goal=0.82))
    assert "No model is certain to reach the goal of strict F1 82.00" in said
    assert "The cheapest model whose score reaches it is encoder" in said
    assert "The interval of crf contains the goal too." in said
    assert "There is no test score" in said
    assert "no learning curve was drawn" in said
    assert "No larger model of the ladder is left" in said


def test_where_no_score_reaches_the_goal_the_cheapest_interval_decides():
    rows = ladder(encoder={"score": 0.81, "interval": [0.77, 0.85]})
    found = choose(rows, 0.82, "budget")
    assert (found["chosen"], found["tied"]) == ("crf", ["encoder"])
    assert "whose interval contains it is crf" in paragraph(choice_of(rows, goal=0.82))


def test_paragraph_of_a_goal_that_is_missed_says_what_would_help():
    skipped = rung("lora", status="skipped", reason="over the budget", estimate=ESTIMATE)
    sentence = "encoder gains 1.2 F1 from twice the labels"
    choice = choice_of([*ladder(), skipped], goal=0.95, curves={"encoder": {"sentence": sentence}})
    said = paragraph(choice)
    assert "No model reaches the goal of strict F1 95.00." in said
    assert "The nearest is encoder: 85.00 [81.00, 89.00] on dev, 10.00 below the goal." in said
    assert f"{sentence}." in said
    assert "lora was not trained (over the budget), estimated at 12 min." in said
    assert "Not compared: lora (skipped)." in said
    assert "No learning curve" not in said


def test_paragraph_without_a_goal():
    test = verdict("encoder", 0.05, 0.2, significant=False)
    said = paragraph(choice_of(ladder(crf={"next": test})))
    assert "The cheapest model not significantly worse than the best is crf" in said
    assert "The best on dev is encoder: 85.00 [81.00, 89.00]." in said
    assert "adds 5.00 (difference [4.00, 6.00]), which is not significant (p = 0.2)" in said
    assert "goal" not in said
    best = paragraph(choice_of(ladder()))
    assert "The best model is encoder: strict F1 85.00" in best
    assert "No more expensive model finished." in best


def test_paragraph_of_one_model():
    said = paragraph(choice_of(ladder()[1:2]))
    assert said.startswith("Only crf (CRF on hand-made features) finished, so it was compared with")
    assert "more expensive" not in said


def test_paragraph_where_all_failed():
    failed = {"score": None, "status": "failed"}
    rows = ladder(
        dictionary=failed | {"reason": "one class: got only Disease"},
        crf=failed | {"reason": "exit code 1."},
        encoder=failed | {"status": "skipped", "reason": "no memory"},
    )
    assert paragraph(choice_of(rows, goal=0.8)) == (
        "No model finished, so there is nothing to choose from. dictionary failed: one class: got "
        "only Disease. crf failed: exit code 1. encoder skipped: no memory."
    )


def test_paragraph_of_few_examples_says_what_can_be_concluded():
    few = {"train": 49, "dev": 49, "test": None}
    said = paragraph(choice_of(ladder(), goal=0.75, examples=few))
    assert "Dev has only 49 examples. You can conclude that" in said
    assert "You cannot conclude that" in said
    assert "interval is 8.00 wide" in said
    assert "Train has only 49 examples" in said
    enough = {"train": 50, "dev": 50, "test": None}
    assert "only" not in paragraph(choice_of(ladder(), goal=0.75, examples=enough))


def test_paragraph_where_the_search_ended_at_the_goal():
    rows = [*ladder(), rung("lora", estimate=ESTIMATE)]
    said = paragraph(choice_of(rows, goal=0.8, until="goal"))
    assert (
        "The search ended there: the next model, lora, was not trained; it is estimated at" in said
    )


def test_a_next_model_that_is_worse_loses():
    test = verdict("encoder", -0.02, 0.04, significant=True)
    said = paragraph(choice_of(ladder(crf={"next": test}), goal=0.75))
    assert "loses 2.00 (difference [-3.00, -1.00]), which is significant (p = 0.04)" in said
