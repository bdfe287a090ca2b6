"""Activations against values worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import anynet
from anynet import nn
from anynet.errors import UsageError
from anynet.nn import Context
from anynet.nn.gelu import erf

# The layer, x, y, and dx for a dy of 1 everywhere.
SIGMOID = 1 / (1 + math.exp(-1.0))
CDF = (1 + math.erf(math.sqrt(0.5))) / 2
BY_HAND = [
    (nn.ReLU(), [-2.0, 0.0, 3.0], [0.0, 0.0, 3.0], [0.0, 0.0, 1.0]),
    (nn.LeakyReLU(), [-2.0, 0.0, 3.0], [-0.02, 0.0, 3.0], [0.01, 0.01, 1.0]),
    (nn.LeakyReLU(0.5), [-2.0, 0.0, 3.0], [-1.0, 0.0, 3.0], [0.5, 0.5, 1.0]),
    (nn.LeakyReLU(0), [-2.0, 0.0, 3.0], [0.0, 0.0, 3.0], [0.0, 0.0, 1.0]),
    (nn.LeakyReLU(2), [-2.0, 0.0, 3.0], [-4.0, 0.0, 3.0], [2.0, 2.0, 1.0]),
    (
        nn.Sigmoid(),
        [-1.0, 0.0, 1.0],
        [1 - SIGMOID, 0.5, SIGMOID],
        [SIGMOID * (1 - SIGMOID), 0.25, SIGMOID * (1 - SIGMOID)],
    ),
    (nn.ELU(2.0), [-1.0, 0.0, 3.0], [2 * math.expm1(-1), 0.0, 3.0], [2 * math.exp(-1), 2.0, 1.0]),
    (nn.SiLU(), [0.0, 1.0, -1e4], [0.0, SIGMOID, 0.0], [0.5, SIGMOID + SIGMOID * (1 - SIGMOID), 0.0]),
    (nn.Softplus(0.5), [-1e4, 0.0, 1e4], [0.0, 2 * math.log(2), 1e4], [0.0, 0.5, 1.0]),
    (nn.GELU(), [-1e4, 0.0, 1.0], [0.0, 0.0, CDF], [0.0, 0.5, CDF + math.exp(-0.5) / math.sqrt(2 * math.pi)]),
    (
        nn.Tanh(),
        [-1.0, 0.0, 1.0],
        [-math.tanh(1), 0.0, math.tanh(1)],
        [1 - math.tanh(1) ** 2, 1.0, 1 - math.tanh(1) ** 2],
    ),
]


@pytest.mark.parametrize(("layer", "x", "y", "dx"), BY_HAND, ids=lambda value: repr(value)[:20])
def test_output_and_gradient_are_those_worked_out_by_hand(library: Any, layer: Any, x: Any, y: Any, dx: Any) -> None:
    def forward_and_backward(x: Any, dy: Any) -> Any:
        output, saved = layer.forward(library.xp, {}, x, Context())
        return output, layer.backward(library.xp, {}, saved, dy)[0]

    given, ones = library.given(np.asarray([x])), library.owned(np.ones((1, 3)))
    for found, expected in zip(library.call(forward_and_backward, given, ones), (y, dx), strict=True):
        library.assert_equal(found, np.asarray([expected]))


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4), (2, 2, 3, 4)], ids=str)
def test_softmax_takes_each_row_of_the_last_axis_by_itself(library: Any, shape: tuple[int, ...]) -> None:
    generator = np.random.default_rng(2)
    x, dy = generator.normal(size=shape), generator.normal(size=shape)
    y, dx = np.empty(shape), np.empty(shape)
    for at in np.ndindex(shape[:-1]):
        y[at] = np.exp(x[at]) / sum(np.exp(x[at]))
        # The derivative of y[i] by x[j] is y[i] * ((i == j) - y[j]).
        dx[at] = (np.diag(y[at]) - np.outer(y[at], y[at])) @ dy[at]

    def forward_and_backward(x: Any, dy: Any) -> Any:
        output, saved = nn.Softmax().forward(library.xp, {}, x, Context())
        return output, nn.Softmax().backward(library.xp, {}, saved, dy)[0]

    found_y, found_dx = library.call(forward_and_backward, library.given(x), library.owned(dy))
    library.assert_equal(found_y, y)
    library.assert_equal(found_dx, dx)


@pytest.mark.parametrize("slope", [-1e-9, math.inf, math.nan, "0.1", None, True, 10**400], ids=repr)
def test_a_slope_is_a_number_from_0_on(slope: Any) -> None:
    with pytest.raises(UsageError, match="LeakyReLU: negative_slope must be 0 or more, but is"):
        nn.LeakyReLU(slope)


def test_a_slope_may_be_0_or_above_1() -> None:
    for slope in (0, 0.5, 1, 2.5):
        assert nn.LeakyReLU(slope).negative_slope == slope


def test_the_error_function_is_that_of_c(library: Any) -> None:
    x = np.concatenate([np.linspace(-7, 7, 2001), [0.46875, -0.46875, 1e4, -1e4]])
    expected = [*map(math.erf, np.asarray(x, library.dtype).tolist())]
    found = library.call(lambda x: erf(library.xp, x), library.given(x))
    library.assert_equal(found, np.asarray(expected), 1e-15 if library.dtype == "float64" else 4e-7)


@pytest.mark.parametrize(("layer", "slopes"), [(nn.PReLU(), 1), (nn.PReLU(True, 0.5), 3)], ids=repr)
def test_slopes_start_alike_and_are_trained_without_decay(layer: Any, slopes: int) -> None:
    network = anynet.Model(layer, nn.MSELoss(), nn.SGD(0.0001, weight_decay=1000.0)).build((2, 3))
    np.testing.assert_array_equal(network.parameters["weight"], np.full(slopes, layer.init))
    network.fit(np.ones((2, 2, 3)), np.zeros((2, 2, 3)))
    np.testing.assert_array_equal(network.parameters["weight"], np.full(slopes, layer.init))
