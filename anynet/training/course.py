"""Training from epoch to epoch, so that it can be stopped after any stretch of batches and go on from there."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from anynet.errors import TrainingDiverged
from anynet.training.batches import batch_shares
from anynet.training.callbacks import Callback, Record, StopTraining
from anynet.training.feeds import Resident, Streamed
from anynet.training.streams import stream

if TYPE_CHECKING:
    from anynet.training.checkpoints import Checkpoints
    from anynet.training.model import Model


@dataclass
class Course:
    """How far training has come, beside the model itself.

    Attributes
    ----------
    first : int
        The epochs that were over when it began.
    asked : int
        The number of epochs asked for.
    epochs : int
        The epoch after which it ends.
    samples, batch_size : int
    rows : int
        How many rows of the current epoch have been trained on.
    losses : list of arrays
        Of the batches of the current epoch that have been trained on, stretch by stretch.
    unread : list of arrays
        Losses that the device may be working on still.
    history : list of dict
        The records of the epochs that are over.
    """

    first: int
    asked: int
    epochs: int
    samples: int
    batch_size: int
    rows: int = 0
    losses: list[Any] = field(default_factory=list)
    unread: list[Any] = field(default_factory=list)
    history: list[Record] = field(default_factory=list)

    def read(self, model: Model, but: int = 0) -> None:
        """Read the losses that are unread, but for so many of the last stretches.

        Raises
        ------
        TrainingDiverged
            When one of them is not finite.
        """
        while len(self.unread) > but:
            losses = model.backend.to_numpy(self.unread.pop(0))
            if not np.isfinite(losses).all():
                batch = sum(map(len, self.losses)) + int(np.flatnonzero(~np.isfinite(losses))[0]) + 1
                raise _diverged(model, f"the loss is not finite in batch {batch} of epoch {model.epoch + 1}")
            self.losses.append(losses)

    def all_losses(self) -> Any:
        """The losses that have been read, as one array."""
        return np.concatenate([np.zeros(0), *self.losses])


def follow(
    model: Model,
    course: Course,
    source: Resident | Streamed,
    weight: Any,
    validation: tuple[Any, ...] | None,
    watchers: Sequence[Callback],
    checkpoints: Checkpoints | None = None,
    most_steps: int | None = None,
) -> None:
    """Train from where the course is to its end, an interrupt, or a callback's StopTraining.

    Raises
    ------
    TrainingDiverged
        When a loss or a weight is not finite.
    KeyboardInterrupt, SystemExit
        After SIGINT and SIGTERM, once the batches at hand are done and a checkpoint is written; at once after a
        second SIGINT.
    """
    with _signals_put_off() as signals:

        def rest() -> None:
            """Between two stretches of batches nothing is half done."""
            if checkpoints:
                checkpoints.look(model, watchers, at_once=bool(signals))
            if signals:
                raise KeyboardInterrupt if signals[0] == signal.SIGINT else SystemExit(128 + signals[0])

        while model.epoch < course.epochs:
            record = _epoch(model, course, source, weight, watchers, most_steps, rest)
            if validation:
                record |= {f"val_{name}": value for name, value in model._measure(*validation).items()}
                if not np.isfinite(record["val_loss"]):
                    raise _diverged(model, f"the validation loss is {record['val_loss']} after epoch {model.epoch}")
            course.history.append(record)
            go_on = _all_go_on(watchers, model, record)
            if not go_on:
                course.epochs = model.epoch
            rest()


def _epoch(
    model: Model,
    course: Course,
    source: Resident | Streamed,
    weight: Any,
    watchers: Sequence[Callback],
    most_steps: int | None,
    rest: Any,
) -> Record:
    started = time.perf_counter()
    order = stream(model.seed, "order", model.epoch).permutation(len(weight))
    shares, totals = batch_shares(weight, order, course.batch_size)
    done = course.rows
    for stretch in source.epoch(model.state, order[done:], (shares[done:],), course.batch_size, most_steps):
        model.state = stretch.state
        course.unread.append(stretch.losses)
        course.rows += stretch.rows
        # While the device works on this stretch, the last one is looked at.
        course.read(model, but=0 if most_steps == 1 else 1)
        for watcher in watchers:
            watcher.on_batches_end(model, stretch.rows)
        rest()
    # The last reading waits for the whole epoch.
    course.read(model)
    loss = float(course.all_losses() @ totals / totals.sum())
    seconds = time.perf_counter() - started
    model.epoch += 1
    course.rows, course.losses = 0, []
    if name := _not_finite(model):
        raise _diverged(model, f"{name} is not finite after epoch {model.epoch}")
    return {
        "epoch": model.epoch,
        "loss": loss,
        "seconds": seconds,
        "samples_per_second": (len(order) - done) / seconds,
    }


def _not_finite(model: Model) -> str:
    """The first parameter or buffer that holds inf or nan; looked for by name only where there is one."""
    xp = model.backend.xp
    with model.backend.scope():
        sums = [xp.sum(block * 0) for block in (*model.state.parameters, *model.state.buffers)]
        if all(model.backend.to_numpy(number) == 0 for number in sums):
            return ""
    return next((name for name, array in model.parameters.items() if not np.isfinite(array).all()), "")


def _diverged(model: Model, what: str) -> TrainingDiverged:
    rate = model.optimizer.lr
    learning_rate = getattr(rate, "initial", rate)
    name = _not_finite(model)
    where = f", and so is {name}" if name and name not in what else ""
    return TrainingDiverged(
        f"{what}{where}: training has diverged; try a smaller learning rate (it is {learning_rate}), or standardise "
        "the inputs"
    )


def _all_go_on(watchers: Sequence[Callback], model: Model, record: Record) -> bool:
    """Tell every callback of an epoch; False if one of them wants to stop."""
    go_on = True
    for watcher in watchers:
        try:
            watcher.on_epoch_end(model, record)
        except StopTraining:
            go_on = False
    return go_on


@contextmanager
def _signals_put_off() -> Iterator[list[int]]:
    """The time in which SIGINT and SIGTERM are noted down; only where nobody else has asked to handle them."""
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return

    def note(number: int, frame: Any) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append(number)

    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.getsignal(number) for number in usual}
    ours = [number for number in usual if before[number] == usual[number]]
    for number in ours:
        signal.signal(number, note)
    try:
        yield noted
    finally:
        for number in ours:
            signal.signal(number, before[number])
