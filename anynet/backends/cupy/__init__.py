"""CuPy: a CUDA GPU."""

from anynet.backends.cupy.backend import CuPyBackend

__all__ = ["CuPyBackend"]
