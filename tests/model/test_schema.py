"""Which values the description in a file may hold, and how one that it may not is named."""

from __future__ import annotations

import math
from typing import Any

import pytest

from anynet.errors import DataError
from anynet.model import schema

LARGEST, MOST_STEPS = 2**63 - 1, 2**31 - 1
NUMBERS = [0, 1, -1, MOST_STEPS, MOST_STEPS + 1, LARGEST, LARGEST + 1, True, 1.0, math.nan]
OTHERS = [None, "1", "", [], [1] * 63, [1] * 64, [1, 0], [1.0], {}, {"a": 1, "b": 0.5}, {"a": 1, "b": "2"}, (1,)]
HELD = {
    "a whole number, 0 or more": (schema.WHOLE, [0, 1, MOST_STEPS, MOST_STEPS + 1, LARGEST]),
    "a whole number, 1 or more": (schema.LENGTH, [1, MOST_STEPS, MOST_STEPS + 1, LARGEST]),
    f"a whole number from 0 to {MOST_STEPS}": (schema.STEPS, [0, 1, MOST_STEPS]),
    "a number": (schema.NUMBER, [number for number in NUMBERS if number is not True]),
    "a number or null": (schema.NUMBER_OR_NONE, [*(number for number in NUMBERS if number is not True), None]),
    "a text": (schema.TEXT, ["1", ""]),
    "names with values": (schema.MAPPING, [{}, {"a": 1, "b": 0.5}, {"a": 1, "b": "2"}]),
    "names with numbers": (schema.NUMBERS, [{}, {"a": 1, "b": 0.5}]),
    "a list of at most 63 whole numbers, 1 or more": (schema.SHAPE, [[], [1] * 63]),
}


@pytest.mark.parametrize("name", HELD)
def test_each_kind_holds_its_values_and_no_others(name: str) -> None:
    kind, held = HELD[name]
    assert kind.name == name
    found = [value for value in [*NUMBERS, *OTHERS] if kind.holds(value)]
    # True is 1, so values are compared with their types.
    assert list(map(repr, found)) == list(map(repr, held))


def test_one_of_several_texts_is_none_but_these() -> None:
    kind = schema.one_of("1", "2")
    assert kind.name == "1 or 2"
    assert [value for value in [*NUMBERS, *OTHERS, "2", "1 or 2"] if kind.holds(value)] == ["1", "2"]


@pytest.mark.parametrize(
    ("value", "inner", "words"),
    [
        (3, schema.TEXT, "it is 3: expected a text"),
        ("x" * 99, schema.WHOLE, f"it is '{'x' * 12}...{'x' * 13}': expected a whole number, 0 or more"),
        (3, [schema.TEXT], "it is 3: expected a list"),
        (["a", 3], [schema.TEXT], "it holds 3: expected a text"),
        ({"inner": {"names": ["a", 3]}}, {"inner": {"names": [schema.TEXT]}}, "its names holds 3: expected a text"),
        ({"inner": {"names": 3}}, {"inner": {"names": [schema.TEXT]}}, "its names is 3: expected a list"),
        (["a" * 99], {"names": schema.TEXT}, f"it is ['{'a' * 12}...{'a' * 13}']: expected names with values"),
        ("a" * 99, [schema.TEXT], f"it is '{'a' * 12}...{'a' * 13}': expected a list"),
        ({"other": 3}, {"names": schema.TEXT}, "it has no names"),
        ({"inner": {}}, {"inner": {"names": schema.TEXT}}, "it has no names"),
        (
            {"first": "a", "second": 3},
            {"first": schema.TEXT, "second": schema.TEXT},
            "its second is 3: expected a text",
        ),
    ],
)
def test_what_does_not_fit_is_named_shortly_with_its_place(value: Any, inner: Any, words: str) -> None:
    with pytest.raises(DataError) as caught:
        schema.check(value, inner)
    assert str(caught.value) == words


def test_keys_that_a_schema_lacks_may_be_there() -> None:
    schema.check({"names": ["a"], "other": 3}, {"names": [schema.TEXT]})
    schema.check({"names": [], "other": 3}, {"names": [schema.TEXT]})
