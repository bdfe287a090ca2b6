"""What every optimizer promises, on every array library."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest

from anynet import nn
from anynet.checks import cases
from anynet.errors import UsageError
from anynet.nn import SGD, Adagrad, Adam, AdamW, LinearDecay, Lion, NAdam, RMSprop
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


def highest_rate(optimizer: Any) -> float:
    if not callable(optimizer.lr):
        return float(optimizer.lr)
    return max(float(optimizer.lr(np, np.asarray(float(step)))) for step in range(STEPS))


def test_a_parabola_is_descended_to_its_lowest_point(optimizer: Any) -> None:
    lowest, steepness = np.asarray([3.0, -1.0, 0.5]), np.asarray([0.5, 1.0, 4.0])
    block = np.zeros(3)
    slots = optimizer.init(np, block)
    # The rate falls to 0, since a step may be as long as the rate, however small the gradient.
    for rate in np.linspace(highest_rate(optimizer), 0, 1000):
        gradient = steepness * (block - lowest)
        block, slots = optimizer.update(np, block, gradient, slots, np.asarray(rate))
    np.testing.assert_allclose(block, lowest, atol=1e-3)


# Ours, and the name and settings of the same in torch.optim.
PYTORCH: list[tuple[Any, str, dict[str, Any]]] = [
    *((ours(), ours.__name__, {}) for ours in (AdamW, NAdam, RMSprop, Adagrad)),
    *(
        (ours(**settings), ours.__name__, settings)
        for ours, settings in (
            (AdamW, {"lr": 0.1, "betas": (0.5, 0.75), "eps": 1e-3, "weight_decay": 0.2}),
            (NAdam, {"lr": 0.1, "betas": (0.5, 0.75), "eps": 1e-3, "momentum_decay": 0.5}),
            (NAdam, {"lr": 0.1, "betas": (0.0, 0.9), "momentum_decay": 0.0}),
            (RMSprop, {"lr": 0.1, "alpha": 0.5, "eps": 1e-3, "momentum": 0.9}),
            (RMSprop, {"lr": 0.1, "alpha": 0.9, "centered": True}),
            (RMSprop, {"lr": 0.1, "eps": 0.1, "momentum": 0.5, "centered": True}),
            (Adagrad, {"lr": 0.1, "lr_decay": 0.5}),
            (Adagrad, {"lr": 0.1, "lr_decay": 0.01, "initial_accumulator_value": 2.0, "eps": 1e-3}),
        )
    ),
    (NAdam(0.1, weight_decay=0.2), "NAdam", {"lr": 0.1, "weight_decay": 0.2, "decoupled_weight_decay": True}),
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
    optimizer: Any, name: str, settings: dict[str, Any], max_norm: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    # NAdam keeps the product of its momenta in the default dtype.
    monkeypatch.setattr(sys.modules["torch.optim.nadam"], "_get_scalar_dtype", lambda: torch.float64)
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
    # The mean of weights is held against an AveragedModel, in tests/model/test_averaging.py.
    without_a_counterpart = {Lion, nn.EMA}
    assert {type(ours) for ours, *_ in PYTORCH} == set(nn.OPTIMIZERS) - without_a_counterpart


def test_every_optimizer_of_the_package_has_a_case() -> None:
    assert {type(case.optimizer) for case in cases.OPTIMIZERS} == set(nn.OPTIMIZERS)


def steps_of_sgd(settings: dict[str, Any], all_gradients: Any) -> list[float]:
    """What the docstring of SGD says, with Python's numbers."""
    w, v, momentum = 1.0, 0.0, settings.get("momentum", 0.0)
    weights = []
    for g in map(float, all_gradients):
        v = momentum * v + g
        w -= settings["lr"] * (g + momentum * v if settings.get("nesterov") else v)
        weights.append(w)
    return weights


def steps_of_adam(settings: dict[str, Any], all_gradients: Any) -> list[float]:
    """What the docstring of Adam says, with Python's numbers."""
    w, m, s = 1.0, 0.0, 0.0
    (beta1, beta2), eps = settings.get("betas", (0.9, 0.999)), settings.get("eps", 1e-8)
    weights = []
    for t, g in enumerate(map(float, all_gradients), start=1):
        m = beta1 * m + (1 - beta1) * g
        s = beta2 * s + (1 - beta2) * g**2
        w -= settings["lr"] * (m / (1 - beta1**t)) / (math.sqrt(s / (1 - beta2**t)) + eps)
        weights.append(w)
    return weights


