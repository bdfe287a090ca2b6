"""A step is followed, compiled, and proved on its first batches before anything is computed with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from anynet.backends.base import Array, Backend, Step
from anynet.tracing import NotTraceable, Program, trace
from anynet.tracing.trees import leaves, rebuilt

Compiled = TypeVar("Compiled")

# What is drawn for a gradient shows in the loss of the step after.
PROVEN_STEPS = 2
# Sums may be added up in another order.
TOLERANCE = 1e-3


class NotCompilable(TypeError):
    """A program that a backend has no code for."""


class OtherNumbers(ValueError):
    """Steps that differ from themselves."""


class Overflow(OtherNumbers):
    """Steps of numbers that are not finite, which depend on the order in which sums are added up."""


def compiled(
    backend: Backend,
    compile_program: Callable[[Program], Compiled],
    run: Callable[[Compiled, Any, tuple[Array, ...], tuple[Array, ...]], tuple[Any, dict[str, Array]]],
    step: Step,
    state: Any,
    batches: tuple[Array, ...],
    data: tuple[Array, ...],
) -> tuple[Compiled | None, str]:
    """What a backend makes of a step; or None, and what to warn of once the step has run as it is.

    Parameters
    ----------
    backend : Backend
    compile_program : callable
        From the step's program.
    run : callable
        ``(made, state, batches, data) -> (state, metrics)``, which leaves the state that it is given.
    step, state, batches, data
        As `Backend.run` takes them.
    """
    try:
        program = trace(step, backend.xp, state, _one_of(batches, data), backend.device)
        made = compile_program(program)
        after, metrics = run(made, state, first_of(batches), data)
        prove(backend, metrics, step, state, batches, data, after)
        return made, ""
    except Overflow:
        return None, ""
    except (NotTraceable, NotCompilable, OtherNumbers) as error:
        reason = str(error)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
    return None, f"this step runs operation by operation, which is slower, for it cannot be compiled ({reason})"


class _Like(NamedTuple):
    """What an array is, without its numbers."""

    shape: tuple[int, ...]
    dtype: Any


def _one_of(batches: tuple[Array, ...], data: tuple[Array, ...]) -> tuple[_Like, ...]:
    """What one batch is, with rows of the data in the place of their numbers."""
    rows = [_Like((*batches[0].shape[1:], *array.shape[1:]), array.dtype) for array in data]
    return (*rows, *(_Like(array.shape[1:], array.dtype) for array in (batches[1:] if data else batches)))


def first_of(batches: tuple[Array, ...]) -> tuple[Array, ...]:
    return tuple(array[:PROVEN_STEPS, ...] for array in batches)


def copied(backend: Backend, arrays: Any) -> Any:
    return rebuilt(arrays, map(backend.copy, leaves(arrays)))


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
    for found, reference, share in pairs:
        if not _agree(backend.xp, found, reference, share):
            if not backend.xp.all(backend.xp.isfinite(reference)):
                raise Overflow("its steps give what is not finite")
            raise OtherNumbers("its steps give other numbers each time, as where a layer draws with numpy.random")


def _agree(xp: Any, found: Array, expected: Array, share: float) -> bool:
    """Whether that share of numbers differs by little beside the largest, and is not finite in the same places."""
    if not found.size:
        return True
    found, expected = (xp.nan_to_num(xp.astype(x, xp.float64)) for x in (found, expected))
    # What is nothing but rounding is no less right for being large beside itself.
    near = abs(found - expected) <= TOLERANCE * (TOLERANCE + xp.max(abs(expected)))
    return bool(xp.mean(xp.astype(near, xp.float64)) >= share)
