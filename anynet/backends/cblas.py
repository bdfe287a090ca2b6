"""Products added to an array where it lies, by the library behind NumPy's own: NumPy has no function for that."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Any

from anynet.backends.base import Array
from anynet.backends.blas import openblas
from anynet.backends.gemm import Matrix, gemm_of
from anynet.tracing import Value

_COLUMNS_FIRST, _AS_IT_IS = 102, 111
_SCALARS = {"float32": ("s", ctypes.c_float), "float64": ("d", ctypes.c_double)}


def addmm(a: Array, b: Array, out: Array, alpha: Array, beta: Array, sign: int = 1) -> Callable[[], None] | None:
    """The call that makes a C-contiguous `out` to beta out + sign alpha a b; None where BLAS cannot read a or b.

    >>> import numpy as np
    >>> out, two, three = np.ones((1, 1)), np.full((1, 1), 2.0), np.full((1, 1), 3.0)
    >>> call = addmm(two, three, out, alpha=np.asarray(1.0), beta=np.asarray(10.0), sign=-1)
    >>> if call: call(); print(out)
    [[4.]]
    """
    function = _gemm(out.dtype.name)
    gemm = gemm_of(a, b, lambda x: None)
    if function is None or gemm.a.array is None or gemm.b.array is None:
        return None
    shape = _transposition(gemm.a), _transposition(gemm.b), gemm.m, gemm.n, gemm.k
    matrices = gemm.a.array.ctypes.data, gemm.a.leading, gemm.b.array.ctypes.data, gemm.b.leading
    place = out.ctypes.data, gemm.m

    def call(kept: Any = (a, b, out)) -> None:
        function(_COLUMNS_FIRST, *shape, sign * alpha.item(), *matrices, beta.item(), *place)

    return call


def is_for_blas(x: Value) -> bool:
    """Whether a product is one of matrices of floats, and there is a library that can be called."""
    matrices = all(len(y.shape) == 2 and y.size for y in (x, *x.inputs))
    return matrices and _gemm(x.dtype.name) is not None


@cache
def _gemm(dtype: str) -> Callable[..., None] | None:
    library = openblas()
    if library is None or dtype not in _SCALARS:
        return None
    letter, number = _SCALARS[dtype]
    for prefix, suffix in product(("scipy_", ""), ("64_", "_64", "")):
        function = getattr(library, f"{prefix}cblas_{letter}gemm{suffix}", None)
        if function is not None:
            integer = ctypes.c_int64 if suffix else ctypes.c_int
            matrix = ctypes.c_void_p, integer
            function.argtypes = (*3 * (ctypes.c_int,), *3 * (integer,), number, *matrix, *matrix, number, *matrix)
            function.restype = None
            return function  # type: ignore[no-any-return]
    return None


def _transposition(x: Matrix) -> int:
    return _AS_IT_IS + x.transposed
