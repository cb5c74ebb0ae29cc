"""One cell as a sequence: what is read, and every kind of fault."""

import numpy as np
import pytest

from pipelines.corpora.rows import Row, mark_widths
from pipelines.corpora.steps import read_steps
from pipelines.examples import Example, Steps, features_key

VALUES = [[0.5, -1.0], [2.0, 3.25], [0.0, 1e3]]


@pytest.mark.parametrize(
    "value",
    [
        VALUES,
        tuple(map(tuple, VALUES)),
        np.array(VALUES),
        np.array(VALUES, dtype=np.float32),
        [np.array(row) for row in VALUES],
        [[np.float32(cell) for cell in row] for row in VALUES],
        np.array(VALUES, dtype=object),
    ],
)
def test_a_sequence_is_read(value):
    steps, findings = read_steps(value, "features")
    assert findings == []
    assert (len(steps), steps.width) == (3, 2)
    np.testing.assert_array_equal(np.frombuffer(steps.values, "<f4").reshape(-1, 2), VALUES)


@pytest.mark.parametrize(
    ("value", "faults"),
    [
        (None, ["missing_value"]),
        ([], ["empty_sequence"]),
        (np.zeros((0, 3)), ["empty_sequence"]),
        ([[1, float("nan")]], ["not_finite"]),
        ([[1, 2], [float("-inf"), 2]], ["not_finite"]),
        ([[1, 1e300]], ["not_finite"]),
        ([[1, 10**400]], ["not_finite"]),
        (np.array([[1.0, np.inf]]), ["not_finite"]),
        ([[1, None]], ["missing_value"]),
        ([[1, 2], [3]], ["wrong_width"]),
        ([[], []], ["wrong_width"]),
        ([[1, "2"]], ["wrong_type"]),
        ([[1, True]], ["wrong_type"]),
        ([[1, [2]]], ["wrong_type"]),
        ([1, 2], ["wrong_type"]),
        ("[[1, 2]]", ["wrong_type"]),
        ({"a": 1}, ["wrong_type"]),
        (np.array(["a"]), ["wrong_type"]),
        (np.zeros((2, 2, 2)), ["wrong_type"]),
        (np.zeros(3), ["wrong_type"]),
        (np.zeros((2, 0)), ["wrong_type"]),
        (
            [[1, 2], [3], [None, float("nan")], ["a", 1]],
            ["wrong_width", "missing_value", "wrong_type", "not_finite"],
        ),
    ],
)
def test_all_faults_of_a_sequence_are_reported_at_once(value, faults):
    steps, findings = read_steps(value, "features")
    assert steps is None
    assert [kind for kind, _, _ in findings] == faults


def test_a_message_names_the_steps():
    _, [(_, message, _)] = read_steps([[1, 2], [3], [4], [5, 6], [7, 8]], "x")
    assert message == "step 1, 2 has 1 numbers; most have 2"


def test_the_width_is_that_of_most_sequences_of_the_first_file():
    def row(width):
        return Row("0", features=Steps(bytes(4 * width), width))

    train, dev = [row(2), row(3), row(3), Row("1")], [row(2), row(2), row(3)]
    mark_widths([train, dev])
    kinds = [[kind for kind, _, _ in one.findings] for one in (*train, *dev)]
    assert kinds == [["wrong_width"], [], [], [], ["wrong_width"], ["wrong_width"], []]


def test_examples_with_sequences_can_be_compared_and_hashed():
    def example(values):
        return Example("a", "", features=Steps(np.array(values, "<f4").tobytes(), 2))

    one, same, other = example([[1, 2]]), example([[1, 2]]), example([[1, 3]])
    assert one == same
    assert len({one, same, other}) == 2
    assert features_key(one) == features_key(same) != features_key(other)
    wider = Example("a", "", features=Steps(one.features.values, 1))
    assert features_key(wider) != features_key(one)
    assert features_key(Example("a", "text")) == ""
