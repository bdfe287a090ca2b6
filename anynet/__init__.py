"""anynet: neural networks written once for every array library.

>>> import anynet
>>> data = anynet.datasets.circles()
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anynet import autodiff, backends, checks, datasets, errors, model, nn, training
    from anynet import estimators as estimators
    from anynet.autodiff import grad, jacobian, value_and_grad, vjp
    from anynet.checks import gradcheck
    from anynet.model import Model

__version__ = "0.1.0"
__all__ = [
    "Model",
    "__version__",
    "autodiff",
    "backends",
    "checks",
    "datasets",
    "errors",
    "grad",
    "gradcheck",
    "jacobian",
    "model",
    "nn",
    "training",
    "value_and_grad",
    "vjp",
]
_DERIVATIVES = ("grad", "jacobian", "value_and_grad", "vjp")
_FROM = {"Model": "anynet.model", "gradcheck": "anynet.checks"} | dict.fromkeys(_DERIVATIVES, "anynet.autodiff")
# Imported on first use only, and never by `import *`, because it needs scikit-learn.
_OPTIONAL = "estimators"


def __getattr__(name: str) -> Any:
    """Import a module on its first use, so that ``anynet --help`` does not wait for NumPy."""
    if name in _FROM:
        return getattr(importlib.import_module(_FROM[name]), name)
    if name in (*__all__, _OPTIONAL):
        return importlib.import_module(f"anynet.{name}")
    raise AttributeError(f"module 'anynet' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, without the helpers of this module."""
    import importlib.util

    return sorted([*__all__, _OPTIONAL] if importlib.util.find_spec("sklearn") else __all__)
