"""NumPy: the CPU; a step is followed once, and its calls played back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from threading import Lock
from types import SimpleNamespace
from typing import Any
from weakref import WeakSet

from anynet.backends.base import Array, Backend, Step
from anynet.backends.blas import threads
from anynet.backends.replay import Replay

# With so many rows, and so few columns, a detour through a product or a transpose is the faster reduction.
MANY_ROWS = 64
FEW_COLUMNS = 32
# A vector of so many numbers that are all the same still fits into the first cache.
SMALL = 1 << 14

# Each keeps memory for all that a step computes.
MOST_REPLAYS = 8

# With fewer multiplications in a step than this, two cores lose more by passing numbers to and fro than they gain.
FEW_MULTIPLICATIONS = 20_000_000
# Of so few, one thread is what BLAS uses anyhow.
HARDLY_ANY_MULTIPLICATIONS = 9_000


class NumPyBackend(Backend):
    """NumPy's own namespace, with leaner forms of the functions that small batches call most.

    >>> import numpy as np
    >>> NumPyBackend().run(lambda xp, s, b: (s + b[0], {"sum": s + b[0]}), 0, (np.asarray([1, 2, 3]),))[1]
    {'sum': array([1, 3, 6])}
    """

    name = "numpy"
    package = "numpy"
    install = "pip install numpy"
    # Copying a larger gradient into a shared block takes longer than the calls that packing saves.
    pack_limit = 16384
    # What a processor's second cache holds.
    bytes_at_once = 1 << 20

    def __init__(self, device: str | None = None, dtype: str = "float32", precision: str = "float32") -> None:
        super().__init__(device, dtype, precision)
        self._replays: dict[Any, Replay | None] = {}
        self._changing: WeakSet[Step] = WeakSet()
        self._lock = Lock()

    @staticmethod
    def load() -> Any:
        import numpy
        from numpy import fft, linalg

        return SimpleNamespace(**{**vars(numpy), "fft": fft, "linalg": linalg, **_without_wrappers(numpy)})

    def each(self, batches: tuple[Array, ...]) -> Iterator[tuple[Array, ...]]:
        return zip(*batches, strict=True)

    def run(
        self,
        step: Step,
        state: Any,
        batches: tuple[Array, ...],
        data: tuple[Array, ...] = (),
        *,
        donate: bool = True,
    ) -> tuple[Any, dict[str, Array]]:
        with self.scope():
            replay = self._replay(step, state, batches, data)
            if replay is None:
                with threads(one=False):
                    return super().run(step, state, batches, data, donate=donate)
            # The plain loop gives the same numbers, where as many threads multiply.
            with self._threads(replay.multiplications):
                with replay.taken(state) as is_free:
                    if is_free:
                        return replay.run(state, batches, data)
                return super().run(step, state, batches, data, donate=donate)

    def _threads(self, multiplications: int) -> AbstractContextManager[None]:
        if multiplications < HARDLY_ANY_MULTIPLICATIONS:
            return nullcontext()
        return threads(one=multiplications < FEW_MULTIPLICATIONS)

    def _replay(self, step: Step, state: Any, batches: tuple[Array, ...], data: tuple[Array, ...]) -> Replay | None:
        """The step's calls on this state and such batches; None where it cannot be played back."""
        if len({len(array) for array in batches}) != 1 or not len(batches[0]):
            return None
        arrays = (*batches, *data)
        kind = step, tuple((array.shape[1:], array.dtype) for array in arrays)
        with self._lock:
            known = kind in self._replays
            replay = self._replays.pop(kind, None)
            if known:
                self._replays[kind] = replay
        if not known or (replay is not None and replay.is_idle() and not replay.fits(state)):
            replay = self._keep(kind, self._followed(step, state, self.rows_taken(next(self.each(batches)), data)))
        return replay

    def _followed(self, step: Step, state: Any, batch: tuple[Array, ...]) -> Replay | None:
        try:
            # By as many threads each time, whatever is computed beside it, so that it gives the same again.
            with threads(one=True):
                return Replay(partial(step, self.xp), state, batch, changes_state=step in self._changing)
        # Whatever a step does with what is no array goes wrong in its own way, and right in the plain loop.
        except Exception:
            return None

    def _keep(self, kind: tuple[Step, Any], replay: Replay | None) -> Replay | None:
        with self._lock:
            self._replays[kind] = replay
            if replay and replay.changes_state:
                self._changing.add(kind[0])
            if len(self._replays) > MOST_REPLAYS:
                del self._replays[next(iter(self._replays))]
        return replay

    def forget(self) -> None:
        with self._lock:
            self._replays.clear()

    def scope(self) -> AbstractContextManager[Any]:
        """inf, nan and 0 are values here as in every other library; training reports a loss that is not finite."""
        scope: AbstractContextManager[Any] = self.xp.errstate(all="ignore")
        return scope


def _without_wrappers(numpy: Any) -> dict[str, Any]:
    """The functions whose Python wrapper costs as much as their work on a small batch, without it."""

    def sum(x: Array, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Array:
        if axis == 0 and x.ndim == 2 and len(x) >= MANY_ROWS and x.dtype.kind == "f" and not (dtype or keepdims):
            return numpy.dot(numpy.ones(len(x), x.dtype), x)
        return reduce(numpy.add, x, axis, dtype, keepdims)

    def max(x: Array, *, axis: Any = None, keepdims: bool = False) -> Array:
        return reduce(numpy.maximum, x, axis, None, keepdims)

    def maximum(x: Array, y: Array) -> Array:
        # NumPy compares with a vector several times faster than with a number.
        if isinstance(y, (int, float)) and x.ndim and x.dtype.kind == "f":
            y = numpy.full(x.shape if x.size <= SMALL else x.shape[-1:], y, x.dtype)
        return numpy.maximum(x, y)

    def reduce(ufunc: Any, x: Array, axis: Any, dtype: Any, keepdims: bool) -> Array:
        # NumPy takes a short last axis row by row, but all columns of its transpose at once.
        if axis == -1 and x.ndim == 2 and x.shape[1] <= FEW_COLUMNS and len(x) >= MANY_ROWS:
            reduced = ufunc.reduce(numpy.copy(x.mT, order="C"), 0, dtype)
            return reduced[:, None] if keepdims else reduced
        return ufunc.reduce(x, axis, dtype, None, keepdims)

    def matmul(x: Array, y: Array) -> Array:
        return x.dot(y) if x.ndim == 2 == y.ndim else numpy.matmul(x, y)

    def astype(x: Array, dtype: Any, *, copy: bool = True, device: Any = None) -> Array:
        return x.astype(dtype, copy=copy)

    def stack(arrays: list[Array], *, axis: int = 0) -> Array:
        return numpy.asarray(arrays) if axis == 0 else numpy.stack(arrays, axis=axis)

    def matrix_transpose(x: Array) -> Array:
        return x.mT

    def reshape(x: Array, shape: tuple[int, ...], *, copy: bool | None = None) -> Array:
        return x.reshape(shape, copy=copy)

    return {f.__name__: f for f in (sum, max, maximum, matmul, astype, stack, matrix_transpose, reshape)}
