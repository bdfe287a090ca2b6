"""What every optimizer promises, on every array library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anynet import nn
from anynet.checks import cases
from anynet.errors import UsageError
from anynet.nn import SGD, Adam, LinearDecay

STEPS = 20


@pytest.fixture(params=cases.OPTIMIZERS, ids=lambda case: case.name)
def optimizer(request: pytest.FixtureRequest) -> Any:
    return request.param.optimizer


def gradients(shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(5).normal(size=(STEPS, *shape))


def updated(xp: Any, optimizer: Any, block: Any, all_gradients: list[Any], learning_rate: Any) -> Any:
    slots = optimizer.init(xp, block)
    step = xp.astype(learning_rate * 0.0, xp.int32)
    for gradient in all_gradients:
        step = step + 1
        block, slots = optimizer.update(xp, block, gradient, slots, learning_rate, step)
    return block


@pytest.mark.parametrize("shape", [(), (6,), (2, 3)], ids=str)
def test_a_block_of_any_shape_is_updated_as_on_numpy(library: Any, optimizer: Any, shape: tuple[int, ...]) -> None:
    drawn = gradients(shape)
    expected = updated(np, optimizer, np.ones(shape), [g.copy() for g in drawn], np.asarray(0.1))
    owned = [library.owned(gradient) for gradient in drawn]
    actual = library.call(
        lambda block, owned, learning_rate: updated(library.xp, optimizer, block, owned, learning_rate),
        library.owned(np.ones(shape)),
        owned,
        library.given(np.asarray(0.1)),
    )
    library.assert_equal(actual, expected, tolerance=1e-12 if library.dtype == "float64" else 1e-4)


def test_a_numpy_block_is_updated_in_place(optimizer: Any) -> None:
    block = np.ones(4)
    same, _ = optimizer.update(np, block, np.ones(4), optimizer.init(np, block), np.asarray(0.1), np.asarray(1))
    assert same is block


@pytest.mark.needs("torch")
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_the_steps_are_those_of_pytorch(momentum: float, nesterov: bool) -> None:
    import torch

    drawn = gradients((7,))
    parameter = torch.ones(7, dtype=torch.float64, requires_grad=True)
    peer = torch.optim.SGD([parameter], lr=0.1, momentum=momentum, nesterov=nesterov)
    for gradient in drawn:
        parameter.grad = torch.asarray(gradient)
        peer.step()
    ours = updated(np, SGD(0.1, momentum, nesterov), np.ones(7), [g.copy() for g in drawn], np.asarray(0.1))
    np.testing.assert_allclose(ours, parameter.detach(), rtol=1e-13)


@pytest.mark.needs("torch")
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.9)])
def test_the_steps_of_adam_are_those_of_pytorch(betas: tuple[float, float]) -> None:
    import torch

    drawn = gradients((7,))
    parameter = torch.ones(7, dtype=torch.float64, requires_grad=True)
    peer = torch.optim.Adam([parameter], lr=0.1, betas=betas, eps=1e-3)
    for gradient in drawn:
        parameter.grad = torch.asarray(gradient)
        peer.step()
    ours = updated(np, Adam(0.1, betas, 1e-3), np.ones(7), [g.copy() for g in drawn], np.asarray(0.1))
    np.testing.assert_allclose(ours, parameter.detach(), rtol=1e-12)


def test_linear_decay_falls_in_a_straight_line_to_zero(library: Any) -> None:
    schedule = LinearDecay(0.2, steps=10)
    for step, expected in ((0.0, 0.2), (5.0, 0.1), (10.0, 0.0), (11.0, 0.0)):
        rate = library.call(lambda step: schedule(library.xp, step), library.given(np.asarray(step)))
        library.assert_equal(rate, np.asarray(expected))


def test_every_optimizer_of_the_package_has_a_case() -> None:
    assert {type(case.optimizer) for case in cases.OPTIMIZERS} == set(nn.OPTIMIZERS)


@pytest.mark.parametrize(
    ("rule", "settings", "words"),
    [
        (SGD, {"lr": 0.0}, "lr must be above 0"),
        (SGD, {"lr": float("nan")}, "lr must be above 0"),
        (SGD, {"lr": 0.1, "momentum": 1.0}, "momentum must be at least 0 and below 1"),
        (SGD, {"lr": 0.1, "momentum": -0.1}, "momentum must be at least 0"),
        (SGD, {"lr": 0.1, "nesterov": True}, "nesterov needs a momentum"),
        (SGD, {"lr": 0.1, "weight_decay": -1.0}, "weight_decay must be 0 or more"),
        (Adam, {"lr": -0.1}, "lr must be above 0"),
        (Adam, {"betas": (0.9, 1.0)}, "betas must be two numbers"),
        (Adam, {"betas": (0.9,)}, "betas must be two numbers"),
        (Adam, {"eps": 0.0}, "eps must be above 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(rule: Any, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        rule(**settings)
