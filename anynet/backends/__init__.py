"""Backends: an array library, a device and a way to run steps. All that differs between libraries is here."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from anynet.backends.base import Backend
from anynet.backends.cupy import CuPyBackend
from anynet.backends.dpnp import DpnpBackend
from anynet.backends.jax import JAXBackend
from anynet.backends.numpy import NumPyBackend
from anynet.backends.strict import StrictBackend
from anynet.backends.torch import TorchBackend
from anynet.errors import BackendError, shown, unknown

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

BACKENDS: dict[str, type[Backend]] = {
    backend.name: backend
    for backend in (NumPyBackend, CuPyBackend, TorchBackend, JAXBackend, DpnpBackend, StrictBackend)
}

__all__ = ["BACKENDS", "Backend", "auto", "select", "to_numpy"]


def select(name: str = "numpy", dtype: DTypeLike = "float32", precision: str = "float32") -> Backend:
    """Make the backend of this name.

    Parameters
    ----------
    name : str
        ``name[:device]``, such as ``numpy``, ``cupy:1``, ``torch:cpu``; or ``auto``, which prints its choice and the
        reason on stderr.
    dtype : {"float32", "float64"}, or NumPy's dtype of that name
        The dtype of all floats: data, parameters and results.
    precision : {"float32", "tf32"}
        How float32 matrices are multiplied. ``tf32`` works only on CuPy. It is faster, but rounds each number to 10
        bits of mantissa.

    Raises
    ------
    BackendError
        When there is no such backend, or it cannot be used here; the message says what to install.

    >>> select("numpy", "float64")
    <backend numpy on cpu, float64>
    """
    if not isinstance(name, str):
        raise BackendError(f"a backend is given by its name, such as 'numpy' or 'torch', but this is {shown(name)}")
    if name == "auto":
        name, reason = auto()
        print(f"anynet: backend {name} ({reason})", file=sys.stderr)
        return select(name, dtype, precision)
    library, _, device = name.partition(":")
    if library not in BACKENDS:
        raise BackendError(unknown("backend", library, [*BACKENDS, "auto"]))
    return BACKENDS[library](device or None, dtype, precision)


def auto() -> tuple[str, str]:
    """The name of the best backend for this machine, CuPy if it can be used, else NumPy; and the reason in words."""
    try:
        CuPyBackend()
    except BackendError as error:
        return "numpy", error.reason
    return "cupy", "a usable CUDA GPU is there"


def __dir__() -> list[str]:
    return __all__


def owner_of(x: Any) -> str:
    """The backend and device of an array, as ``name:device``; ``numpy`` for NumPy arrays, lists and all else.

    >>> owner_of([1, 2])
    'numpy'
    """
    devices = ((name, backend.device_of(x)) for name, backend in BACKENDS.items())
    return next((f"{name}:{device}" for name, device in devices if device is not None), "numpy")


def to_numpy(x: Any) -> Any:
    """An array of any library and device, or nested lists of numbers, as a NumPy array; waits until it is computed.

    >>> to_numpy([1, 2])
    array([1, 2])
    """
    return BACKENDS[owner_of(x).partition(":")[0]].asnumpy(x)
