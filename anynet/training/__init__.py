"""The step, the loop and the model."""

from anynet.training.callbacks import Callback, EarlyStopping, Progress, StopTraining, TensorBoard
from anynet.training.checkpoints import Checkpoints
from anynet.training.gradient_check import GradientCheck, gradcheck
from anynet.training.model import Model

__all__ = [
    "Callback",
    "Checkpoints",
    "EarlyStopping",
    "GradientCheck",
    "Model",
    "Progress",
    "StopTraining",
    "TensorBoard",
    "gradcheck",
]


def __dir__() -> list[str]:
    return __all__
