"""GELU, and the error function that it needs, from operations that every array library has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from anynet.errors import UsageError, shown
from anynet.nn.layer import Array, Context, Layer, Namespace, Parameters

_ROOT = math.sqrt(2.0 / math.pi)

# Each row: numerator and denominator, from the highest power on. For x^2 with |x| up to 0.46875, and for larger |x|.
_NEAR = (
    (1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2, 3.77485237685302021e2, 3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)
_FAR = (
    (
        *(2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1),
        *(2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3),
        1.23033935479799725e3,
    ),
    (
        *(1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3),
        *(3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3),
    ),
)


@dataclass(frozen=True)
class GELU(Layer):
    """y = x P(x), where P(x) is the probability that a standard normal number is below x (Hendrycks and Gimpel 2016).

    Parameters
    ----------
    approximate : "none" or "tanh"
        With "tanh", P(x) is (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, as in BERT and GPT-2.

    >>> import numpy as np
    >>> from anynet.nn import Context
    >>> GELU().forward(np, {}, np.asarray([-1e4, 0.0, 1.0]), Context())[0].round(4)
    array([-0.    ,  0.    ,  0.8413])
    """

    approximate: str = "none"

    def __post_init__(self) -> None:
        if self.approximate not in ("none", "tanh"):
            raise UsageError(f'GELU: approximate must be "none" or "tanh", but is {shown(self.approximate)}')

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Any]:
        if self.approximate == "none":
            below = 0.5 + 0.5 * erf(xp, x * math.sqrt(0.5))
        else:
            below = 0.5 + 0.5 * xp.tanh(_ROOT * (x + 0.044715 * x * x * x))
        return x * below, (x, below)

    def backward(
        self, xp: Namespace, p: Parameters, saved: Any, dy: Array, need_dx: bool = True
    ) -> tuple[Array | None, Parameters]:
        x, below = saved
        if self.approximate == "none":
            density = 0.5 * _ROOT * xp.exp(-0.5 * x * x)
        else:
            density = 2.0 * _ROOT * below * (1.0 - below) * (1.0 + 0.134145 * x * x)
        return dy * (below + x * density), {}


def erf(xp: Namespace, x: Array) -> Array:
    """The error function, right to 1e-15: the rational approximations of W. J. Cody (Math. Comp. 23, 1969).

    >>> import numpy as np
    >>> erf(np, np.asarray([-1e4, 0.0, 1.0]))
    array([-1.        ,  0.        ,  0.84270079])
    """
    size = xp.abs(x)
    # What the other formula is for would overflow in this one; erf(6) is 1.
    near, far = xp.maximum(xp.minimum(x, 0.5), -0.5), xp.minimum(size, 6.0)
    tail = 1.0 - xp.exp(-far * far) * _ratio(_FAR, far)
    return xp.where(size <= 0.46875, near * _ratio(_NEAR, near * near), xp.where(x < 0, -tail, tail))


def _ratio(polynomials: Sequence[Sequence[float]], x: Array) -> Array:
    numerator, denominator = (_polynomial(coefficients, x) for coefficients in polynomials)
    return numerator / denominator


def _polynomial(coefficients: Sequence[float], x: Array) -> Array:
    total: Array = coefficients[0]
    for coefficient in coefficients[1:]:
        total = total * x + coefficient
    return total
