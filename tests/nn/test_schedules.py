"""What every schedule promises: the rates of its formula, and PyTorch's, step by step, on every array library."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from anynet import nn
from anynet.checks import cases
from anynet.errors import UsageError
from anynet.nn import (
    SGD,
    Chain,
    CosineDecay,
    CosineRestarts,
    ExponentialDecay,
    LinearDecay,
    OneCycle,
    StepDecay,
    Warmup,
)

STEPS = 60


def by_pytorch(make: Any, first: float, steps: int = STEPS) -> list[float]:
    """The rates of one of PyTorch's schedulers; `make` gets the module of them and the optimizer."""
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=first)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def warm(torch: Any, optimizer: Any, after: Any, steps: int, factor: float) -> Any:
    rise = torch.LinearLR(optimizer, start_factor=factor, total_iters=steps)
    return torch.SequentialLR(optimizer, [rise, after], milestones=[steps])


# Ours, the same of PyTorch, and its number of steps where that is limited.
PYTORCH: list[tuple[Any, Any, int]] = [
    (LinearDecay(0.1, 40), lambda torch, sgd: torch.PolynomialLR(sgd, total_iters=40), STEPS),
    (StepDecay(0.1, 7), lambda torch, sgd: torch.StepLR(sgd, 7), STEPS),
    (StepDecay(0.1, 1, factor=1.5), lambda torch, sgd: torch.StepLR(sgd, 1, gamma=1.5), STEPS),
    (ExponentialDecay(0.1, 1, factor=0.9), lambda torch, sgd: torch.ExponentialLR(sgd, 0.9), STEPS),
    (ExponentialDecay(0.1, 10, factor=0.5), lambda torch, sgd: torch.ExponentialLR(sgd, 0.5**0.1), STEPS),
    (CosineDecay(0.1, 50), lambda torch, sgd: torch.CosineAnnealingLR(sgd, 50), 51),
    (CosineDecay(0.1, 9, final=0.03), lambda torch, sgd: torch.CosineAnnealingLR(sgd, 9, eta_min=0.03), 10),
    (CosineRestarts(0.1, 9), lambda torch, sgd: torch.CosineAnnealingWarmRestarts(sgd, 9), STEPS),
    (
        CosineRestarts(0.1, 3, growth=2, final=0.01),
        lambda torch, sgd: torch.CosineAnnealingWarmRestarts(sgd, 3, T_mult=2, eta_min=0.01),
        STEPS,
    ),
    (CosineRestarts(0.1, 1, growth=3), lambda torch, sgd: torch.CosineAnnealingWarmRestarts(sgd, 1, T_mult=3), STEPS),
    (OneCycle(0.1, STEPS), lambda torch, sgd: torch.OneCycleLR(sgd, 0.1, STEPS), STEPS),
    (
        OneCycle(0.1, STEPS, pct_start=0.5, div_factor=4.0, final_div_factor=10.0),
        lambda torch, sgd: torch.OneCycleLR(
            sgd, 0.1, STEPS, pct_start=0.5, div_factor=4.0, final_div_factor=10.0, cycle_momentum=False
        ),
        STEPS,
    ),
    (Warmup(0.1, 5), lambda torch, sgd: torch.LinearLR(sgd), STEPS),
    (
        Warmup(StepDecay(0.1, 20), 10, start_factor=0.01),
        lambda torch, sgd: warm(torch, sgd, torch.StepLR(sgd, 20), 10, 0.01),
        STEPS,
    ),
    (
        Chain([0.1, StepDecay(0.1, 5), ExponentialDecay(0.1, 1, factor=0.9)], milestones=[7, 20]),
        lambda torch, sgd: torch.SequentialLR(
            sgd,
            [torch.ConstantLR(sgd, factor=1), torch.StepLR(sgd, 5), torch.ExponentialLR(sgd, 0.9)],
            milestones=[7, 20],
        ),
        STEPS,
    ),
]


@pytest.mark.needs("torch")
@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")
@pytest.mark.parametrize(("schedule", "theirs", "steps"), PYTORCH, ids=str)
def test_every_step_has_the_rate_that_pytorch_gives_it(schedule: Any, theirs: Any, steps: int) -> None:
    rates = [float(schedule(np, np.asarray(float(step)))) for step in range(steps)]
    np.testing.assert_allclose(rates, by_pytorch(theirs, 0.1, steps), rtol=1e-12, atol=1e-16)


def test_every_schedule_of_the_package_is_held_against_pytorch() -> None:
    assert {type(schedule) for schedule, *_ in PYTORCH} == set(nn.SCHEDULES)


@pytest.mark.parametrize("schedule", [schedule for schedule, *_ in PYTORCH], ids=repr)
def test_a_rate_is_a_0d_array_of_the_steps_dtype_and_that_of_numpy(library: Any, schedule: Any) -> None:
    for step in (0.0, 1.0, 6.0, 7.0, 20.0, 21.0, 45.0, 59.0):
        rate = library.call(lambda step: schedule(library.xp, step), library.given(np.asarray(step)))
        expected = schedule(np, np.asarray(step))
        library.assert_equal(rate, np.asarray(expected), 1e-6 if library.dtype == "float32" else None)


