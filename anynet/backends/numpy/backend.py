"""NumPy on the CPU: a step is traced, and its program is compiled to NumPy calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from threading import Lock
from types import SimpleNamespace
from typing import Any

from anynet.backends.base import Array, Backend, Step
from anynet.backends.compiling import compiled
from anynet.backends.numpy.blas import threads
from anynet.backends.numpy.step import CompiledStep
from anynet.distributed import Communicator
from anynet.errors import warn
from anynet.tracing.trees import leaves, structure

# Each compiled step keeps a workspace for all its results.
MOST_COMPILED = 8

# With fewer multiplications in a step, two cores lose more time by exchanging data than they gain.
FEW_MULTIPLICATIONS = 20_000_000
# With fewer than this, BLAS uses one thread anyway.
HARDLY_ANY_MULTIPLICATIONS = 9_000


class NumPyBackend(Backend):
    """NumPy's own namespace; a step that can be traced is compiled to NumPy calls that reuse the same memory.

    >>> import numpy as np
    >>> NumPyBackend().run(lambda xp, s, b: (s + b[0], {"sum": s + b[0]}), 0, (np.asarray([1, 2, 3]),))[1]
    {'sum': array([1, 3, 6])}
    """

    name = "numpy"
    package = "numpy"
    install = "pip install numpy"
    # Copying a larger gradient into a shared block takes longer than the calls that packing saves.
    pack_limit = 16384
    # About the size of a processor's L2 cache.
    bytes_at_once = 1 << 20

    def __init__(self, device: str | None = None, dtype: str = "float32", precision: str = "float32") -> None:
        super().__init__(device, dtype, precision)
        self._known: dict[Any, CompiledStep | None] = {}
        self._lock = Lock()

    @staticmethod
    def load() -> Any:
        import numpy
        from numpy import fft, linalg

        return SimpleNamespace(**{**vars(numpy), "fft": fft, "linalg": linalg})

    def iterate(self, batches: tuple[Array, ...]) -> Iterator[tuple[Array, ...]]:
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
            made, warning = self._compiled(step, state, batches, data)
            if made is None:
                with threads(one=False):
                    result = super().run(step, state, batches, data, donate=donate)
                if warning:
                    warn(warning)
                return result
            with _threads(made):
                return made.run(state, batches, data)

    def _compiled(
        self, step: Step, state: Any, batches: tuple[Array, ...], data: tuple[Array, ...]
    ) -> tuple[CompiledStep | None, str]:
        """The compiled step, from the cache or new; None if the plain step must run, with a warning the first time."""
        arrays = leaves(state)
        plain = (self.xp.ndarray, self.xp.memmap)
        if not all(type(x) in plain for x in (*arrays, *batches, *data)) or len(set(map(id, arrays))) < len(arrays):
            return None, ""
        if len({len(x) for x in batches}) != 1 or not len(batches[0]) or not _are_rows(batches[0], data):
            return None, ""
        one = (tuple((x.shape[1:], x.dtype) for x in several) for several in (batches, data))
        kind = step, structure(state), tuple((x.shape, x.dtype) for x in arrays), *one
        with self._lock:
            is_known = kind in self._known
            made = self._known.pop(kind, None)
            if is_known:
                self._known[kind] = made
        warning = ""
        if not is_known:
            made, warning = self._compile(step, state, batches, data)
            with self._lock:
                self._known[kind] = made
                if len(self._known) > MOST_COMPILED:
                    del self._known[next(iter(self._known))]
        return made, warning

    def _compile(
        self, step: Step, state: Any, batches: tuple[Array, ...], data: tuple[Array, ...]
    ) -> tuple[CompiledStep | None, str]:
        if _overlap(leaves(state)):
            return None, ""
        # Always with one thread, so that the check does not depend on what other threads compute.
        with threads(one=True):
            return compiled(self, CompiledStep, CompiledStep.run, step, state, batches, data)

    def all_reduce(self, comm: Communicator, x: Array, out: Array) -> Array:
        return comm.total(x, out)

    def clear_cache(self) -> None:
        with self._lock:
            self._known.clear()

    def scope(self) -> AbstractContextManager[Any]:
        """Overflow, nan and division by 0 give no warnings; training itself reports a loss that is not finite."""
        scope: AbstractContextManager[Any] = self.xp.errstate(all="ignore")
        return scope


def _threads(step: CompiledStep) -> AbstractContextManager[None]:
    if step.multiplications < HARDLY_ANY_MULTIPLICATIONS:
        return nullcontext()
    return threads(one=step.multiplications < FEW_MULTIPLICATIONS or step.is_in_pieces)


def _are_rows(numbers: Array, data: tuple[Array, ...]) -> bool:
    """Whether all row numbers exist in the data; if not, the plain step raises an error that names the wrong one."""
    return not data or not numbers.size or -len(data[0]) <= numbers.min() <= numbers.max() < len(data[0])


def _overlap(arrays: list[Array]) -> bool:
    """Whether any two arrays span the same bytes of memory."""
    from numpy.lib.array_utils import byte_bounds

    spans = sorted(byte_bounds(array) for array in arrays if array.size)
    return any(before[1] > after[0] for before, after in pairwise(spans))
