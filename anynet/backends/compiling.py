"""Compiling a step: it is traced, compiled, and checked against the plain step on its first batches before use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from anynet.backends.base import Array, Backend, Step
from anynet.distributed import silent
from anynet.tracing import NotTraceable, StepProgram, trace_step
from anynet.tracing.trees import leaves, rebuilt

Compiled = TypeVar("Compiled")

# Two, because a random number that backward draws shows only in the loss of the second step.
PROVEN_STEPS = 2
# Compiled code may add up sums in another order, which rounds differently.
TOLERANCE = 1e-3


class NotCompilable(TypeError):
    """A program that a backend has no code for."""


class ResultMismatch(ValueError):
    """The compiled steps give other numbers than the plain ones."""


class NotFinite(ResultMismatch):
    """The numbers differ, but some are not finite, and these may depend on the order of sums."""


def compiled(
    backend: Backend,
    compile_program: Callable[[StepProgram], Compiled],
    run: Callable[[Compiled, Any, tuple[Array, ...], tuple[Array, ...]], tuple[Any, dict[str, Array]]],
    step: Step,
    state: Any,
    batches: tuple[Array, ...],
    data: tuple[Array, ...],
) -> tuple[Compiled | None, str]:
    """Trace, compile and check a step.

    Parameters
    ----------
    backend : Backend
    compile_program : callable
        ``program -> made``, which compiles the traced program of the step.
    run : callable
        ``(made, state, batches, data) -> (state, metrics)``, which must not change the given state.
    step, state, batches, data
        As for `Backend.run`.

    Returns
    -------
    made, warning
        The compiled step, or None if the plain step must run; and a warning to give after that, which may be empty.
    """
    try:
        program = trace_step(step, backend.xp, state, _one_of(batches, data), backend.device)
        made = compile_program(program)
        with silent():
            after, metrics = run(made, state, first_of(batches), data)
            verify(backend, metrics, step, state, batches, data, after)
        return made, ""
    except NotFinite:
        return None, ""
    except (NotTraceable, NotCompilable, ResultMismatch) as error:
        reason = str(error)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
    return None, f"this step cannot be compiled ({reason}), so it runs operation by operation, which is slower"


class _Like(NamedTuple):
    """The shape and dtype of an array, without its numbers."""

    shape: tuple[int, ...]
    dtype: Any


def _one_of(batches: tuple[Array, ...], data: tuple[Array, ...]) -> tuple[_Like, ...]:
    """The shapes and dtypes of one batch, with rows of the data instead of row numbers."""
    rows = [_Like((*batches[0].shape[1:], *array.shape[1:]), array.dtype) for array in data]
    return (*rows, *(_Like(array.shape[1:], array.dtype) for array in (batches[1:] if data else batches)))


def first_of(batches: tuple[Array, ...]) -> tuple[Array, ...]:
    return tuple(array[:PROVEN_STEPS, ...] for array in batches)


def copied(backend: Backend, arrays: Any) -> Any:
    return rebuilt(arrays, map(backend.copy, leaves(arrays)))


def verify(
    backend: Backend,
    metrics: dict[str, Array],
    step: Step,
    state: Any,
    batches: tuple[Array, ...],
    data: tuple[Array, ...],
    after: Any = None,
) -> None:
    """Compare the metrics of the first steps, and the state after them, with those of the plain step.

    All numbers of a metric must agree, but only half of each array in the state: an optimizer may turn a rounding
    error into a large difference.

    Raises
    ------
    ResultMismatch
        When they differ by more than rounding errors.
    """
    new, expected = Backend.run(backend, step, copied(backend, state), first_of(batches), data)
    # A whole metric may be rounding errors, such as the gradient of a bias before a batch normalization.
    largest = max((_largest(backend.xp, numbers) for numbers in expected.values()), default=0.0)
    pairs = [(metrics[name][:PROVEN_STEPS, ...], numbers, 1.0, largest) for name, numbers in expected.items()]
    if after is not None:
        pairs += [(x, y, 0.5, 1.0) for x, y in zip(leaves(after), leaves(new), strict=True)]
    for found, reference, share, scale in pairs:
        if not _agree(backend.xp, found, reference, share, scale):
            if not backend.xp.all(backend.xp.isfinite(reference)):
                raise NotFinite("its steps give what is not finite")
            raise ResultMismatch("its steps give different numbers each time, as when a layer draws with numpy.random")


def _agree(xp: Any, found: Array, expected: Array, share: float, scale: float) -> bool:
    """Whether this share of the numbers agrees; NaN counts as 0, infinity as a huge number."""
    if not found.size:
        return True
    found, expected = (xp.nan_to_num(xp.astype(x, xp.float64)) for x in (found, expected))
    # Relative to the largest, since a small number may be nothing but a rounding error.
    near = abs(found - expected) <= TOLERANCE * (TOLERANCE * max(1.0, scale) + xp.max(abs(expected)))
    return bool(xp.mean(xp.astype(near, xp.float64)) >= share)


def _largest(xp: Any, x: Array) -> float:
    return float(xp.max(abs(xp.nan_to_num(xp.astype(x, xp.float64))))) if x.size else 0.0
