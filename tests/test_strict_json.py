"""JSON that refuses what Python's own parser lets pass."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.corpora.strict_json import DuplicateKey, loads

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10
)


@given(VALUES)
def test_whatever_json_writes_is_read_as_it_was(value):
    assert loads(json.dumps(value)) == value
    assert loads(json.dumps(value, indent=1, ensure_ascii=False)) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1, "a": 1}', "the key 'a' occurs twice"),
        ('{"a": 1, "\\u0061": 1}', "the key 'a' occurs twice"),
        ('{"b": {"a": 1, "c": 2, "a": 1, "a": 1}}', "the key 'a' occurs 3 times"),
        ('[{"a": 1}, 7, {"b": [{"a": 1, "a": 2}]}]', "the key 'a' occurs twice in row 2"),
        (' [\n {"a": 1, "a": 2}]', "the key 'a' occurs twice in row 0"),
    ],
)
def test_a_duplicate_key_is_named_with_its_row(text, expected):
    with pytest.raises(DuplicateKey) as raised:
        loads(text)
    assert str(raised.value) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[1, NaN]", "NaN is not a value of JSON; write null where there is none"),
        ('{"a": -Infinity}', "-Infinity is not a value of JSON; write null where there is none"),
        ("[" * 100_000, "the value is nested too deeply"),
        ('{"a": ' * 100_000, "the value is nested too deeply"),
        (f"[{'9' * 5000}]", "a number has too many digits"),
    ],
)
def test_what_only_python_reads_or_nobody_is_one_kind_of_error(text, expected):
    with pytest.raises(ValueError) as raised:  # noqa: PT011 (the message is compared)
        loads(text)
    assert str(raised.value) == expected


def test_what_is_no_json_says_where():
    with pytest.raises(json.JSONDecodeError) as raised:
        loads('{"a": 1,\n "b"}')
    assert (raised.value.lineno, raised.value.colno) == (2, 5)


def test_constants_of_python_can_be_allowed():
    assert loads("[Infinity, -Infinity]", allow_nan=True) == [float("inf"), float("-inf")]
