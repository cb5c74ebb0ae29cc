"""Searching options: what is written, what is tried, what is result to matter."""

from dataclasses import dataclass

import pytest

from pipelines.errors import UserError
from pipelines.runs.search import Range, parse_space, search, search_as_text


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
