"""scikit-learn's L2 penalty, which is part of the loss and divided by the size of the batch."""

from __future__ import annotations

from anynet.nn.layer import Array, Namespace
from anynet.nn.layout import Blocks
from anynet.training.state import State
from anynet.training.step import Gradient


def penalized(differentiate: Gradient, decays: Blocks, l2: float) -> Gradient:
    """Add l2 / (2 n) times the sum of all w^2 that `decays` marks to the loss; n is the batch's total weight.

    A batch is (x, target, weight, 1 / n), where the last is an array of shape (batch,) with one value. Without sample
    weights it is (x, target, weight), since every weight is 1 / n then.
    """
    if not l2:
        return differentiate

    def with_penalty(xp: Namespace, state: State, batch: tuple[Array, ...]) -> tuple[Array, Blocks, Blocks]:
        value, gradients, buffers = differentiate(xp, state, batch)
        *_, one_over_n = batch
        share = l2 * one_over_n[0, ...]
        blocks = list(gradients)
        for i, block in enumerate(state.parameters):
            pull = share * (decays[i] * block)
            value = value + 0.5 * xp.sum(pull * block)
            blocks[i] += pull
        return value, tuple(blocks), buffers

    return with_penalty
