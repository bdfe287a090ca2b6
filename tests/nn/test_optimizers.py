"""What every optimizer promises, on every array library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anynet import nn
from anynet.checks import cases
from anynet.errors import UsageError
from anynet.nn import SGD, Adam, LinearDecay
from anynet.nn.regularization import clip_grad_norm, decay_weights

STEPS = 20


@pytest.fixture(params=cases.OPTIMIZERS, ids=lambda case: case.name)
def optimizer(request: pytest.FixtureRequest) -> Any:
    return request.param.optimizer


def gradients(shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(5).normal(size=(STEPS, *shape))


def updated(xp: Any, optimizer: Any, block: Any, all_gradients: list[Any], learning_rate: Any) -> Any:
    slots = optimizer.init(xp, block)
    for gradient in all_gradients:
        block, slots = optimizer.update(xp, block, gradient, slots, learning_rate)
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


def test_slots_have_the_blocks_dtype_and_its_shape_or_none(library: Any, optimizer: Any) -> None:
    block = library.owned(np.ones((2, 3)))
    for slot in library.call(lambda block: optimizer.init(library.xp, block), block).values():
        assert slot.dtype == block.dtype
        assert not optimizer.elementwise or tuple(slot.shape) in ((), (2, 3))


def test_a_numpy_block_is_updated_in_place(optimizer: Any) -> None:
    block = np.ones(4)
    same, _ = optimizer.update(np, block, np.ones(4), optimizer.init(np, block), np.asarray(0.1))
    assert same is block


def test_a_parabola_is_descended_to_its_lowest_point(optimizer: Any) -> None:
    lowest, steepness = np.asarray([3.0, -1.0, 0.5]), np.asarray([0.5, 1.0, 4.0])
    block = np.zeros(3)
    slots = optimizer.init(np, block)
    # The rate falls to 0, since a step may be as long as the rate, however small the gradient.
    for rate in np.linspace(0.1, 0, 1000):
        gradient = steepness * (block - lowest)
        block, slots = optimizer.update(np, block, gradient, slots, np.asarray(rate))
    np.testing.assert_allclose(block, lowest, atol=1e-3)


# Ours, and the name and settings of the same in torch.optim.
PYTORCH: list[tuple[Any, str, dict[str, Any]]] = [
    (SGD(0.1), "SGD", {"lr": 0.1}),
    (SGD(0.1, momentum=0.9), "SGD", {"lr": 0.1, "momentum": 0.9}),
    (SGD(0.1, momentum=0.9, nesterov=True), "SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    (Adam(0.1), "Adam", {"lr": 0.1}),
    (Adam(0.1, betas=(0.0, 0.9), eps=1e-3), "Adam", {"lr": 0.1, "betas": (0.0, 0.9), "eps": 1e-3}),
    (Adam(0.1, weight_decay=0.2), "AdamW", {"lr": 0.1, "weight_decay": 0.2}),
]


@pytest.mark.needs("torch")
@pytest.mark.parametrize(("optimizer", "name", "settings"), PYTORCH, ids=str)
@pytest.mark.parametrize("max_norm", [None, 0.5])
def test_the_steps_are_those_of_pytorch(
    optimizer: Any, name: str, settings: dict[str, Any], max_norm: float | None
) -> None:
    import torch

    theirs = torch.ones(7, dtype=torch.float64, requires_grad=True)
    peer = getattr(torch.optim, name)([theirs], **settings)
    block = np.ones(7)
    slots, rate = optimizer.init(np, block), np.asarray(optimizer.lr)
    for gradient in gradients((7,)):
        theirs.grad = torch.asarray(gradient.copy())
        clipped = gradient
        if max_norm is not None:
            torch.nn.utils.clip_grad_norm_([theirs], max_norm)
            (clipped,) = clip_grad_norm(np, (gradient,), max_norm)
        peer.step()
        block = decay_weights(block, np.ones(7), rate * optimizer.weight_decay)
        block, slots = optimizer.update(np, block, clipped, slots, rate)
    np.testing.assert_allclose(block, theirs.detach(), rtol=1e-12)


def test_every_optimizer_of_the_package_that_pytorch_has_is_held_against_it() -> None:
    without_a_counterpart: set[type] = set()
    assert {type(ours) for ours, *_ in PYTORCH} == set(nn.OPTIMIZERS) - without_a_counterpart


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
def test_a_norm_too_large_for_the_dtype_is_not_clipped_to_nothing() -> None:
    (clipped,) = clip_grad_norm(np, (np.asarray([1e30, 1.0], np.float32),), 1.0)
    assert np.isnan(clipped).all()


def test_a_gradient_of_nothing_is_not_scaled(library: Any) -> None:
    (clipped,) = library.call(
        lambda gradient: clip_grad_norm(library.xp, (gradient,), 1.0), library.given(np.zeros((2, 2)))
    )
    library.assert_equal(clipped, np.zeros((2, 2)))


def test_all_gradients_together_are_clipped_to_a_norm(library: Any) -> None:
    given = library.given(np.asarray([3.0])), library.given(np.asarray([[4.0]]))
    clipped = library.call(lambda *given: clip_grad_norm(library.xp, given, 1.0), *given)
    for part, expected in zip(clipped, ([0.6], [[0.8]]), strict=True):
        library.assert_equal(part, np.asarray(expected), tolerance=1e-5)


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
