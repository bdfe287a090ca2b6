"""Every backward and every gradient that is written by hand, against the one that is derived from forward alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anynet import nn
from anynet.checks import cases
from anynet.nn import Context, Layout, derived
from anynet.nn.layer import _derived_backward

pytestmark = pytest.mark.host

ROWS = 5
WRITTEN = [case for case in cases.LAYERS if type(case.layer).backward is not _derived_backward]
CONTEXTS = {
    "training": Context(training=True, seed=3, step=np.asarray(7, np.int32)),
    "evaluation": Context(),
}


def forward_alone(layer: Any, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
    return layer.forward(xp, p, x, ctx)[0]


@pytest.mark.parametrize("need_dx", [True, False])
@pytest.mark.parametrize("mode", CONTEXTS)
@pytest.mark.parametrize("case", WRITTEN, ids=lambda case: case.name)
def test_a_written_backward_is_the_derived_one(case: cases.LayerCase, mode: str, need_dx: bool) -> None:
    generator = np.random.default_rng(5)
    layout = Layout(case.layer, case.shape, pack_limit=0)
    # Not where parameters start from: there, running statistics and biases would be 0 and 1.
    arrays = {
        name: array + generator.uniform(0.1, 0.5, array.shape) for name, array in layout.initial(np, generator).items()
    }
    p = layout.unpack(np, *layout.blocks(np, arrays))
    # Normal numbers are never 0, where ReLU's derivative is a matter of convention.
    x = generator.normal(size=(ROWS, *case.shape))
    dy = generator.normal(size=(ROWS, *layout.out_shape))
    y, saved = case.layer.forward(np, p, x, CONTEXTS[mode])
    dx, gradients = case.layer.backward(np, p, saved, dy.copy(), need_dx)
    same_y, told = derived.forward(case.layer, forward_alone, np, p, x, CONTEXTS[mode])
    same_dx, same_gradients = derived.backward(np, told, dy.copy(), need_dx)
    np.testing.assert_array_equal(same_y, y)
    found, expected = layout.summed(same_gradients), layout.summed(gradients)
    assert found.keys() == expected.keys() == {entry.name for entry in layout.parameters}
    pairs = [(found[name], expected[name]) for name in found]
    for one, other in [*pairs, (same_dx, dx)] if need_dx else pairs:
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def returns_both(loss: Any) -> bool:
    target = cases.draw_target(np.random.default_rng(0), loss, (1, 4))
    return isinstance(loss(np, np.full((1, 4), 0.5), target, np.ones(1)), tuple)


@pytest.mark.parametrize("case", [case for case in cases.LOSSES if returns_both(case.loss)], ids=lambda case: case.name)
def test_a_written_gradient_of_a_loss_is_the_derived_one(case: cases.LossCase) -> None:
    generator = np.random.default_rng(6)
    prediction = cases.draw_input(generator, case.loss, (ROWS, *case.shape))
    target = cases.draw_target(generator, case.loss, prediction.shape)
    weight = cases.draw_weight(generator, ROWS)
    value, gradient = case.loss(np, prediction, target, weight)

    def value_alone(*arguments: Any) -> Any:
        return case.loss(*arguments)[0]

    same_value, same_gradient = derived.value_and_gradient(value_alone, np, prediction, target, weight)
    np.testing.assert_array_equal(same_value, value)
    np.testing.assert_allclose(same_gradient, gradient, rtol=1e-12, atol=1e-12)


def test_what_is_written_is_found() -> None:
    names = {type(case.layer).__name__ for case in WRITTEN}
    assert {"Linear", "ReLU", "LayerNorm", "BatchNorm", "Dropout", "GELU", "Sequential", "Residual"} <= names
    assert not names & {nn.ELU.__name__, nn.Reshape.__name__}
    assert {case.name for case in cases.LOSSES if returns_both(case.loss)} >= {"MSELoss", "CrossEntropyLoss"}
