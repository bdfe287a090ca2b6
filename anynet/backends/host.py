"""The way back: any library's array as a NumPy array."""

from __future__ import annotations

from typing import Any


def as_float(x: Any, dtype: str) -> Any:
    """A NumPy array whose floats have this dtype, whatever NumPy was told to do where one does not fit."""
    import numpy

    if x.dtype.kind != "f":
        return x
    with numpy.errstate(all="ignore"):
        return x.astype(dtype, copy=False)


def to_numpy(x: Any) -> Any:
    """An array of any library on any device, or nested numbers, as a NumPy array; waits for it to be computed.

    >>> to_numpy([1, 2])
    array([1, 2])
    """
    import numpy
    from array_api_compat import is_cupy_array, is_torch_array

    if is_cupy_array(x):
        return x.get()
    if is_torch_array(x):
        x = x.detach().cpu()
        # NumPy has no bfloat16.
        return (x.float() if str(x.dtype) == "torch.bfloat16" else x).numpy()
    return numpy.asarray(x)
