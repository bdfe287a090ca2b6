"""What is made of a step is tried on its first batches, before anything is computed with it."""

from __future__ import annotations

from typing import Any

from anynet.backends.base import Array, Backend, Step
from anynet.tracing.trees import leaves, rebuilt

# What is drawn for a gradient shows in the loss of the step after.
PROVEN_STEPS = 2
# Sums may be added up in another order.
TOLERANCE = 1e-3


class OtherNumbers(ValueError):
    """Steps that differ from themselves."""


def first_of(batches: tuple[Array, ...]) -> tuple[Array, ...]:
    return tuple(array[:PROVEN_STEPS, ...] for array in batches)


def copied(backend: Backend, state: Any) -> Any:
    return rebuilt(state, map(backend.copy, leaves(state)))


def prove(
    backend: Backend,
    metrics: dict[str, Array],
    step: Step,
    state: Any,
    batches: tuple[Array, ...],
    data: tuple[Array, ...],
    after: Any = None,
) -> None:
    """Compare the metrics of the first steps, and the state after them, with what the step itself gives.

    An optimizer may make much of what is nothing but rounding, so of each array of the state half must agree.

    Raises
    ------
    OtherNumbers
        When they differ by more than rounding does.
    """
    new, expected = Backend.run(backend, step, copied(backend, state), first_of(batches), data)
    pairs = [(metrics[name][:PROVEN_STEPS, ...], numbers, 1.0) for name, numbers in expected.items()]
    if after is not None:
        pairs += [(x, y, 0.5) for x, y in zip(leaves(after), leaves(new), strict=True)]
    if not all(_agree(backend.xp, *pair) for pair in pairs):
        raise OtherNumbers("its steps give other numbers each time, as where a layer draws with numpy.random")


def _agree(xp: Any, found: Array, expected: Array, share: float) -> bool:
    """Whether that share of numbers differs by little beside the largest, and is not finite in the same places."""
    if not found.size:
        return True
    found, expected = (xp.nan_to_num(xp.astype(x, xp.float64)) for x in (found, expected))
    # What is nothing but rounding is no less right for being large beside itself.
    near = abs(found - expected) <= TOLERANCE * (TOLERANCE + xp.max(abs(expected)))
    return bool(xp.mean(xp.astype(near, xp.float64)) >= share)
