"""anynet: neural networks written once for every array library.

>>> import anynet
>>> data = anynet.datasets.circles()
"""

from anynet import backends, datasets, nn, training
from anynet.training import Model

__version__ = "0.1.0"
__all__ = ["Model", "__version__", "backends", "datasets", "nn", "training"]
