"""Checks of the arguments of layers, losses and optimizers, made once, when an object is made."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from anynet.errors import ShapeError, UsageError, shown
from anynet.tracing.trees import over_dicts

# How many float64 numbers fit into the address space.
_MOST_NUMBERS = sys.maxsize // 8


def python_number(value: Any) -> int | float | None:
    """A number of Python or of an array library as a Python number; None for anything else.

    A float64 scalar of NumPy would turn float32 arrays into float64.

    >>> import numpy as np
    >>> python_number(np.float64(0.5)), python_number("0.5"), python_number(True)
    (0.5, None, None)
    """
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def is_finite(number: float) -> bool:
    """Whether a number is finite as a float; a Python int may be too large."""
    return abs(number) <= sys.float_info.max


def check_number(part: object, name: str, words: str, fits: Callable[[Any], bool], *, whole: bool = False) -> None:
    """Make a field of a frozen dataclass a Python number.

    Raises
    ------
    UsageError
        When it is not a finite number, or `fits` refuses it; `words` say in the message what fits.

    >>> from anynet.nn import Dropout
    >>> Dropout("0.5")
    Traceback (most recent call last):
    anynet.errors.UsageError: Dropout: p must be at least 0 and below 1, but is '0.5', which is no real number
    """
    value = getattr(part, name)
    number = python_number(value)
    if number is None or not is_finite(number) or not fits(number) or (whole and not isinstance(number, int)):
        reason = ", which is no real number" if number is None else ""
        raise UsageError(f"{type(part).__name__}: {name} must be {words}, but is {shown(value)}{reason}")
    object.__setattr__(part, name, number)


def check_betas(part: Any) -> None:
    """Make the field `betas` of a frozen dataclass two Python floats, each at least 0 and below 1.

    >>> from anynet.nn import Adam
    >>> Adam(betas=0.9)
    Traceback (most recent call last):
    anynet.errors.UsageError: Adam: betas must be two numbers, at least 0 and below 1, such as (0.9, 0.999), but are 0.9
    """
    given = part.betas
    numbers = map(python_number, given) if isinstance(given, (list, tuple)) else ()
    betas = tuple(float(beta) for beta in numbers if beta is not None and 0 <= beta < 1)
    if len(betas) != 2 or len(given) != 2:
        words = "two numbers, at least 0 and below 1, such as (0.9, 0.999)"
        raise UsageError(f"{type(part).__name__}: betas must be {words}, but are {shown(given)}")
    object.__setattr__(part, "betas", betas)


def check_flag(part: object, name: str) -> None:
    """Refuse a field of a dataclass that is neither True nor False."""
    if not isinstance(flag := getattr(part, name), bool):
        raise UsageError(f"{type(part).__name__}: {name} must be True or False, but is {shown(flag)}")


def check_part(part: object, name: str, kind: str, members: Sequence[str], such_as: str) -> None:
    """Refuse a class, or an object that lacks one of the `members` of its kind, such as a loss or an optimizer.

    >>> check_part(3, "the loss", "loss", ["target_kind", "__call__"], "MSELoss()")
    Traceback (most recent call last):
    anynet.errors.UsageError: the loss is 3, which is no loss: expected an object with target_kind and __call__, \
such as MSELoss()
    """
    if isinstance(part, type):
        raise UsageError(f"{name} is {shown(part)}; make one, as in {part.__name__}(...)")
    if missing := [member for member in members if not hasattr(part, member)]:
        *most, last = members
        expected = f"expected an object with {', '.join(most)} and {last}, such as {such_as}"
        lacking = "" if len(missing) == len(members) else f"; it has no {missing[0]}"
        raise UsageError(f"{name} is {shown(part)}, which is no {kind}: {expected}{lacking}")


def check_initializer(initializer: object, name: str, such_as: str) -> None:
    """Refuse a class, or an object that cannot be called as ``initializer(generator, shape)``."""
    if isinstance(initializer, type) or not callable(initializer):
        raise UsageError(f"{name} must be an initializer such as {such_as}, but is {shown(initializer)}")


def check_shape(shape: Any, of: str = "a sample") -> tuple[int, ...]:
    """A shape as a tuple of Python ints.

    Raises
    ------
    ShapeError
        When it is not a tuple or list of whole numbers, or no array can have it.

    >>> check_shape([28, 28])
    (28, 28)
    >>> check_shape(784)
    Traceback (most recent call last):
    anynet.errors.ShapeError: the shape of a sample must be a tuple of whole numbers, such as (784,), but is 784
    """
    numbers = [python_number(length) for length in shape] if isinstance(shape, (list, tuple)) else [None]
    lengths = tuple(number for number in numbers if isinstance(number, int) and number >= 0)
    if len(lengths) < len(numbers):
        words = "a tuple of whole numbers, such as (784,)"
        raise ShapeError(f"the shape of {of} must be {words}, but is {shown(shape)}")
    # Libraries multiply the other lengths even if one axis has length 0.
    if math.prod(max(length, 1) for length in lengths) > _MOST_NUMBERS:
        raise ShapeError(f"the shape of {of} is {shown(shape)}, which is more numbers than an array can hold")
    return lengths


def check_names(given: Any, expected: Any, what: str) -> Any:
    """What is given for the inputs of a network, whose `indices` are expected: one thing, or a dict with their names.

    Raises
    ------
    ShapeError
        When it is a dict and should not be, or the other way round, or has other names.

    >>> check_names({"image": 1}, {"image": None, "table": None}, "x")
    Traceback (most recent call last):
    anynet.errors.ShapeError: x has no 'table': the network takes a dict with image, table
    """
    if not isinstance(expected, dict):
        if isinstance(given, Mapping):
            such_as = ", ".join(f"{name}=..." for name in given)
            raise ShapeError(f"{what} is a dict, but the network takes one array: begin it with Inputs({such_as})")
        return given
    words = f"the network takes a dict with {', '.join(expected)}"
    if not isinstance(given, Mapping):
        raise ShapeError(f"{what} is of type {type(given).__name__}, but {words}")
    if others := [name for name in given if name not in expected]:
        raise ShapeError(f"{what} has {shown(others[0])}, but {words}")
    if missing := [name for name in expected if name not in given]:
        raise ShapeError(f"{what} has no {missing[0]!r}: {words}")
    return {name: check_names(given[name], inner, f"{what}[{name!r}]") for name, inner in expected.items()}


def check_input_shape(shape: Any) -> Any:
    """The shape of a sample, or of each named input, as tuples of Python ints."""
    return over_dicts(check_shape, shape)
