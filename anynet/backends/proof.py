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
    backend: Backend, metrics: dict[str, Array], step: Step, state: Any, batches: Any, data: tuple[Array, ...]
) -> None:
    """Compare the first metrics that were found with those of the step itself, which leaves the state as it is.

    Raises
    ------
    OtherNumbers
        When they differ by more than rounding does.
    """
    _, expected = Backend.run(backend, step, copied(backend, state), first_of(batches), data)
    if not all(_agree(backend.xp, metrics[name][:PROVEN_STEPS, ...], numbers) for name, numbers in expected.items()):
        raise OtherNumbers("its steps give other numbers each time, as where a layer draws with numpy.random")


def _agree(xp: Any, found: Array, expected: Array) -> bool:
    """Whether arrays differ by little beside their largest number, and are not finite in the same places."""
    if not found.size:
        return True
    found, expected = (xp.nan_to_num(xp.astype(x, xp.float64)) for x in (found, expected))
    return bool(xp.max(abs(found - expected)) <= TOLERANCE * xp.max(abs(expected)))
