"""The one loop: epoch after epoch, so that it can be stopped after any stretch of batches and go on from there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import closing
from signal import SIGINT
from typing import Any, Protocol, TypeAlias, cast

from anynet.backends import Backend
from anynet.backends.base import Array, Step
from anynet.errors import UsageError
from anynet.nn.checks import python_number
from anynet.training import signals
from anynet.training.batches import Chunk
from anynet.training.callbacks import Callbacks
from anynet.training.fit_state import FitState, Record
from anynet.training.sources import Source

# Called with a function that reads all losses, and whether training is about to be interrupted.
Save: TypeAlias = Callable[[Callable[[], None], bool], None]


class Trainable(Protocol):
    """What the loop trains."""

    epoch: int

    @property
    def backend(self) -> Backend: ...

    def train_on(self, batches: Chunk, data: tuple[Array, ...], step: Step | None = None) -> Array:
        """Take a step for each batch; the loss of each, which the device may be working on still."""


class Policy:
    """What a training decides for itself: the order of rows, how much each counts, and when enough is enough.

    Attributes
    ----------
    step : callable, optional
        What to do with each batch, instead of the model's own training step.
    """

    step: Step | None = None

    def order(self, epoch: int) -> Any:
        """The numbers of all rows, in the order in which this epoch takes them."""
        raise NotImplementedError

    def weights(self, order: Any) -> tuple[tuple[Any, ...], Any]:
        """Arrays that go with the rows in that order, and how much each batch counts in the epoch's loss."""
        raise NotImplementedError

    def check_losses(self, losses: Any) -> None:
        """Look at the losses of the next batches, as they come to the host; raise to end training."""

    def end_epoch(self, record: Record) -> bool:
        """Measure the model, add that to the record of the epoch that is over, and say whether to go on."""
        raise NotImplementedError


class Loop:
    """Trains a model to the last epoch of a fit.

    Parameters
    ----------
    model : Trainable
        In training.
    fit : FitState
        Where to begin; it is kept up to date.
    source : Source
        Of batches.
    policy : Policy
    callbacks : Callbacks
    save : callable, optional
        Called where nothing is half done, with a function that reads all losses, and whether an interrupt waits.
    most_steps : int, optional
        So many steps at most are taken between two such moments.
    """

    def __init__(
        self,
        model: Trainable,
        fit: FitState,
        source: Source,
        policy: Policy,
        callbacks: Callbacks,
        save: Save | None = None,
        most_steps: int | None = None,
    ) -> None:
        self.model = model
        self.fit = fit
        self.source = source
        self.policy = policy
        self.callbacks = callbacks
        self.save = save
        self.most_steps = most_steps
        self._totals: Any = None
        self._came: list[int] = []

    def run(self) -> bool:
        """Train; False where the policy, or a callback's StopTraining, has ended it.

        Raises
        ------
        KeyboardInterrupt, SystemExit
            After SIGINT and SIGTERM, once the batches at hand are done; at once after a second SIGINT.
        Exception
            Whatever the policy or a callback raises.
        """
        fit, go_on = self.fit, True
        with signals.noted() as self._came:
            while go_on and self.model.epoch < fit.last_epoch:
                started, done = time.perf_counter(), fit.rows
                go_on = self._train_epoch()
                if fit.rows < fit.samples:
                    return False
                record = {"epoch": self.model.epoch + 1, "loss": self._loss(), **_speed(started, fit.samples - done)}
                go_on = self._end_epoch(record) and go_on
                self._pause()
        return go_on

    def _train_epoch(self) -> bool:
        """Train on the rest of an epoch, or until a callback wants to end it; whether to go on."""
        fit = self.fit
        order = self.policy.order(self.model.epoch)
        weights, self._totals = self.policy.weights(order)
        rest = slice(fit.rows, None)
        batches = self.source.batches(order[rest], tuple(w[rest] for w in weights), fit.batch_size, self.most_steps)
        # An error that somebody keeps would keep what reads ahead, too.
        with closing(batches):
            return self._train_on(batches)

    def _train_on(self, batches: Iterable[Chunk]) -> bool:
        fit, model, go_on = self.fit, self.model, True
        for chunk in batches:
            fit.pending.append(model.train_on(chunk, self.source.data, self.policy.step))
            fit.rows += chunk.rows
            # While the device works on these, the ones before are looked at.
            self._read_losses(but=0 if self.most_steps == 1 else 1)
            go_on = self.callbacks.tell("on_batches_end", model, chunk.rows)
            if not go_on and fit.rows == fit.samples:
                fit.last_epoch = model.epoch + 1
            self._pause()
            if not go_on:
                break
        return go_on

    def _loss(self) -> float:
        """The mean loss of the epoch's batches; waits for the last of them."""
        self._read_losses()
        return float(self.fit.all_losses() @ self._totals / self._totals.sum())

    def _end_epoch(self, record: Record) -> bool:
        fit, model = self.fit, self.model
        model.epoch += 1
        fit.rows, fit.losses = 0, []
        go_on = self.policy.end_epoch(record)
        fit.history.append(record)
        go_on = self.callbacks.tell("on_epoch_end", model, record) and go_on
        record.update(_numbers(record))
        if not go_on:
            fit.last_epoch = model.epoch
        return go_on

    def _read_losses(self, but: int = 0) -> None:
        """Bring losses to the host, but for those of so many of the last chunks."""
        while len(self.fit.pending) > but:
            losses = self.model.backend.to_numpy(self.fit.pending.pop(0))
            self.policy.check_losses(losses)
            self.fit.losses.append(losses)

    def _pause(self) -> None:
        """Between two chunks nothing is half done."""
        if self.save:
            self.save(self._read_losses, bool(self._came))
        if self._came:
            raise KeyboardInterrupt if self._came[0] == SIGINT else SystemExit(128 + self._came[0])


def _numbers(record: Record) -> Record:
    """The measures, among them what callbacks have added, as Python's numbers, which a checkpoint can hold."""
    numbers = {name: python_number(value) for name, value in record.items()}
    if others := [name for name, number in numbers.items() if number is None]:
        raise UsageError(f"a callback has put {record[others[0]]!r} into a record as {others[0]}: give a number")
    return cast(Record, numbers)


def _speed(started: float, rows: int) -> Record:
    """Seconds since then, and rows a second; 0 where the clock has stood still."""
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "samples_per_second": rows / seconds if seconds > 0 else 0.0}
