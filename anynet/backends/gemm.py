"""A product of matrices as BLAS and cuBLAS are asked for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from anynet.backends.base import Array

_NORMAL, _TRANSPOSED = 0, 1


class Matrix(NamedTuple):
    """A two-dimensional array as BLAS sees it: columns first, so a C-contiguous one is its own transpose."""

    array: Array
    transposed: int
    leading: int


class Gemm(NamedTuple):
    """C = op(A) op(B) in the terms of BLAS: op(A) is m x k, op(B) k x n, all of them columns first."""

    a: Matrix
    b: Matrix
    m: int
    n: int
    k: int


def gemm_of(x: Array, y: Array, contiguous: Callable[[Array], Array]) -> Gemm:
    """The product x y of C-contiguous result as y^T x^T of columns first, without moving what lies in order.

    >>> import numpy as np
    >>> gemm = gemm_of(np.ones((2, 3)), np.ones((4, 3)).mT, np.ascontiguousarray)
    >>> gemm.m, gemm.n, gemm.k, gemm.a.transposed, gemm.a.leading, gemm.b.transposed, gemm.b.leading
    (4, 2, 3, 1, 3, 0, 3)
    """
    return Gemm(_matrix(y, contiguous), _matrix(x, contiguous), y.shape[1], x.shape[0], x.shape[1])


def _matrix(x: Array, contiguous: Callable[[Array], Array]) -> Matrix:
    rows, columns = x.shape
    down, across = (stride // x.itemsize for stride in x.strides)
    if (across == 1 or columns == 1) and (down >= columns or rows == 1):
        return Matrix(x, _NORMAL, max(down, columns))
    if (down == 1 or rows == 1) and (across >= rows or columns == 1):
        return Matrix(x, _TRANSPOSED, max(across, rows))
    return Matrix(contiguous(x), _NORMAL, columns)
