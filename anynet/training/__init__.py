"""The training step, the loop, and what may watch it."""

from anynet.training.callbacks import Callback, Progress, StopTraining, TensorBoard
from anynet.training.stopping import EarlyStopping

__all__ = ["Callback", "EarlyStopping", "Progress", "StopTraining", "TensorBoard"]


def __dir__() -> list[str]:
    return __all__
