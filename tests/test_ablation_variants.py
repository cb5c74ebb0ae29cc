"""From `--ablate` to variants: values in the type of their options, names, and what is refused."""

from dataclasses import dataclass, field

import pytest
from transformers import SchedulerType

from pipelines.errors import UserError
from pipelines.runs.arguments import Given
from pipelines.studies.ablation.results import chosen_for_test, rank_correlation, swapped
from pipelines.studies.ablation.variants import slug, typed, variants_of


@dataclass
class Options:
    rate: float = 0.1
    size: int = 3
    fast: bool = False
    name: str = "a"
    length: str = "50"
    pooling: str | None = None
    patience: int | None = 3
    widths: list[int] = field(default_factory=list)


GIVEN = Given((Options,), {})


def options_of(ablate, given=GIVEN):
    return {
        variant.name: [candidate.options for candidate in variant.candidates]
        for variant in variants_of(ablate, given)
    }


def test_a_command_line_makes_a_variant_of_each_value():
    assert options_of(["rate=0.1,1e-3", "fast=true", "patience=none"]) == {
        "baseline": [{}],
        "rate=0.1": [{"rate": 0.1}],
        "rate=0.001": [{"rate": 0.001}],
        "fast=true": [{"fast": True}],
        "patience=none": [{"patience": None}],
    }


def test_a_config_file_maps_options_to_values_and_names_to_options():
    found = options_of(
        {
            "rate": [0.2, "1e-3"],
            "size": 5,
            "length": [100],
            "widths": [[3], [2, 3]],
            "both": {"rate": 1, "size": 4, "widths": [1, 2]},
        }
    )
    assert found == {
        "baseline": [{}],
        "rate=0.2": [{"rate": 0.2}],
        "rate=0.001": [{"rate": 0.001}],
        "size=5": [{"size": 5}],
        "length=100": [{"length": "100"}],
        "widths=[3]": [{"widths": [3]}],
        "widths=[2, 3]": [{"widths": [2, 3]}],
        "both": [{"rate": 1.0, "size": 4, "widths": [1, 2]}],
    }
    assert options_of([{"rate": [0.2]}, {"size": 5}]).keys() == {"baseline", "rate=0.2", "size=5"}


def test_lists_within_a_variant_are_tried_in_every_combination():
    [_, variant] = variants_of({"sgd": {"name": "sgd", "rate": [0.1, 1], "size": [2, 4]}}, GIVEN)
    assert [candidate.name for candidate in variant.candidates] == [
        "rate=0.1,size=2",
        "rate=0.1,size=4",
        "rate=1,size=2",
        "rate=1,size=4",
    ]
    assert variant.candidates[1].options == {"name": "sgd", "rate": 0.1, "size": 4}
    assert variant.folder(variant.candidates[1]) == "sgd/rate=0.1,size=4"
    [_, lists] = variants_of({"wide": {"widths": [[1], [1, 2]]}}, GIVEN)
    assert [candidate.options for candidate in lists.candidates] == [
        {"widths": [1]},
        {"widths": [1, 2]},
    ]


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        ("3", int, 3),
        (3.0, int, 3),
        ("0.5", float, 0.5),
        (1, float, 1.0),
        ("True", bool, True),
        (50, str, "50"),
        ("none", str, "none"),
        ("none", int | None, None),
        (None, str | None, None),
        ([1, "2"], list[int], [1, 2]),
        ("linear", SchedulerType | str, "linear"),
    ],
)
def test_a_value_gets_the_type_of_its_option(value, hint, expected):
    assert typed(value, hint) == expected
    assert type(typed(value, hint)) is type(expected)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("x", int),
        (1.5, int),
        (True, int),
        (None, int),
        (True, float),
        ("x", float),
        ("yes", bool),
        (1, bool),
        (True, str),
        ([1], str),
        ("3", list[int]),
        (["x"], list[int]),
        ("sideways", SchedulerType | str),
    ],
)
def test_a_value_of_another_type_is_refused(value, hint):
    with pytest.raises(ValueError, match="wanted"):
        typed(value, hint)


@pytest.mark.parametrize(
    ("ablate", "message"),
    [
        ({"rat": [1]}, "there is no option rat; did you mean rate?"),
        ({"my variant": {"rat": 1}}, "my variant: there is no option rat; did you mean rate?"),
        ({"my variant": {}}, "my variant: sets no option"),
        ({"rate": []}, "rate has no values"),
        ({"a b": {"rate": 1}, "a-b": {"rate": 2}}, "two variants are named a-b"),
        ({"baseline": {"rate": 1}}, "two variants are named baseline"),
        ({"twice": {"rate": [1, 1.0]}}, "twice: tries the same value twice"),
        (["rate=0.1,0.1"], "two variants are named rate=0.1"),
        ("rate", "wanted a mapping"),
    ],
)
def test_what_is_no_variant(ablate, message):
    with pytest.raises(UserError) as raised:
        variants_of(ablate, GIVEN)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_name_becomes_a_folder():
    assert slug("../up / down: 1") == "up-down-1"
    assert len(slug("x" * 300)) == 80


def rows(*pairs):
    return [{"name": name, "dev": dev, "value": value} for name, dev, value in pairs]


def test_the_baseline_the_best_and_the_worst_go_to_test():
    names = ["a", "b", "baseline", "c", "d", "e"]
    results = {"variants": [{"name": name} for name in names]}
    assert chosen_for_test(results, 2) == ["a", "baseline"]
    assert chosen_for_test(results, 5) == ["a", "baseline", "c", "d", "e"]
    assert chosen_for_test(results, 4) == ["a", "baseline", "d", "e"]
    assert chosen_for_test(results, 99) == names
    first = {"variants": [{"name": name} for name in ("baseline", "a", "b")]}
    assert chosen_for_test(first, 2) == ["baseline", "a"]


def test_ranks_by_hand():
    held = rows(("a", 3, 30), ("b", 2, 20), ("c", 1, 10))
    assert list(swapped(held)) == []
    assert rank_correlation([(row["dev"], row["value"]) for row in held]) == 1
    turned = rows(("a", 3, 10), ("b", 2, 20), ("c", 1, 15))
    assert list(swapped(turned)) == [("a", "b"), ("a", "c")]
    assert rank_correlation([(3, 10), (2, 20), (1, 15)]) == pytest.approx(-1 / 3)
    assert rank_correlation([(1, 1), (1, 2)]) is None
