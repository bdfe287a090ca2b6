"""The model that a person holds, its file and its checkpoints."""

from anynet.model.checkpoints import Checkpoints, latest
from anynet.model.model import Model

__all__ = ["Checkpoints", "Model", "latest"]


def __dir__() -> list[str]:
    return __all__
