"""The step, the loop and the model."""

from anynet.training.callbacks import Callback, Progress, StopTraining
from anynet.training.model import Model

__all__ = ["Callback", "Model", "Progress", "StopTraining"]
