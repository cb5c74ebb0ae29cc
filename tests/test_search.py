"""Searching options: what is written, what is tried, what is result to matter."""

from dataclasses import dataclass

import pytest

from pipelines.errors import UserError
from pipelines.families.training.dev_scores import best_score
from pipelines.runs.search import NOT_SEARCHED, Range, parse_space, search, search_as_text


@dataclass
class Options:
    rate: float = 0.1
    units: int = 8
    crf: bool = False
    name: str | None = None
    depth: int | None = None


def test_values_have_the_types_of_their_fields():
    space = parse_space(
        ["rate=1e-4:1e-2", "units=8,16", "crf=true,false", "name=a,b", "depth=1:3"], [Options()]
    )
    assert space == {
        "rate": Range(1e-4, 1e-2, False, True),
        "units": (8, 16),
        "crf": (True, False),
        "name": ("a", "b"),
        "depth": Range(1, 3, True, False),
    }


def test_faults_are_named_at_once():
    with pytest.raises(UserError) as raised:
        parse_space(["rat=1,2", "units=a,b", "crf=maybe", "rate", "rate=3:1"], [Options()])
    for part in (
        "no option 'rat'",
        "'a' is no number",
        "'maybe' is neither",
        "no values",
        "low end",
    ):
        assert part in str(raised.value)
    assert "\n" not in str(raised.value)


def score(values: dict) -> float:
    return values["units"] / 100 + (values["rate"] == 0.2) / 1000


def test_a_grid_tries_every_combination_and_says_what_mattered():
    space = parse_space(["units=8,16,32", "rate=0.1,0.2"], [Options()])
    result = search(space, score, sampler="grid", trials=1)
    assert len({tuple(trial["options"].values()) for trial in result["trials"]}) == 6
    assert result["best"] == {"units": 32, "rate": 0.2}
    assert result["importance"]["units"] > 0.9
    text = search_as_text(result)
    assert text.splitlines()[2].split() == ["0.3210", "32", "0.2"]
    assert "units: 32 0.3210, 16 0.1610, 8 0.0810" in text
    with pytest.raises(UserError, match=r"grid wants choices.* for rate"):
        search(parse_space(["rate=0.1:0.2"], [Options()]), score, sampler="grid")


def test_a_search_goes_on_where_it_was_stopped(tmp_path):
    space, seen = parse_space(["units=1:64", "rate=0.1,0.2"], [Options()]), []

    def objective(values: dict) -> float:
        seen.append(values)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return score(values)

    with pytest.raises(KeyboardInterrupt):
        search(space, objective, trials=6, storage=tmp_path / "search.db")
    result = search(space, objective, trials=6, storage=tmp_path / "search.db")
    assert len(result["trials"]) == 6
    assert len(seen) == 7
    assert result["score"] == max(trial["score"] for trial in result["trials"])


def test_a_grid_that_was_stopped_tries_the_interrupted_combination_again(tmp_path):
    space, seen = parse_space(["units=8,16", "rate=0.1,0.2"], [Options()]), []

    def objective(values: dict) -> float:
        seen.append(tuple(values.values()))
        if len(seen) in (2, 4):
            raise KeyboardInterrupt
        return score(values)

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            search(space, objective, sampler="grid", storage=tmp_path / "search.db")
    result = search(space, objective, sampler="grid", storage=tmp_path / "search.db")
    tried = [tuple(trial["options"].values()) for trial in result["trials"]]
    assert sorted(tried) == [(8, 0.1), (8, 0.2), (16, 0.1), (16, 0.2)]
    assert len(seen) == 6


def test_what_all_trials_share_is_not_searched():
    @dataclass
    class Shared(Options):
        train_file: str | None = None
        metric_for_best_model: str = "loss"

    with pytest.raises(UserError) as raised:
        parse_space(["train_file=a,b", "metric_for_best_model=a,b", "rate=1,2"], [Shared()])
    assert "--train_file is the same in all trials" in str(raised.value)
    assert "--metric_for_best_model is the same in all trials" in str(raised.value)
    assert "rate" not in str(raised.value)
    assert not {"learning_rate", "pooling", "seed", "num_train_epochs"} & NOT_SEARCHED


def test_a_trial_without_a_score_of_dev_is_refused():
    assert best_score([{"eval_loss": 2.0}, {"eval_loss": 1.5}, {"loss": 1.0}], "loss") == -1.5
    with pytest.raises(UserError, match="take --eval_strategy epoch and a dev file"):
        best_score([{"loss": 1.0}], "macro_f1")
