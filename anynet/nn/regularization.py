"""Gradient clipping and weight decay, which a training step applies before the optimizer."""

from __future__ import annotations

from anynet.nn.layer import Array, Namespace
from anynet.nn.layout import Blocks


def clip_grad_value(xp: Namespace, gradients: Blocks, value: float) -> Blocks:
    """All gradients with each number limited to -`value` and `value`, an infinite one too.

    >>> import numpy as np
    >>> clip_grad_value(np, (np.asarray([3.0, -0.5, -7.0]),), value=1.0)[0]
    array([ 1. , -0.5, -1. ])
    """
    return tuple(xp.clip(gradient, -value, value) for gradient in gradients)


def clip_grad_norm(xp: Namespace, gradients: Blocks, max_norm: float) -> Blocks:
    """All gradients scaled down so that their norm, taken together, is at most `max_norm` (Pascanu et al. 2013).

    >>> import numpy as np
    >>> clip_grad_norm(np, (np.asarray([3.0]), np.asarray([[4.0]])), max_norm=1.0)[0].round(4)
    array([0.6])
    """
    if not gradients:
        return gradients
    squares = [xp.sum(gradient * gradient) for gradient in gradients]
    norm = xp.sqrt(xp.sum(xp.stack(squares)))
    # As in PyTorch; the small number avoids a division by 0 for a gradient of 0.
    factor = xp.minimum(max_norm / (norm + 1e-6), xp.ones_like(norm))
    # If the norm overflows, the factor would be 0 and training would stand still; nan is reported.
    factor += norm * 0.0
    return tuple(gradient * factor for gradient in gradients)


def decay_weights(block: Array, decays: Array, rate: Array) -> Array:
    """w <- w - rate * w, in place, for the numbers that `decays` marks by 1 (Loshchilov and Hutter 2019).

    >>> import numpy as np
    >>> decay_weights(np.asarray([2.0, 2.0]), np.asarray([1.0, 0.0]), 0.1)
    array([1.8, 2. ])
    """
    block -= rate * decays * block
    return block
