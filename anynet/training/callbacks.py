"""Callbacks: their base class, the progress bar, and a writer for TensorBoard."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, TextIO

from anynet.distributed import Communicator
from anynet.errors import UsageError
from anynet.training.fit_state import Record


class StopTraining(Exception):
    """Raise it in a callback to end `fit` without an error, once all callbacks have been called for this event.

    If an epoch is ended in the middle, it leaves no record, and a later `fit` starts it again.
    """


class Callback:
    """The base of every callback: override the events you need, and raise `StopTraining` to end `fit` early.

    In every method, `model` is the `anynet.Model` in training. A callback may read it, change its weights by
    `Model.put`, and assign ``model.learning_rate``. On many ranks, each rank calls its own callbacks. One that calls
    `evaluate` or `predict`, or changes the model, must be given to all ranks; one that prints or writes may be given to
    rank 0 alone.

    Attributes
    ----------
    last : bool
        Whether it is called after all callbacks that are not `last`, and so sees what they add to a record.
    name : str
        Tells callbacks of one class apart in a checkpoint.

    >>> class Patience(Callback):
    ...     def on_epoch_end(self, model, record):
    ...         if record["loss"] < 0.1:
    ...             raise StopTraining
    """

    last: ClassVar[bool] = False
    name: str = ""

    def on_fit_begin(self, model: Any, epochs: int, samples: int) -> None:
        """Training begins, with `epochs` epochs to go, each of `samples` samples.

        Reset your own state here: one object may be used for several trainings, one after the other.
        """

    def on_batches_end(self, model: Any, samples: int) -> None:
        """One or more batches are done; they had `samples` samples in total."""

    def on_epoch_end(self, model: Any, record: Record) -> None:
        """An epoch is over; you may add numbers to `record`, which `fit` will return."""

    def on_fit_end(self, model: Any) -> None:
        """Training is over, for any reason, even an exception; called even if another callback has failed."""

    def state_dict(self) -> dict[str, Any]:
        """The state to keep in a checkpoint: values that JSON can hold and, as ``arrays``, NumPy arrays by name."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, after `on_fit_begin`; raise a ValueError if it is invalid."""


class Callbacks:
    """All callbacks of one training; those that are `last` are called after the others.

    Parameters
    ----------
    callbacks : iterable of Callback
        Each rank has its own, and all hear of the same events.
    comm : Communicator, optional
    """

    def __init__(self, callbacks: Iterable[Callback], comm: Communicator | None = None) -> None:
        self.given = list(callbacks)
        self._comm = comm or Communicator()
        self._in_order = sorted(self.given, key=lambda callback: callback.last)

    def tell(self, event: str, *what: Any) -> bool:
        """Call the method `event` of every callback; return False if one, on any rank, has raised `StopTraining`."""
        go_on = True
        with self._comm.together():
            for callback in self._in_order:
                try:
                    getattr(callback, event)(*what)
                except StopTraining:
                    go_on = False
        return not self._comm.any(not go_on)

    @contextmanager
    def until_the_end(self, model: Any) -> Iterator[None]:
        """A context that calls `on_fit_end` of every callback when it ends, even if another callback fails."""
        with ExitStack() as ends:
            for callback in reversed(self._in_order):
                ends.callback(self._end, callback, model)
            yield

    @staticmethod
    def _end(callback: Callback, model: Any) -> None:
        with suppress(StopTraining):
            callback.on_fit_end(model)

    def by_name(self) -> dict[str, Callback]:
        """The callbacks by class and name, such as ``EarlyStopping(val_loss)``; if two are equal, with a number."""
        named: dict[str, Callback] = {}
        for callback in self.given:
            kind = type(callback).__name__ + (f"({callback.name})" if callback.name else "")
            same = sum(key.partition("#")[0] == kind for key in named)
            named[f"{kind}#{same + 1}" if same else kind] = callback
        return named


class Progress(Callback):
    """A progress bar on a terminal, and one plain line per epoch.

    Parameters
    ----------
    stream : file, optional
        Where to print; stderr if left out.
    """

    last = True

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self._bar: Any = None

    def on_fit_begin(self, model: Any, epochs: int, samples: int) -> None:
        self._last = model.epoch + epochs
        self._samples = samples
        self._done = model.fit_state.rows if model.fit_state else 0
        if self.stream.isatty():
            print("each step: forward, loss, backward, update", file=self.stream, flush=True)

    def on_batches_end(self, model: Any, samples: int) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                desc=f"epoch {model.epoch + 1}/{self._last}",
                total=self._samples,
                initial=self._done,
                unit=" samples",
                unit_scale=True,
                bar_format="{desc} {percentage:3.0f}%|{bar}| {rate_fmt}",
                ncols=_columns(self.stream),
                leave=False,
                file=self.stream,
                disable=not self.stream.isatty(),
            )
        self._bar.update(samples)

    def on_epoch_end(self, model: Any, record: Record) -> None:
        self._close()
        measured = ", ".join(f"{name} {value:.4f}" for name, value in record.items() if is_measure(name))
        print(f"epoch {model.epoch}/{self._last}: {measured} ({record['seconds']:.1f} s)", file=self.stream, flush=True)

    def on_fit_end(self, model: Any) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
            self._done = 0


def _columns(terminal: TextIO) -> int:
    """The width of a terminal; if it is unknown, that of the variable COLUMNS, or 80."""
    columns = 0
    # A stream that only claims to be a terminal has no file descriptor, or an invalid one.
    with suppress(OSError, ValueError):
        columns = os.get_terminal_size(terminal.fileno()).columns
    return columns or shutil.get_terminal_size().columns


class TensorBoard(Callback):
    """Writes all numbers of each epoch's record to a folder that TensorBoard shows; needs tensorboardX.

    Parameters
    ----------
    folder : str or Path
        Where to write, as in ``tensorboard --logdir folder``.
    """

    last = True

    def __init__(self, folder: str | Path) -> None:
        self._writer = self.library().SummaryWriter(str(folder))

    @staticmethod
    def library() -> Any:
        """Import tensorboardX; if it is missing, a UsageError says how to install it."""
        try:
            import tensorboardX
        except ImportError:
            raise UsageError("TensorBoard needs tensorboardX: pip install '.[tensorboard]'") from None
        return tensorboardX

    def on_epoch_end(self, model: Any, record: Record) -> None:
        for name, value in record.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, model.epoch)
        self._writer.flush()

    def on_fit_end(self, model: Any) -> None:
        self._writer.close()


def is_measure(name: str) -> bool:
    return name not in ("epoch", "seconds", "samples_per_second")
