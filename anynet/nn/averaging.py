"""`EMA`: a running mean of the weights, beside the weights that an optimizer trains."""

from __future__ import annotations

from dataclasses import dataclass, field

from anynet.errors import UsageError, shown
from anynet.nn.checks import check_number
from anynet.nn.layer import Array, Namespace
from anynet.nn.optimizers import Optimizer, Slots
from anynet.nn.schedules import Schedule


@dataclass(frozen=True)
class EMA(Optimizer):
    """An optimizer that also keeps a running mean of the weights: average <- decay * average + (1 - decay) * w.

    It trains as the given one. The mean often predicts better than the last weights (Polyak and Juditsky 1992,
    Tarvainen and Valpola 2017), and ``model.averaged()`` is a copy of a model with it. The mean begins with the weights
    before the first step, as an AveragedModel of PyTorch does that is also updated once before it.

    Parameters
    ----------
    optimizer : Optimizer
    decay : float
        At least 0 and below 1.

    Raises
    ------
    UsageError
        When `optimizer` is none, or `decay` is out of range.

    >>> import numpy as np
    >>> from anynet.nn import SGD
    >>> ema, block = EMA(SGD(lr=1.0), decay=0.75), np.ones(2)
    >>> block, slots = ema.update(np, block, np.asarray([1.0, -1.0]), ema.init(np, block), np.asarray(1.0))
    >>> block, slots["average"]
    (array([0., 2.]), array([0.75, 1.25]))
    """

    optimizer: Optimizer
    decay: float = 0.999
    # Those of the optimizer
    lr: float | Schedule = field(init=False, repr=False)
    weight_decay: float = field(init=False, repr=False)
    elementwise: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.optimizer, Optimizer):
            raise UsageError(f"EMA: optimizer must be one, such as Adam(), but is {shown(self.optimizer)}")
        for name in ("lr", "weight_decay", "elementwise"):
            object.__setattr__(self, name, getattr(self.optimizer, name))
        check_number(self, "decay", "at least 0 and below 1", lambda decay: 0 <= decay < 1)

    def init(self, xp: Namespace, block: Array) -> Slots:
        slots = self.optimizer.init(xp, block)
        if "average" in slots:
            raise UsageError(f"EMA: {shown(self.optimizer)} has a slot of the name average already")
        return {**slots, "average": xp.asarray(block, copy=True)}

    def update(
        self, xp: Namespace, block: Array, gradient: Array, slots: Slots, learning_rate: Array
    ) -> tuple[Array, Slots]:
        average = slots["average"]
        theirs = {name: slot for name, slot in slots.items() if name != "average"}
        block, kept = self.optimizer.update(xp, block, gradient, theirs, learning_rate)
        average *= self.decay
        average += (1.0 - self.decay) * block
        return block, {**kept, "average": average}
