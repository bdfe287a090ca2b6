"""The policy of `Model.fit`: it shuffles rows, validates after each epoch, and ends a diverged training."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from anynet.model.base import BaseModel
from anynet.model.divergence import diverged, not_finite
from anynet.model.evaluation import evaluate
from anynet.model.ranks import check_same_state
from anynet.training.batches import normalize_weights
from anynet.training.fit_state import FitState, Record
from anynet.training.loop import Policy
from anynet.training.rng import generator


class FitPolicy(Policy):
    """The decisions of `Model.fit` in the training loop.

    Parameters
    ----------
    model : BaseModel
    fit : FitState
    weight : array of shape (samples,)
    validation : (x, target, weight), optional
        Measured after each epoch.
    """

    def __init__(self, model: BaseModel, fit: FitState, weight: Any, validation: tuple[Any, ...] | None) -> None:
        self.model = model
        self.fit = fit
        self.weight = weight
        self.validation = validation

    def order(self, epoch: int) -> Any:
        """A permutation drawn from seed and epoch, so that a resumed training draws the same one."""
        return generator(self.model.seed, "order", epoch).permutation(self.fit.samples)

    def weights(self, order: Any) -> tuple[tuple[Any, ...], Any]:
        weights, totals = normalize_weights(self.weight, order, self.fit.batch_size)
        return (weights,), totals

    def check_losses(self, losses: Any) -> None:
        """Raise TrainingDiverged if a loss is not finite."""
        if np.isfinite(losses).all():
            return
        batch = sum(map(len, self.fit.losses)) + int(np.flatnonzero(~np.isfinite(losses))[0]) + 1
        steps_ago = math.ceil(self.fit.rows / self.fit.batch_size) - batch + 1
        what = f"the loss is not finite in batch {batch} of epoch {self.model.epoch + 1}"
        raise diverged(self.model, what, steps_ago)

    def end_epoch(self, record: Record) -> bool:
        """Add the validation measures; raise TrainingDiverged if a weight or the validation loss is not finite."""
        epoch = self.model.epoch
        if name := not_finite(self.model):
            raise diverged(self.model, f"{name} is not finite after epoch {epoch}")
        check_same_state(self.model)
        if self.validation:
            record |= {f"val_{name}": value for name, value in evaluate(self.model, *self.validation).items()}
            if not np.isfinite(record["val_loss"]):
                raise diverged(self.model, f"the validation loss is {record['val_loss']} after epoch {epoch}")
        return True
