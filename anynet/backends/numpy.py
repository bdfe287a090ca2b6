"""NumPy: the CPU, eagerly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any

from anynet.backends.base import Array, Backend

# With so many rows, and so few columns, a detour through a product or a transpose is the faster reduction.
MANY_ROWS = 64
FEW_COLUMNS = 32

HUGE_PAGE = 2 << 20
HUGE_PAGE_FROM = 64 << 10


class NumPyBackend(Backend):
    """NumPy's own namespace, with leaner forms of the functions that small batches call most.

    >>> import numpy as np
    >>> NumPyBackend().run(lambda s, b: (s + b[0], {"sum": s + b[0]}), 0, (np.asarray([1, 2, 3]),))[1]
    {'sum': array([1, 3, 6])}
    """

    name = "numpy"
    package = "numpy"
    install = "pip install numpy"
    # Copying a larger gradient into a shared block takes longer than the calls that packing saves.
    pack_limit = 16384
    # What a processor's second cache holds.
    bytes_at_once = 1 << 20

    @staticmethod
    def load() -> Any:
        import numpy
        from numpy import fft, linalg

        return SimpleNamespace(**{**vars(numpy), "fft": fft, "linalg": linalg, **_without_wrappers(numpy)})

    def asarray(self, x: Any, copy: bool | None = None) -> Array:
        array = super().asarray(x, copy)
        return self._in_a_huge_page(array) if copy and array.nbytes >= HUGE_PAGE_FROM else array

    def _in_a_huge_page(self, x: Array) -> Array:
        """A copy that starts a huge page, which NumPy asks the kernel for where an allocation has room for one.

        Weights scattered over small pages cost a step of two cores up to a quarter of its speed, by chance.
        """
        room = self.xp.empty(x.nbytes + 2 * HUGE_PAGE, self.xp.uint8)
        start = -room.ctypes.data % HUGE_PAGE
        placed = room[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
        placed[...] = x
        return placed

    def each(self, batches: tuple[Array, ...]) -> Iterator[tuple[Array, ...]]:
        return zip(*batches, strict=True)

    def scope(self) -> AbstractContextManager[Any]:
        """inf and nan are values here as in every other library; training reports a loss that is not finite."""
        scope: AbstractContextManager[Any] = self.xp.errstate(over="ignore", invalid="ignore", divide="ignore")
        return scope


def _without_wrappers(numpy: Any) -> dict[str, Any]:
    """The functions whose Python wrapper costs as much as their work on a small batch, without it."""

    def sum(x: Array, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Array:
        if axis == 0 and x.ndim == 2 and len(x) >= MANY_ROWS and x.dtype.kind == "f" and not (dtype or keepdims):
            return numpy.ones(len(x), x.dtype).dot(x)
        return reduce(numpy.add, x, axis, dtype, keepdims)

    def max(x: Array, *, axis: Any = None, keepdims: bool = False) -> Array:
        return reduce(numpy.maximum, x, axis, None, keepdims)

    def reduce(ufunc: Any, x: Array, axis: Any, dtype: Any, keepdims: bool) -> Array:
        # NumPy takes a short last axis row by row, but all columns of its transpose at once.
        if axis == -1 and x.ndim == 2 and x.shape[1] <= FEW_COLUMNS and len(x) >= MANY_ROWS:
            reduced = ufunc.reduce(numpy.ascontiguousarray(x.T), 0, dtype)
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

    return {f.__name__: f for f in (sum, max, matmul, astype, stack, matrix_transpose, reshape)}
