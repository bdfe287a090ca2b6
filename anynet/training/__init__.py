"""Training: the step, the loop over epochs, metrics, callbacks and early stopping."""

from anynet.training.callbacks import Callback, Progress, StopTraining, TensorBoard
from anynet.training.metrics import (
    ROCAUC,
    Accuracy,
    F1Score,
    MeanAbsoluteError,
    Metric,
    R2Score,
    RootMeanSquaredError,
)
from anynet.training.stopping import EarlyStopping, ReduceLROnPlateau

__all__ = [
    "ROCAUC",
    "Accuracy",
    "Callback",
    "EarlyStopping",
    "F1Score",
    "MeanAbsoluteError",
    "Metric",
    "Progress",
    "R2Score",
    "ReduceLROnPlateau",
    "RootMeanSquaredError",
    "StopTraining",
    "TensorBoard",
]


def __dir__() -> list[str]:
    return __all__
