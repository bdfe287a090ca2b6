"""Estimators with scikit-learn's interface, for multi-layer perceptrons and for any other network."""

from __future__ import annotations

from anynet.errors import UsageError

try:
    import sklearn  # noqa: F401
except ImportError:
    raise UsageError("anynet.estimators needs scikit-learn: pip install '.[sklearn]'") from None

from anynet.estimators.mlp import MLPClassifier, MLPRegressor
from anynet.estimators.net import NetClassifier, NetRegressor
from anynet.estimators.sklearn_conversion import from_sklearn, to_sklearn

__all__ = ["MLPClassifier", "MLPRegressor", "NetClassifier", "NetRegressor", "from_sklearn", "to_sklearn"]


def __dir__() -> list[str]:
    return __all__