def steps_of_lion(settings: dict[str, Any], all_gradients: Any) -> list[float]:
    """Algorithm 2 of Chen et al. 2023, without weight decay, with Python's numbers."""
    w, m = 1.0, 0.0
    beta1, beta2 = settings.get("betas", (0.9, 0.99))
    weights = []
    for g in map(float, all_gradients):
        w -= settings["lr"] * math.copysign(1.0, beta1 * m + (1 - beta1) * g)
        m = beta2 * m + (1 - beta2) * g
        weights.append(w)
    return weights


BY_THE_BOOK: list[tuple[Any, Any, dict[str, Any]]] = [
    (SGD, steps_of_sgd, {"lr": 0.1}),
    (SGD, steps_of_sgd, {"lr": 0.1, "momentum": 0.9}),
    (SGD, steps_of_sgd, {"lr": 0.3, "momentum": 0.5, "nesterov": True}),
    (Adam, steps_of_adam, {"lr": 0.1}),
    (Adam, steps_of_adam, {"lr": 0.1, "betas": (0.5, 0.75), "eps": 0.25}),
    (Adam, steps_of_adam, {"lr": 0.1, "betas": (0, 0.75), "eps": 0.25}),
    (Adam, steps_of_adam, {"lr": 0.1, "betas": [0.5, 0], "eps": 0.25}),
    (Lion, steps_of_lion, {"lr": 1e-4}),
    (Lion, steps_of_lion, {"lr": 0.1, "betas": (0.5, 0.0)}),
]


@pytest.mark.parametrize(("rule", "by_the_book", "settings"), BY_THE_BOOK, ids=str)
def test_each_step_is_the_one_that_the_docstring_tells(
    library: Any, rule: Any, by_the_book: Any, settings: dict[str, Any]
) -> None:
    drawn, optimizer = gradients(()), rule(**settings)

    def steps(block: Any, rate: Any, owned: list[Any]) -> list[Any]:
        slots, weights = optimizer.init(library.xp, block), []
        for gradient in owned:
            block, slots = optimizer.update(library.xp, block, gradient, slots, rate)
            weights.append(library.xp.asarray(block, copy=True))
        return weights

    given = library.owned(np.ones(())), library.given(np.asarray(settings["lr"]))
    found = library.call(steps, *given, [library.owned(gradient) for gradient in drawn])
    for weight, expected in zip(found, by_the_book(settings, drawn), strict=True):
        library.assert_equal(weight, np.asarray(expected), tolerance=1e-12 if library.dtype == "float64" else 1e-4)


@pytest.mark.parametrize(
    ("optimizer", "names"),
    [
        (SGD(0.1), set()),
        (SGD(0.1, momentum=0.5), {"velocity"}),
        (Adam(0.1), {"mean", "square", "step"}),
        (RMSprop(0.1), {"square"}),
        (RMSprop(0.1, momentum=0.5, centered=True), {"square", "mean", "velocity"}),
        (Adagrad(0.1), {"sum"}),
        (Adagrad(0.1, lr_decay=0.5), {"sum", "step"}),
        (Lion(0.1), {"mean"}),
    ],
    ids=str,
)
def test_slots_have_names_and_begin_with_zeros(library: Any, optimizer: Any, names: set[str]) -> None:
    block = library.owned(np.ones((2, 3)))
    slots = library.call(lambda block: optimizer.init(library.xp, block), block)
    assert slots.keys() == names
    for name, slot in slots.items():
        library.assert_equal(slot, np.zeros(() if name == "step" else (2, 3), library.dtype))


def test_the_slots_after_a_step_have_the_names_of_those_before(library: Any, optimizer: Any) -> None:
    def before_and_after(block: Any, gradient: Any, rate: Any) -> Any:
        slots = optimizer.init(library.xp, block)
        return list(slots), list(optimizer.update(library.xp, block, gradient, slots, rate)[1])

    given = library.owned(np.ones(3)), library.owned(np.ones(3)), library.given(np.asarray(0.1))
    with library.backend.scope():
        before, after = before_and_after(*given)
    assert sorted(before) == sorted(after)


@pytest.mark.parametrize("dtype", ["float32"])
def test_a_gradient_that_never_changes_has_no_variance_below_zero(library: Any) -> None:
    """PyTorch's RMSprop takes the root of what rounding makes of it, and may give nan."""
    optimizer = RMSprop(0.1, alpha=0.9, eps=1.0, centered=True)
    drawn = np.full((STEPS, 50), np.linspace(0.1, 9.7, 50))
    owned = [library.owned(gradient) for gradient in drawn]
    given = library.owned(np.ones(50)), owned, library.given(np.asarray(0.1))
    block = library.call(lambda *arrays: updated(library.xp, optimizer, *arrays), *given)
    assert np.isfinite(library.backend.to_numpy(block)).all()


