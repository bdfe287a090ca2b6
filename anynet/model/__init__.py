"""`Model`, which trains, predicts, saves and loads a network, and `Checkpoints`, to resume its training."""

from anynet.model.checkpoints import Checkpoints, latest
from anynet.model.model import Model

__all__ = ["Checkpoints", "Model", "latest"]


def __dir__() -> list[str]:
    return __all__
