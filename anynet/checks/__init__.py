"""Checks of the maths: whether forward and backward agree, and whether backends agree."""

from anynet.checks.gradient_check import GradientCheck, gradcheck

__all__ = ["GradientCheck", "gradcheck"]


def __dir__() -> list[str]:
    return __all__
