"""The progress of a fit: epochs, rows, losses and history."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Record = dict[str, float]


@dataclass
class FitState:
    """The progress of a fit, which a checkpoint stores beside the model.

    Attributes
    ----------
    first_epoch : int
        The model's number of epochs when the fit began.
    epochs : int
        How many epochs `fit` was asked for.
    last_epoch : int
        The model's number of epochs when the fit ends; early stopping lowers it.
    samples, batch_size : int
    higher_is_better : dict of bool
        For each measure in the records, whether a higher value is better.
    training_id : str
        A random id of the training, which stays the same after a resume.
    rows : int
        How many rows of the current epoch have been trained on.
    losses : list of arrays
        Losses of the current epoch's batches, on the host.
    pending : list of arrays
        Losses of the batches after those, on the device, which may still be computing them.
    history : list of dict
        One record for each completed epoch.
    """

    first_epoch: int
    epochs: int
    last_epoch: int
    samples: int
    batch_size: int
    higher_is_better: dict[str, bool] = field(default_factory=lambda: {"loss": False})
    training_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    rows: int = 0
    losses: list[Any] = field(default_factory=list)
    pending: list[Any] = field(default_factory=list)
    history: list[Record] = field(default_factory=list)

    def all_losses(self) -> Any:
        """The losses on the host, as one array."""
        return np.concatenate([np.zeros(0), *self.losses])
