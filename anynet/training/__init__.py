"""The training step, the loop, what is measured, and what may watch it."""

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
from anynet.training.stopping import EarlyStopping

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
    "RootMeanSquaredError",
    "StopTraining",
    "TensorBoard",
]


def __dir__() -> list[str]:
    return __all__
