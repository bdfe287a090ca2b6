"""Looking on while a model trains."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from anynet.errors import UsageError, unknown

if TYPE_CHECKING:
    from anynet.training.model import Model

Record = dict[str, float]


class StopTraining(Exception):
    """Raised in `on_epoch_end` to end `fit` without an error, once every callback has heard of the epoch."""


class Callback:
    """Override what you want to hear of; raise `StopTraining` to end `fit` early.

    >>> class Patience(Callback):
    ...     def on_epoch_end(self, model, record):
    ...         if record["loss"] < 0.1:
    ...             raise StopTraining
    """

    def on_fit_begin(self, model: Model, epochs: int, samples: int) -> None: ...

    def on_batches_end(self, model: Model, samples: int) -> None: ...

    def on_epoch_end(self, model: Model, record: Record) -> None: ...

    def on_fit_end(self, model: Model) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of it: what JSON can hold and, as ``arrays``, NumPy arrays by name."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""


class EarlyStopping(Callback):
    """Ends training once a measure has not improved for so many epochs, and puts the best weights back.

    They come back on every way out: patience at its end, the last epoch, Ctrl-C, an error.

    Parameters
    ----------
    monitor : str
        A key of the records of `fit`, such as ``val_loss``; a loss is better when lower, anything else when higher.
    patience : int
        So many epochs may pass without improvement.
    min_delta : float
        What is less than that is none.

    Attributes
    ----------
    best : float or None
    best_epoch : int or None

    Raises
    ------
    UsageError
        When a number cannot be, or the records have no such key.
    """

    def __init__(self, monitor: str = "val_loss", patience: int = 10, min_delta: float = 0.0) -> None:
        if patience < 0 or not min_delta >= 0:
            raise UsageError(f"patience and min_delta must be 0 or more, but are {patience!r} and {min_delta!r}")
        self.monitor = monitor
        self.patience = patience
        self.min_delta = min_delta
        self.best: float | None = None
        self.best_epoch: int | None = None
        self._arrays: dict[str, Any] = {}

    def on_epoch_end(self, model: Model, record: Record) -> None:
        if self.monitor not in record:
            raise UsageError(unknown("measure", self.monitor, [key for key in record if _is_measure(key)]))
        value = record[self.monitor]
        gain = 0.0 if self.best is None else self.best - value if self.monitor.endswith("loss") else value - self.best
        if self.best is None or gain > self.min_delta:
            self.best, self.best_epoch, self._arrays = value, model.epoch, model.parameters
        elif model.epoch - (self.best_epoch or 0) >= self.patience:
            raise StopTraining

    def on_fit_end(self, model: Model) -> None:
        if self._arrays:
            model.put(self._arrays)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch, "arrays": self._arrays}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.best_epoch, self._arrays = state["best"], state["best_epoch"], state["arrays"]


class Progress(Callback):
    """A progress bar on a terminal, and one plain line per epoch."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self._bar: Any = None

    def on_fit_begin(self, model: Model, epochs: int, samples: int) -> None:
        self._last = model.epoch + epochs
        self._samples = samples
        self._done = model.course.rows if model.course else 0

    def on_batches_end(self, model: Model, samples: int) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                desc=f"epoch {model.epoch + 1}/{self._last}: forward, loss, backward, update",
                total=self._samples,
                initial=self._done,
                unit=" samples",
                leave=False,
                file=self.stream,
                disable=not self.stream.isatty(),
            )
        self._bar.update(samples)

    def on_epoch_end(self, model: Model, record: Record) -> None:
        self._close()
        measured = ", ".join(f"{name} {value:.4f}" for name, value in record.items() if _is_measure(name))
        print(f"epoch {model.epoch}/{self._last}: {measured} ({record['seconds']:.1f} s)", file=self.stream, flush=True)

    def on_fit_end(self, model: Model) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
            self._done = 0


class TensorBoard(Callback):
    """Writes every measure of every epoch to a folder that TensorBoard shows; needs tensorboardX.

    Parameters
    ----------
    folder : str or Path
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise UsageError("TensorBoard needs tensorboardX: pip install '.[tensorboard]'") from None
        self._writer = SummaryWriter(str(folder))

    def on_epoch_end(self, model: Model, record: Record) -> None:
        for name, value in record.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, model.epoch)
        self._writer.flush()

    def on_fit_end(self, model: Model) -> None:
        self._writer.close()


def _is_measure(name: str) -> bool:
    return name not in ("epoch", "seconds", "samples_per_second")
