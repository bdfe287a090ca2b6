"""The training loop over epochs and chunks of batches; it can stop after any chunk, and resume there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from signal import SIGINT
from typing import Any, Protocol, TypeAlias, cast

from anynet.backends import Backend
from anynet.backends.base import Array
from anynet.distributed import Communicator
from anynet.errors import UsageError
from anynet.nn.checks import python_number
from anynet.training import signals
from anynet.training.batches import Chunk
from anynet.training.callbacks import Callbacks
from anynet.training.fit_state import FitState, Record
from anynet.training.sources import Source
from anynet.training.step import Steps

# Called with a function that copies all losses to the host, and whether a signal is about to end training.
Save: TypeAlias = Callable[[Callable[[], None], bool], None]


class Trainable(Protocol):
    """The part of a model that the loop uses."""

    epoch: int

    @property
    def backend(self) -> Backend: ...

    @property
    def comm(self) -> Communicator: ...

    def train_on(self, batches: Chunk, data: tuple[Array, ...], steps: Steps | None = None) -> Array:
        """Take a step for each batch; return the losses, which the device may still be computing."""


class Policy:
    """What differs between kinds of training: the order of rows, their weights, and when to stop.

    Attributes
    ----------
    steps : Steps, optional
        Replace the model's own training steps.
    """

    steps: Steps | None = None

    def order(self, epoch: int) -> Any:
        """All row numbers, in the order of this epoch."""
        raise NotImplementedError

    def weights(self, order: Any) -> tuple[tuple[Any, ...], Any]:
        """Arrays with one number per row, in that order, and the weight of each batch in the epoch's loss."""
        raise NotImplementedError

    def check_losses(self, losses: Any) -> None:
        """Check the losses of the next batches when they reach the host; raise an error to end training."""

    def end_epoch(self, record: Record) -> bool:
        """Add validation measures to the record of the epoch that has ended; return whether to go on."""
        raise NotImplementedError


class Loop:
    """Trains a model to the last epoch of a fit.

    Parameters
    ----------
    model : Trainable
        Inside its context ``training``.
    fit : FitState
        Where to begin; the loop updates it.
    source : Source
        Gives the batches.
    policy : Policy
    callbacks : Callbacks
    save : callable, optional
        Called after each chunk of batches and after each epoch; see `Save` for its arguments.
    most_steps : int, optional
        The most steps in a chunk.
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
        """Train; return False if the policy, or a callback's StopTraining, has ended training.

        Raises
        ------
        KeyboardInterrupt, SystemExit
            After SIGINT or SIGTERM, once the current chunk is done; a second signal interrupts at once.
        Exception
            Whatever the policy or a callback raises.
        """
        fit, go_on = self.fit, True
        with signals.deferred() as self._came:
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
        """Train on the rest of an epoch, or until a callback stops it; return whether to go on."""
        fit = self.fit
        order = self.policy.order(self.model.epoch)
        weights, self._totals = self.policy.weights(order)
        rest = slice(fit.rows, None)
        batches = self.source.batches(order[rest], tuple(w[rest] for w in weights), fit.batch_size, self.most_steps)
        # A traceback that somebody keeps would keep the generator, too, and so its reading thread.
        with closing(batches):
            return self._train_on(batches)

    def _train_on(self, batches: Iterable[Chunk]) -> bool:
        fit, model, go_on = self.fit, self.model, True
        for chunk in self._ready_everywhere(batches):
            fit.pending.append(model.train_on(chunk, self.source.data, self.policy.steps))
            fit.rows += chunk.rows
            # Check the losses of the previous chunk while the device works on this one.
            self._read_losses(but=0 if self.most_steps == 1 else 1)
            go_on = self.callbacks.tell("on_batches_end", model, chunk.rows)
            if not go_on and fit.rows == fit.samples:
                fit.last_epoch = model.epoch + 1
            self._pause()
            if not go_on:
                break
        return go_on

    def _ready_everywhere(self, batches: Iterable[Chunk]) -> Iterator[Chunk]:
        """Chunks, each after all ranks have read their part of it."""
        reading = iter(batches)
        while True:
            with self.model.comm.together():
                chunk = next(reading, None)
            if chunk is None:
                return
            yield chunk

    def _loss(self) -> float:
        """The mean loss of the epoch's batches; waits for the last batch."""
        self._read_losses()
        return float(self.fit.all_losses() @ self._totals / self._totals.sum())

    def _end_epoch(self, record: Record) -> bool:
        fit, model = self.fit, self.model
        model.epoch += 1
        fit.rows, fit.losses = 0, []
        go_on = self.policy.end_epoch(record)
        fit.history.append(record)
        go_on = self.callbacks.tell("on_epoch_end", model, record) and go_on
        with model.comm.together():
            record.update(_numbers(record))
        if not go_on:
            fit.last_epoch = model.epoch
        return go_on

    def _read_losses(self, but: int = 0) -> None:
        """Copy losses to the host, except those of the last `but` chunks."""
        while len(self.fit.pending) > but:
            losses = self.model.backend.to_numpy(self.fit.pending.pop(0))
            self.policy.check_losses(losses)
            self.fit.losses.append(losses)

    def _pause(self) -> None:
        """Save, and act on signals: between two chunks the state is complete."""
        comm = self.model.comm
        came = comm.any(self._came[0] if self._came else 0)
        with comm.together():
            if self.save:
                self.save(self._read_losses, bool(came))
        if came:
            raise KeyboardInterrupt if came == SIGINT else SystemExit(128 + came)


def _numbers(record: Record) -> Record:
    """A record, with what callbacks have added, as Python numbers, which a checkpoint can hold."""
    numbers = {name: python_number(value) for name, value in record.items()}
    if others := [name for name, number in numbers.items() if number is None]:
        raise UsageError(f"a callback has put {record[others[0]]!r} into a record as {others[0]}: give a number")
    return cast(Record, numbers)


def _speed(started: float, rows: int) -> Record:
    """Seconds since `started`, and rows per second; 0 if the clock shows no time passed."""
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "samples_per_second": rows / seconds if seconds > 0 else 0.0}
