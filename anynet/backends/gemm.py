"""The arguments with which BLAS and cuBLAS compute a matrix product."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from anynet.backends.base import Array

_NORMAL, _TRANSPOSED = 0, 1


class Matrix(NamedTuple):
    """A 2-D array, or a stack of them, as BLAS sees it: column-major, so that a C-contiguous one appears transposed."""

    array: Array
    transposed: int
    leading: int


class Gemm(NamedTuple):
    """C = op(A) op(B) in the terms of BLAS: op(A) is m x k, op(B) is k x n, and all are column-major."""

    a: Matrix
    b: Matrix
    m: int
    n: int
    k: int


def gemm_of(x: Array, y: Array, contiguous: Callable[[Array], Array]) -> Gemm:
    """The product x y with a C-contiguous result, as the column-major product y^T x^T.

    `contiguous` copies what BLAS cannot read where it lies. Of stacks of matrices, the numbers are those of each.

    >>> import numpy as np
    >>> gemm = gemm_of(np.ones((2, 3)), np.ones((4, 3)).mT, np.ascontiguousarray)
    >>> gemm.m, gemm.n, gemm.k, gemm.a.transposed, gemm.a.leading, gemm.b.transposed, gemm.b.leading
    (4, 2, 3, 1, 3, 0, 3)
    """
    return Gemm(_matrix(y, contiguous), _matrix(x, contiguous), y.shape[-1], *x.shape[-2:])


def _matrix(x: Array, contiguous: Callable[[Array], Array]) -> Matrix:
    rows, columns = x.shape[-2:]
    down, across = (stride // x.itemsize for stride in x.strides[-2:])
    if (across == 1 or columns == 1) and (down >= columns or rows == 1):
        return Matrix(x, _NORMAL, max(down, columns))
    if (down == 1 or rows == 1) and (across >= rows or columns == 1):
        return Matrix(x, _TRANSPOSED, max(across, rows))
    return Matrix(contiguous(x), _NORMAL, columns)
