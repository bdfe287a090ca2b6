"""Derivatives of any function written with the Array API standard, on any library."""

from anynet.autodiff.functions import grad, jacobian, value_and_grad, vjp

__all__ = ["grad", "jacobian", "value_and_grad", "vjp"]


def __dir__() -> list[str]:
    return __all__
