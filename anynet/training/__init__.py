"""The step, the loop and the model."""

from anynet.training.callbacks import Callback, Progress, StopTraining
from anynet.training.gradient_check import GradientCheck, gradcheck
from anynet.training.model import Model

__all__ = ["Callback", "GradientCheck", "Model", "Progress", "StopTraining", "gradcheck"]
