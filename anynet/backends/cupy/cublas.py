"""Matrix products straight through cuBLAS: CuPy refuses its own while a stream is capturing (its issue 6290)."""

from __future__ import annotations

import ctypes
import math
import weakref
from typing import Any

import numpy as np

from anynet.backends.base import Array
from anynet.backends.gemm import gemm_of

_MATH_MODES = {"float32": 0, "tf32": 3}
# The size that cuBLAS recommends for Hopper. A graph must not share cuBLAS's own workspace.
WORKSPACE_BYTES = 32 << 20


class Products:
    """`matmul` for CuPy's arrays of floats, with its own cuBLAS handle and workspace, made at the first product.

    CuPy's own `matmul` computes all other products, such as those of vectors or integers; they cannot be captured.

    Parameters
    ----------
    xp : namespace
    precision : {"float32", "tf32"}
        How float32 matrices are multiplied. ``tf32`` rounds each number to 10 bits of mantissa, and is much faster.
    """

    def __init__(self, xp: Any, precision: str = "float32") -> None:
        self.xp = xp
        self.precision = precision
        self._library: Any = None
        self._stream: int | None = None

    def matmul(self, x: Array, y: Array) -> Array:
        if not is_product(x, y):
            return self.xp.matmul(x, y)
        batch = x.shape[:-2] if y.ndim == 2 else np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        out = self.xp.empty((*batch, x.shape[-2], y.shape[-1]), dtype=x.dtype)
        self.multiply(x, y, out)
        return out

    def multiply(self, x: Array, y: Array, out: Array) -> None:
        """Write the product x y into `out`, which is C-contiguous; both may have more than two axes."""
        self.make_ready()
        batch = out.shape[:-2] if y.ndim > 2 else ()
        if batch:
            x, y = (self._stack(array, batch) for array in (x, y))
        else:
            x = self.xp.reshape(x, (-1, x.shape[-1]))
        gemm = gemm_of(x, y, self.xp.ascontiguousarray)
        single = x.dtype.itemsize == 4
        number = ctypes.c_float if single else ctypes.c_double
        function = getattr(self._library, f"cublas{'S' if single else 'D'}gemm{'StridedBatched' if batch else '_v2'}")
        a, b = gemm.a, gemm.b

        def stride(array: Array) -> list[Any]:
            return [ctypes.c_longlong(array.strides[0] // array.itemsize)] if batch else []

        _check(
            function(
                self._handle,
                ctypes.c_int(a.transposed),
                ctypes.c_int(b.transposed),
                ctypes.c_int(gemm.m),
                ctypes.c_int(gemm.n),
                ctypes.c_int(gemm.k),
                ctypes.byref(number(1.0)),
                ctypes.c_void_p(a.array.data.ptr),
                ctypes.c_int(a.leading),
                *stride(a.array),
                ctypes.c_void_p(b.array.data.ptr),
                ctypes.c_int(b.leading),
                *stride(b.array),
                ctypes.byref(number(0.0)),
                ctypes.c_void_p(out.data.ptr),
                ctypes.c_int(gemm.m),
                *([ctypes.c_longlong(gemm.m * gemm.n), ctypes.c_int(math.prod(batch))] if batch else []),
            ),
            "multiply matrices",
        )

    def _stack(self, x: Array, batch: tuple[int, ...]) -> Array:
        """Matrices as an array of three axes, as many as the batch has."""
        return self.xp.reshape(self.xp.broadcast_to(x, (*batch, *x.shape[-2:])), (-1, *x.shape[-2:]))

    def make_ready(self) -> None:
        """Make the handle if there is none, and set it to the current stream."""
        import cupy

        if self._library is None:
            library = load()
            self._handle = ctypes.c_void_p()
            _check(library.cublasCreate_v2(ctypes.byref(self._handle)), "start")
            weakref.finalize(self, library.cublasDestroy_v2, self._handle).atexit = False
            _check(library.cublasSetMathMode(self._handle, _MATH_MODES[self.precision]), "set the precision")
            self._workspace = cupy.cuda.alloc(WORKSPACE_BYTES)
            self._library = library
        stream = cupy.cuda.get_current_stream().ptr
        if stream != self._stream:
            _check(self._library.cublasSetStream_v2(self._handle, ctypes.c_void_p(stream)), "change the stream")
            # After a change of stream, cuBLAS no longer uses the workspace that was set.
            workspace = ctypes.c_void_p(self._workspace.ptr)
            size = ctypes.c_size_t(WORKSPACE_BYTES)
            _check(self._library.cublasSetWorkspace_v2(self._handle, workspace, size), "take the workspace")
            self._stream = stream


def load() -> Any:
    """The cuBLAS that CuPy uses, wherever pip or the system put it."""
    from cuda.pathfinder import load_nvidia_dynamic_lib

    return ctypes.CDLL(load_nvidia_dynamic_lib("cublas").abs_path)


def is_product(x: Array, y: Array) -> bool:
    """Whether x y is a product of matrices, or of many, of one float dtype, and no axis is empty."""
    floats = x.dtype == y.dtype and x.dtype.kind == "f" and x.dtype.itemsize in (4, 8)
    of_matrices = x.ndim >= 2 and y.ndim >= 2 and x.shape[-1] == y.shape[-2]
    return floats and of_matrices and bool(math.prod((*x.shape, *y.shape)))


def _check(status: int, doing: str) -> None:
    if status:
        raise RuntimeError(f"cuBLAS could not {doing}: its status is {status}")
