"""The step, the loop and the model."""

from anynet.training.callbacks import Callback, Progress, StopTraining
from anynet.training.gradcheck import GradientCheck, gradcheck
from anynet.training.model import Model
from anynet.training.parity import parity

__all__ = ["Callback", "GradientCheck", "Model", "Progress", "StopTraining", "gradcheck", "parity"]
