"""What is checked when an object is made, and what the messages say."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from anynet import nn
from anynet.errors import UsageError
from anynet.nn.checks import check_initializer, check_number, check_part, is_finite, python_number
from anynet.nn.layer import check_layer, device_of, rows_of

pytestmark = pytest.mark.host


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (3, 3),
        (0.5, 0.5),
        (np.float32(0.5), 0.5),
        (np.int8(3), 3),
        (np.asarray(2.0), 2.0),
        (True, None),
        (np.True_, None),
        (None, None),
        ("3", None),
        (1j, None),
        (np.asarray([2.0]), None),
        (np.complex64(1j), None),
        (SimpleNamespace(shape=()), None),
        (SimpleNamespace(item=lambda: 3), None),
    ],
    ids=repr,
)
def test_a_number_of_a_library_is_one_of_python(value: Any, number: Any) -> None:
    found = python_number(value)
    assert found == number
    assert type(found) is type(number)


def test_a_number_is_finite_if_a_float_can_hold_it() -> None:
    largest = sys.float_info.max
    assert all(map(is_finite, (0, largest, -largest, int(largest))))
    assert not any(map(is_finite, (math.inf, -math.inf, math.nan, 10**400, int(largest) + 1)))


@dataclass(frozen=True)
class Part:
    count: Any
    share: Any = 0.5


def test_a_number_of_a_part_becomes_one_of_python() -> None:
    part = Part(np.int64(3), np.float32(0.25))
    check_number(part, "count", "1 or more", lambda count: count >= 1, whole=True)
    check_number(part, "share", "below 1", lambda share: share < 1)
    assert part == Part(3, 0.25)
    assert (type(part.count), type(part.share)) == (int, float)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "Part: count must be 1 or more, but is 0"),
        (1.5, "Part: count must be 1 or more, but is 1.5"),
        (math.inf, "Part: count must be 1 or more, but is inf"),
        ("1", "Part: count must be 1 or more, but is '1', which is no real number"),
        (int, "Part: count must be 1 or more, but is the class int, which is no real number"),
    ],
    ids=repr,
)
def test_a_number_that_cannot_be_is_told_with_what_can(value: Any, message: str) -> None:
    part = Part(value)
    with pytest.raises(UsageError) as refused:
        check_number(part, "count", "1 or more", lambda count: count >= 1, whole=True)
    assert str(refused.value) == message
    assert part.count is value


MEMBERS = ("real", "imag", "conjugate")


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (float, "the number is the class float; make one, as in float(...)"),
        (
            "abc",
            "the number is 'abc', which is no number: expected an object with real, imag and conjugate, such as 3.0",
        ),
        (
            SimpleNamespace(imag=1),
            "the number is namespace(imag=1), which is no number: expected an object with real, imag and conjugate, "
            "such as 3.0; it has no real",
        ),
        (
            SimpleNamespace(real=1, conjugate=1),
            "the number is namespace(real=1, conjugate=1), which is no number: expected an object with real, imag and "
            "conjugate, such as 3.0; it has no imag",
        ),
    ],
    ids=repr,
)
def test_a_part_of_another_kind_is_told_with_what_it_lacks(part: Any, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_part(part, "the number", "number", MEMBERS, "3.0")
    assert str(refused.value) == message


def test_a_part_that_has_all_members_is_taken() -> None:
    check_part(3.0, "the number", "number", MEMBERS, "3.0")


def test_whatever_can_be_called_is_an_initializer_but_for_a_class() -> None:
    check_initializer(lambda generator, shape: 0.0, "it", "Zeros()")
    for wrong in (nn.Zeros, 3, None):
        with pytest.raises(UsageError, match=r"^it must be an initializer such as Zeros\(\), but is "):
            check_initializer(wrong, "it", "Zeros()")


class NoForward(nn.Layer):
    def backward(self, *arguments: Any) -> Any: ...

    def __repr__(self) -> str:
        return "NoForward()"


class ForwardAlone(nn.Layer):
    def forward(self, *arguments: Any) -> Any: ...


class Alike:
    forward = None

    def __repr__(self) -> str:
        return "Alike()"


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.ReLU, "it is the class ReLU; make one, as in ReLU(...)"),
        ([nn.ReLU()], "it is a list, which is no layer: wrap what it holds, Sequential(*layers)"),
        ((), "it is a tuple, which is no layer: wrap what it holds, Sequential(*layers)"),
        (3, "it is 3, which is no layer: expected one of anynet.nn, such as Linear(128) or ReLU()"),
        (Alike(), "it is Alike(), which is no layer: derive Alike from anynet.nn.Layer"),
        (NoForward(), "it is NoForward(), a layer that has no method forward"),
    ],
    ids=repr,
)
def test_what_is_no_layer_is_told_with_what_to_do(layer: Any, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_layer(layer, "it")
    assert str(refused.value) == message


def test_a_layer_needs_one_method_and_has_no_parameters_if_it_names_none() -> None:
    layer = ForwardAlone()
    check_layer(layer, "it")
    assert layer.parameters((2, 3)) == ({}, (2, 3))
    assert layer.update_buffers(np, {}, None) == {}
    told = layer.trainable, layer.accepts_uint8, layer.stochastic, layer.updates_buffers
    assert told == (False, False, False, False)
    for method in (nn.Layer.forward, nn.Layer.backward):
        with pytest.raises(NotImplementedError):
            method(layer, np, {}, np.ones(1), None)  # type: ignore[operator]


def test_the_device_of_what_has_none_is_none() -> None:
    assert device_of(SimpleNamespace(device="here")) == "here"
    assert device_of(object()) is None


def test_rows_are_all_axes_but_the_last_taken_together() -> None:
    for shape, rows in (((2, 3), (2, 3)), ((4, 2, 3), (8, 3)), ((3,), (1, 3)), ((4, 1, 2, 3), (8, 3))):
        x = np.arange(float(math.prod(shape))).reshape(shape)
        assert rows_of(np, x).shape == rows
        np.testing.assert_array_equal(rows_of(np, x).ravel(), x.ravel())
