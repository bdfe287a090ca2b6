"""A loop whose model adds up rows, so that everything it should tell is known."""

from __future__ import annotations

from typing import Any

import numpy as np

from anynet.backends import select
from anynet.distributed import Communicator
from anynet.training import Callback
from anynet.training.batches import Chunk
from anynet.training.callbacks import Callbacks
from anynet.training.fit_state import FitState
from anynet.training.loop import Loop, Policy
from anynet.training.sources import ResidentSource

ROWS, SIZE = 10, 4
BACKEND = type("OneByOne", (type(select("numpy", "float64")),), {"steps_at_once": 1})(dtype="float64")


class Adder:
    """Its loss for a batch is the sum of the numbers of the rows, and 100 for each epoch that is over."""

    def __init__(self) -> None:
        self.epoch, self.backend = 0, BACKEND
        self.trained: list[list[int]] = []
        self.steps: list[Any] = []
        self.comm = Communicator()

    def train_on(self, batches: Chunk, data: Any, steps: Any = None) -> Any:
        rows = data[0][batches.arrays[0]]
        self.trained += rows.tolist()
        self.steps.append(steps)
        return rows.sum(axis=1) + 100.0 * self.epoch


class InOrder(Policy):
    """Rows as they are; batches count by their rows."""

    def __init__(self) -> None:
        self.checked: list[float] = []
        self.asked: list[int] = []

    def order(self, epoch: int) -> Any:
        self.asked.append(epoch)
        return np.arange(ROWS)

    def weights(self, order: Any) -> Any:
        return (np.ones(ROWS),), np.asarray([4.0, 4.0, 2.0])

    def check_losses(self, losses: Any) -> None:
        self.checked += losses.tolist()

    def end_epoch(self, record: dict[str, float]) -> bool:
        record["measured"] = record["epoch"] / 2
        return True


class Heard(Callback):
    """Notes what it is told, and raises what it was given for an event."""

    def __init__(self, raises: dict[str, Any] | None = None) -> None:
        self.events: list[str] = []
        self.raises = raises or {}

    def _note(self, event: str) -> None:
        self.events.append(event)
        if event in self.raises:
            raise self.raises[event]

    def on_batches_end(self, model: Any, samples: int) -> None:
        self._note(f"{samples} rows")

    def on_epoch_end(self, model: Any, record: dict[str, float]) -> None:
        assert model.epoch == record["epoch"]
        self._note(f"epoch {record['epoch']}")


def new_fit(epochs: int = 2, **there: Any) -> FitState:
    return FitState(first_epoch=0, epochs=epochs, last_epoch=epochs, samples=ROWS, batch_size=SIZE, **there)


def loop_of(model: Adder, fit: FitState, *callbacks: Callback, policy: Policy | None = None, **options: Any) -> Loop:
    source = ResidentSource(BACKEND, (np.arange(ROWS),))
    return Loop(model, fit, source, policy or InOrder(), Callbacks(callbacks), **options)


def losses_of(epoch: int) -> list[float]:
    return [6.0 + 100 * epoch, 22.0 + 100 * epoch, 17.0 + 100 * epoch]


def mean_of(epoch: int) -> float:
    return (4 * 6 + 4 * 22 + 2 * 17) / 10 + 100 * epoch


BATCHES = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
TOLD = ["4 rows", "4 rows", "2 rows"]
