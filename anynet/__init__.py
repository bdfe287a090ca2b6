"""anynet: neural networks written once for every array library.

>>> import anynet
>>> data = anynet.datasets.circles()
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anynet import backends, datasets, nn, training
    from anynet.training import Model, gradcheck

__version__ = "0.1.0"
__all__ = ["Model", "__version__", "backends", "datasets", "gradcheck", "nn", "training"]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for, so that ``anynet --help`` need not wait for NumPy."""
    if name in ("Model", "gradcheck"):
        return getattr(importlib.import_module("anynet.training"), name)
    if name in __all__:
        return importlib.import_module(f"anynet.{name}")
    raise AttributeError(f"module 'anynet' has no attribute {name!r}")