@pytest.mark.parametrize("dtype", ["float32"])
@pytest.mark.parametrize("steps", [3, 41, 1000])
def test_a_rate_changes_at_its_step_even_where_a_quotient_is_rounded(library: Any, steps: int) -> None:
    """In float32, 41 * (1 / 41) is less than 1, and JAX divides in this way."""
    schedules = StepDecay(1.0, steps, factor=0.5), CosineRestarts(1.0, steps), CosineRestarts(1.0, steps, growth=2)
    at = [library.given(np.asarray(float(steps * (2**n - 1)))) for n in range(1, 7)]
    rates = library.call(lambda at: [[schedule(library.xp, step) for step in at] for schedule in schedules], at)
    decayed, *restarted = [[float(library.backend.to_numpy(rate)) for rate in of] for of in rates]
    np.testing.assert_allclose(decayed, [0.5 ** (2**n - 1) for n in range(1, 7)], rtol=1e-5)
    np.testing.assert_allclose(restarted, 1.0, rtol=1e-6)


def test_a_cosine_stays_at_its_end() -> None:
    assert CosineDecay(0.1, 10, final=0.01)(np, np.asarray(1e9)) == pytest.approx(0.01)
    assert OneCycle(0.1, 10)(np, np.asarray(1e9)) == pytest.approx(0.1 / 25 / 1e4)


def test_schedules_in_schedules_are_written_as_they_are_made() -> None:
    chain = Chain([Warmup(0.1, 5), LinearDecay(0.1, 10)], [20])
    assert eval(repr(chain)) == chain
    assert hash(SGD(chain)) == hash(SGD(eval(repr(chain))))
    assert Chain([np.float32(0.5)], []).schedules == (0.5,)
    assert Chain((0.5, 0.25), [np.int64(3)]).milestones == (3,)


def test_every_schedule_of_the_package_drives_an_optimizer_in_a_case() -> None:
    rates = [case.optimizer.lr for case in cases.OPTIMIZERS]
    assert {type(rate) for rate in rates if callable(rate)} == set(nn.SCHEDULES)


WHOLE = "steps must be a whole number, 1 or more, but is"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LinearDecay(0.0, 10), "LinearDecay: initial must be above 0 and finite, but is 0.0"),
        (lambda: LinearDecay(0.1, 0), f"LinearDecay: {WHOLE} 0"),
        (lambda: LinearDecay(0.1, 2.5), f"LinearDecay: {WHOLE} 2.5"),
        (lambda: StepDecay(0.1, 10, factor=0), "StepDecay: factor must be above 0 and finite, but is 0"),
        (lambda: ExponentialDecay(0.1, 10, factor=-1), "ExponentialDecay: factor must be above 0 and finite"),
        (lambda: CosineDecay(0.1, 10, final=-0.1), "CosineDecay: final must be 0 or more and finite, but is -0.1"),
        (lambda: CosineRestarts(0.1, 10, growth=1.5), "CosineRestarts: growth must be a whole number, 1 or more"),
        (lambda: CosineRestarts(0.1, 10, final=math.inf), "CosineRestarts: final must be 0 or more and finite"),
        (lambda: OneCycle(0.1, 0), f"OneCycle: {WHOLE} 0"),
        (lambda: OneCycle(0.1, 10, pct_start=0.1), "OneCycle: pct_start must be between 1 / steps and 1, here 0.1 and"),
        (lambda: OneCycle(0.1, 10, pct_start=1), "OneCycle: pct_start must be between"),
        (lambda: OneCycle(0.1, 10, div_factor=0), "OneCycle: div_factor must be above 0"),
        (lambda: Warmup(LinearDecay, 10), "Warmup: schedule must be above 0 and finite, or a schedule such as Linear"),
        (lambda: Warmup(0.1, 0), f"Warmup: {WHOLE} 0"),
        (lambda: Warmup(0.1, 1, start_factor=1.1), "Warmup: start_factor must be at least 0 and at most 1, but is 1.1"),
        (lambda: Chain(0.1, []), "Chain: schedules must be a list, but are 0.1"),
        (lambda: Chain([], []), "Chain: milestones must be -1 whole numbers"),
        (lambda: Chain([0.1, "0.1"], [3]), "Chain: each must be above 0 and finite, or a schedule such as .*'0.1'"),
        (lambda: Chain([0.1, 0.2], 3), "Chain: milestones must be a list, but are 3"),
        (lambda: Chain([0.1, 0.2], []), "Chain: milestones must be 1 whole numbers? above 0 that rise"),
        (lambda: Chain([0.1, 0.2], [0]), "Chain: milestones must be 1 whole"),
        (lambda: Chain([0.1, 0.2], [2.5]), "Chain: milestones must be 1 whole"),
        (lambda: Chain([0.1, 0.2, 0.3], [4, 4]), "Chain: milestones must be 2 whole"),
    ],
)
def test_what_is_refused_is_told_in_full(make: Any, words: str) -> None:
    with pytest.raises(UsageError, match=f"^{words}"):
        make()


def test_the_least_and_the_most_that_can_be_are_taken() -> None:
    assert LinearDecay(1, 1).steps == 1
    assert Warmup(0.1, 1, start_factor=0)(np, np.asarray(0.0)) == 0
    assert Warmup(0.1, 1, start_factor=1)(np, np.asarray(0.0)) == 0.1