def test_an_optimizer_of_ones_own_that_has_no_update_says_so() -> None:
    class Nothing(nn.Optimizer):
        lr = 0.1

    assert Nothing().init(np, np.ones(2)) == {}
    assert (Nothing().weight_decay, Nothing().elementwise) == (0.0, True)
    with pytest.raises(NotImplementedError):
        Nothing().update(np, np.ones(2), np.ones(2), {}, np.asarray(0.1))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: SGD(0),
            r"SGD: lr must be above 0 and finite, or a schedule such as LinearDecay\(0.1, 1000\), but is 0",
        ),
        (lambda: SGD(LinearDecay), "SGD: lr must be above 0 and finite, or .*, but is the class LinearDecay"),
        (lambda: SGD(math.nan), "SGD: lr must be above 0 and finite"),
        (lambda: Adam(-0.1), "Adam: lr must be above 0 and finite, or .*, but is -0.1"),
        (lambda: SGD(math.inf), "SGD: lr must be above 0 and finite"),
        (lambda: SGD(0.1, weight_decay=-1e-9), "SGD: weight_decay must be 0 or more and finite, but is -1e-09"),
        (lambda: SGD(0.1, weight_decay=math.inf), "SGD: weight_decay must be 0 or more and finite"),
        (lambda: SGD(0.1, momentum=1), "SGD: momentum must be at least 0 and below 1, but is 1"),
        (lambda: SGD(0.1, momentum=-1e-9), "SGD: momentum must be at least 0 and below 1, but is -1e-09"),
        (lambda: SGD(0.1, 0.9, nesterov=1), "SGD: nesterov must be True or False, but is 1"),
        (lambda: SGD(0.1, 0.9, nesterov=None), "SGD: nesterov must be True or False, but is None"),
        (lambda: SGD(0.1, nesterov=True), "nesterov needs a momentum above 0, such as momentum=0.9"),
        (lambda: Adam(weight_decay=-1), "Adam: weight_decay must be 0 or more and finite, but is -1"),
        (lambda: Adam(betas=0.9), r"Adam: betas must be two numbers, .*such as \(0.9, 0.999\), but are 0.9"),
        (lambda: Adam(betas=(0.9, 0.99, 0.999)), r"Adam: betas must be two numbers.*but are \(0.9, 0.99, 0.999\)"),
        (lambda: Adam(betas=(0.9,)), "Adam: betas must be two numbers"),
        (lambda: Adam(betas=(0.9, 0.99, None)), "Adam: betas must be two numbers"),
        (lambda: Adam(betas=("0.9", 0.99)), "Adam: betas must be two numbers"),
        (lambda: Adam(betas=(-1e-9, 0.99)), "Adam: betas must be two numbers"),
        (lambda: Adam(betas=(1, 0.99)), "Adam: betas must be two numbers"),
        (lambda: Adam(eps=0), "Adam: eps must be above 0 and finite, but is 0"),
        (lambda: nn.EMA(Adam), "EMA: optimizer must be one, such as Adam\\(\\), but is the class Adam"),
        (lambda: nn.EMA(Adam(), decay=1), "EMA: decay must be at least 0 and below 1, but is 1"),
        (lambda: Lion(betas=(0.9, 1)), "Lion: betas must be two numbers"),
        (lambda: NAdam(momentum_decay=-1), "NAdam: momentum_decay must be 0 or more and finite, but is -1"),
        (lambda: RMSprop(alpha=1), "RMSprop: alpha must be at least 0 and below 1, but is 1"),
        (lambda: RMSprop(momentum=1), "RMSprop: momentum must be at least 0 and below 1, but is 1"),
        (lambda: RMSprop(eps=0), "RMSprop: eps must be above 0 and finite, but is 0"),
        (lambda: RMSprop(centered=1), "RMSprop: centered must be True or False, but is 1"),
        (lambda: Adagrad(lr_decay=-1), "Adagrad: lr_decay must be 0 or more and finite, but is -1"),
        (lambda: Adagrad(initial_accumulator_value=-1), "Adagrad: initial_accumulator_value must be 0 or more"),
        (lambda: Adagrad(eps=0), "Adagrad: eps must be above 0 and finite, but is 0"),
    ],
)
def test_what_is_refused_is_told_in_full(make: Any, words: str) -> None:
    with pytest.raises(UsageError, match=f"^{words}"):
        make()


def test_the_least_and_the_most_that_can_be_are_taken() -> None:
    assert Adam(betas=[0, np.float32(0.5)]).betas == (0.0, 0.5)
    assert all(type(beta) is float for beta in Adam(betas=[0, np.float32(0.5)]).betas)
    assert SGD(1e-9, momentum=0, weight_decay=0).momentum == 0
    assert type(SGD(np.float64(0.1)).lr) is float
    assert SGD(LinearDecay(1, 1)).lr == LinearDecay(1, 1)
