"""Finds out whether training has diverged, and makes the error for it."""

from __future__ import annotations

import numpy as np

from anynet.errors import TrainingDiverged
from anynet.model.base import BaseModel


def not_finite(model: BaseModel) -> str:
    """The name of the first parameter or buffer with inf or nan, or an empty text; the device checks first."""
    xp = model.backend.xp
    with model.backend.scope():
        state = model.read_state()
        sums = [xp.sum(block * 0) for block in (*state.parameters, *state.buffers)]
        if all(model.backend.to_numpy(number) == 0 for number in sums):
            return ""
    return next((name for name, array in model.parameters.items() if not np.isfinite(array).all()), "")


def diverged(model: BaseModel, what: str, steps_ago: int = 1) -> TrainingDiverged:
    """An error that says what is not finite, and what to try."""
    name = not_finite(model)
    where = f", and so is {name}" if name and name not in what else ""
    return TrainingDiverged(
        f"{what}{where}: training has diverged; try a smaller learning rate (it is "
        f"{_learning_rate(model, steps_ago):.6g}), or standardise the inputs"
    )


def _learning_rate(model: BaseModel, steps_ago: int) -> float:
    """The learning rate of an earlier step."""
    backend, rate = model.backend, model.optimizer.lr
    if not callable(rate):
        return model.learning_rate
    step = np.asarray(float(backend.to_numpy(model.state.step)) - steps_ago)
    with backend.scope():
        return float(backend.to_numpy(rate(backend.xp, backend.asarray(step))))
