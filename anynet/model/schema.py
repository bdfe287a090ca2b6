"""Schemas of the descriptions in files, which are checked once and trusted afterwards."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from anynet.errors import DataError

LARGEST = 2**63 - 1
# Every library counts steps in int32.
MOST_STEPS = 2**31 - 1


class Kind(NamedTuple):
    """A kind of value: its name in error messages, and a function that tells whether a value is one."""

    name: str
    holds: Callable[[Any], bool]


Schema: TypeAlias = "Kind | list[Any] | Mapping[str, Any]"

WHOLE = Kind("a whole number, 0 or more", lambda value: type(value) is int and 0 <= value <= LARGEST)
LENGTH = Kind("a whole number, 1 or more", lambda value: type(value) is int and 1 <= value <= LARGEST)
STEPS = Kind(f"a whole number from 0 to {MOST_STEPS}", lambda value: type(value) is int and 0 <= value <= MOST_STEPS)
NUMBER = Kind("a number", lambda value: type(value) in (int, float))
NUMBER_OR_NONE = Kind("a number or null", lambda value: value is None or NUMBER.holds(value))
TEXT = Kind("a text", lambda value: isinstance(value, str))
MAPPING = Kind("names with values", lambda value: isinstance(value, dict))
NUMBERS = Kind("names with numbers", lambda value: isinstance(value, dict) and all(map(NUMBER.holds, value.values())))
# A NumPy array has at most 64 axes, one of them for the samples.
SHAPE = Kind(
    "a list of at most 63 whole numbers, 1 or more",
    lambda value: isinstance(value, list) and len(value) < 64 and all(map(LENGTH.holds, value)),
)


def _is_input_shape(value: Any) -> bool:
    return all(map(_is_input_shape, value.values())) if isinstance(value, dict) else SHAPE.holds(value)


# That of a network which takes a dict of arrays is one, too.
INPUT_SHAPE = Kind(f"{SHAPE.name}, or names with such lists", _is_input_shape)


def one_of(*values: str) -> Kind:
    return Kind(" or ".join(values), lambda value: value in values)


def check(value: Any, schema: Schema, what: str = "it is") -> None:
    """Raise a DataError if a value does not match a schema; a dict may have keys that the schema lacks.

    >>> check({"shape": [3, 0]}, {"shape": [LENGTH]})
    Traceback (most recent call last):
    anynet.errors.DataError: its shape holds 0: expected a whole number, 1 or more
    """
    if isinstance(schema, Kind):
        if not schema.holds(value):
            raise DataError(f"{what} {reprlib.repr(value)}: expected {schema.name}")
    elif isinstance(schema, list):
        if not isinstance(value, list):
            raise DataError(f"{what} {reprlib.repr(value)}: expected a list")
        for item in value:
            check(item, schema[0], f"{what.removesuffix('is')}holds")
    else:
        if not isinstance(value, dict):
            raise DataError(f"{what} {reprlib.repr(value)}: expected names with values")
        for key, inner in schema.items():
            if key not in value:
                raise DataError(f"it has no {key}")
            check(value[key], inner, f"its {key} is")
