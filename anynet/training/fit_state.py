"""How far a fit has come."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Record = dict[str, float]


@dataclass
class FitState:
    """How far a fit has come, beside the model itself.

    Attributes
    ----------
    first_epoch : int
        How many epochs were over when it began.
    epochs : int
        How many more were asked for.
    last_epoch : int
        The number of the epoch after which it ends.
    samples, batch_size : int
    higher_is_better : dict of bool
        Of each measure in the records, whether more of it is better.
    training_id : str
        Which training it is; kept when it is resumed.
    rows : int
        How many rows of the current epoch have been trained on.
    losses : list of arrays
        Of the batches of the current epoch, on the host.
    pending : list of arrays
        Losses that the device may be working on still.
    history : list of dict
        A record of each epoch that is over.
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
