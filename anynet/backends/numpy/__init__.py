"""NumPy: the CPU."""

from anynet.backends.numpy.backend import NumPyBackend

__all__ = ["NumPyBackend"]
