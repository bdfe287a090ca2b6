"""Whether the maths is right: do forward and backward agree, and do backends."""

from anynet.checks.gradient_check import GradientCheck, gradcheck

__all__ = ["GradientCheck", "gradcheck"]


def __dir__() -> list[str]:
    return __all__
