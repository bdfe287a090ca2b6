"""Products and multiples that BLAS adds to an array in place, for which NumPy has no function."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Any

from anynet.backends.base import Array
from anynet.backends.gemm import Matrix, gemm_of
from anynet.backends.numpy.blas import openblas

_COLUMNS_FIRST, _AS_IT_IS = 102, 111
_SCALARS = {"float32": ("s", ctypes.c_float), "float64": ("d", ctypes.c_double)}


def addmm(a: Array, b: Array, out: Array, alpha: Array, beta: Array, sign: int = 1) -> Callable[[], None] | None:
    """A call that sets out = beta out + sign alpha a b in place, for a C-contiguous `out`; None if BLAS cannot.

    >>> import numpy as np
    >>> out, two, three = np.ones((1, 1)), np.full((1, 1), 2.0), np.full((1, 1), 3.0)
    >>> call = addmm(two, three, out, alpha=np.asarray(1.0), beta=np.asarray(10.0), sign=-1)
    >>> if call:
    ...     call()
    >>> float(out[0, 0]) if call else 4.0
    4.0
    """
    function = _routine("gemm", out.dtype.name)
    gemm = gemm_of(a, b, lambda x: None)
    if function is None or gemm.a.array is None or gemm.b.array is None or not all(map(_is_in_steps, (a, b, out))):
        return None
    shape = _transposition(gemm.a), _transposition(gemm.b), gemm.m, gemm.n, gemm.k
    matrices = gemm.a.array.ctypes.data, gemm.a.leading, gemm.b.array.ctypes.data, gemm.b.leading
    place = out.ctypes.data, gemm.m

    def call(kept: Any = (a, b, out)) -> None:
        function(_COLUMNS_FIRST, *shape, sign * alpha.item(), *matrices, beta.item(), *place)

    return call


def axpy(x: Array, out: Array, alpha: Array, sign: int = 1) -> Callable[[], None] | None:
    """A call that sets out = out + sign alpha x in place; None if BLAS cannot, as for arrays in different orders.

    >>> import numpy as np
    >>> out = np.ones(2)
    >>> call = axpy(np.asarray([2.0, 3.0]), out, alpha=np.asarray(10.0))
    >>> if call:
    ...     call()
    >>> out.tolist() if call else [21.0, 31.0]
    [21.0, 31.0]
    """
    function = _routine("axpy", out.dtype.name)
    if (
        function is None
        or not all(map(_is_in_steps, (x, out)))
        or not any(x.flags[order] and out.flags[order] for order in ("C", "F"))
    ):
        return None
    arrays = x.ctypes.data, 1, out.ctypes.data, 1

    def call(kept: Any = (x, out)) -> None:
        function(out.size, sign * alpha.item(), *arrays)

    return call


def is_here(dtype: Any) -> bool:
    """Whether there is a BLAS that can be called for this dtype."""
    return _routine("gemm", dtype.name) is not None


@cache
def _routine(name: str, dtype: str) -> Callable[..., None] | None:
    library = openblas()
    if library is None or dtype not in _SCALARS:
        return None
    letter, number = _SCALARS[dtype]
    for prefix, suffix in product(("scipy_", ""), ("64_", "_64", "")):
        function = getattr(library, f"{prefix}cblas_{letter}{name}{suffix}", None)
        if function is not None:
            integer = ctypes.c_int64 if suffix else ctypes.c_int
            array = ctypes.c_void_p, integer
            function.argtypes = {
                "gemm": (*3 * (ctypes.c_int,), *3 * (integer,), number, *array, *array, number, *array),
                "axpy": (integer, number, *array, *array),
            }[name]
            function.restype = None
            return function  # type: ignore[no-any-return]
    return None


def _is_in_steps(x: Array) -> bool:
    """Whether an array is aligned, in native byte order, and has strides that are multiples of its item size."""
    return x.dtype.isnative and x.flags.aligned and not any(stride % x.itemsize for stride in x.strides)


def _transposition(x: Matrix) -> int:
    return _AS_IT_IS + x.transposed
