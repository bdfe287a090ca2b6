"""Training from epoch to epoch, so that it can be stopped after any stretch of batches and go on from there."""

from __future__ import annotations

import math
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from anynet.errors import TrainingDiverged, UsageError
from anynet.nn.checks import python_number
from anynet.training.batches import batch_shares
from anynet.training.callbacks import Callbacks, Record
from anynet.training.feeds import Resident, Streamed
from anynet.training.reading import measures
from anynet.training.streams import stream

if TYPE_CHECKING:
    from anynet.training.checkpoints import Writer
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
    training : str
        Which training it is: a name of its own, kept when it is resumed.
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
    training: str = field(default_factory=lambda: uuid.uuid4().hex)
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
                back = math.ceil(self.rows / self.batch_size) - batch + 1
                raise _diverged(model, f"the loss is not finite in batch {batch} of epoch {model.epoch + 1}", back)
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
    callbacks: Callbacks,
    checkpoints: Writer | None = None,
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
                checkpoints.look(model, callbacks, at_once=bool(signals))
            if signals:
                raise KeyboardInterrupt if signals[0] == signal.SIGINT else SystemExit(128 + signals[0])

        while model.epoch < course.epochs:
            started = time.perf_counter()
            done = course.rows
            loss = _epoch(model, course, source, weight, callbacks, most_steps, rest)
            if loss is None:
                return
            record = {"epoch": model.epoch, "loss": loss, **_speed(started, len(weight) - done)}
            if validation:
                record |= {f"val_{name}": value for name, value in measures(model, *validation).items()}
                if not np.isfinite(record["val_loss"]):
                    raise _diverged(model, f"the validation loss is {record['val_loss']} after epoch {model.epoch}")
            course.history.append(record)
            if not callbacks.tell("on_epoch_end", model, record):
                course.epochs = model.epoch
            record.update(_numbers(record))
            rest()


def _epoch(
    model: Model,
    course: Course,
    source: Resident | Streamed,
    weight: Any,
    callbacks: Callbacks,
    most_steps: int | None,
    rest: Callable[[], None],
) -> float | None:
    """Train on the rest of an epoch; its loss, or None where a callback ended it in the middle."""
    order = stream(model.seed, "order", model.epoch).permutation(len(weight))
    shares, totals = batch_shares(weight, order, course.batch_size)
    done = course.rows
    for batches in source.batches(order[done:], (shares[done:],), course.batch_size, most_steps):
        course.unread.append(model.train_on(batches, source.data))
        course.rows += batches.rows
        # While the device works on this stretch, the last one is looked at.
        course.read(model, but=0 if most_steps == 1 else 1)
        go_on = callbacks.tell("on_batches_end", model, batches.rows)
        rest()
        if not go_on and course.rows < len(weight):
            return None
        if not go_on:
            course.epochs = model.epoch + 1
    # The last reading waits for the whole epoch.
    course.read(model)
    loss = float(course.all_losses() @ totals / totals.sum())
    model.epoch += 1
    course.rows, course.losses = 0, []
    if name := not_finite(model):
        raise _diverged(model, f"{name} is not finite after epoch {model.epoch}")
    return loss


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


def not_finite(model: Model) -> str:
    """The first parameter or buffer that holds inf or nan; looked for by name only where there is one."""
    xp = model.backend.xp
    with model.backend.scope():
        sums = [xp.sum(block * 0) for block in (*model.state.parameters, *model.state.buffers)]
        if all(model.backend.to_numpy(number) == 0 for number in sums):
            return ""
    return next((name for name, array in model.parameters.items() if not np.isfinite(array).all()), "")


def _diverged(model: Model, what: str, steps_ago: int = 1) -> TrainingDiverged:
    name = not_finite(model)
    where = f", and so is {name}" if name and name not in what else ""
    return TrainingDiverged(
        f"{what}{where}: training has diverged; try a smaller learning rate (it is "
        f"{_learning_rate(model, steps_ago):.6g}), or standardise the inputs"
    )


def _learning_rate(model: Model, steps_ago: int) -> float:
    """That of a step that was taken."""
    backend, rate = model.backend, model.optimizer.lr
    if not callable(rate):
        return rate
    step = np.asarray(float(backend.to_numpy(model.state.step)) + model.steps_before - steps_ago)
    with backend.scope():
        return float(backend.to_numpy(rate(backend.xp, backend.asarray(step))))


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
