"""Looking on while a model trains."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, TextIO

from anynet.errors import UsageError
from anynet.training.fit_state import Record


class StopTraining(Exception):
    """Raised in a callback to end `fit` without an error, once every callback has heard of what is being told.

    An epoch that is ended in the middle leaves no record; a later `fit` begins it anew.
    """


class Callback:
    """Override what you want to hear of; raise `StopTraining` to end `fit` early.

    `model` is the `anynet.Model` that trains. A callback may read it, and change it by `Model.put`. It may add measures
    to the record of an epoch; one that is `last` is told after all those that are not, and so sees them. `name` tells
    callbacks of one kind apart.

    >>> class Patience(Callback):
    ...     def on_epoch_end(self, model, record):
    ...         if record["loss"] < 0.1:
    ...             raise StopTraining
    """

    last: ClassVar[bool] = False
    name: str = ""

    def on_fit_begin(self, model: Any, epochs: int, samples: int) -> None:
        """Begin afresh: one object may serve one training after the other."""

    def on_batches_end(self, model: Any, samples: int) -> None:
        """So many samples more have been trained on."""

    def on_epoch_end(self, model: Any, record: Record) -> None:
        """An epoch is over; `record` has what `fit` will return of it."""

    def on_fit_end(self, model: Any) -> None:
        """Training is over, in whatever way, even if another callback has failed."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of it: what JSON can hold and, as ``arrays``, NumPy arrays by name."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave, after `on_fit_begin`; raise a ValueError where it cannot be."""


class Callbacks:
    """All callbacks of one training, in the order in which they are told."""

    def __init__(self, callbacks: Iterable[Callback]) -> None:
        self.given = list(callbacks)
        self._in_order = sorted(self.given, key=lambda callback: callback.last)

    def tell(self, event: str, *what: Any) -> bool:
        """Call this method of each; False if one of them wants to stop."""
        go_on = True
        for callback in self._in_order:
            try:
                getattr(callback, event)(*what)
            except StopTraining:
                go_on = False
        return go_on

    @contextmanager
    def until_the_end(self, model: Any) -> Iterator[None]:
        """The time after which each hears that training is over, whatever the others do with it."""
        with ExitStack() as ends:
            for callback in reversed(self._in_order):
                ends.callback(self._end, callback, model)
            yield

    @staticmethod
    def _end(callback: Callback, model: Any) -> None:
        with suppress(StopTraining):
            callback.on_fit_end(model)

    def by_name(self) -> dict[str, Callback]:
        """Each by its kind and name, such as ``EarlyStopping(val_loss)``."""
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
        Where to, instead of stderr.
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
    """How wide it is; where it does not say, what COLUMNS says, or 80."""
    columns = 0
    # What only looks like a terminal has no number, or one that is of none.
    with suppress(OSError, ValueError):
        columns = os.get_terminal_size(terminal.fileno()).columns
    return columns or shutil.get_terminal_size().columns


class TensorBoard(Callback):
    """Writes every measure of every epoch to a folder that TensorBoard shows; needs tensorboardX.

    Parameters
    ----------
    folder : str or Path
    """

    last = True

    def __init__(self, folder: str | Path) -> None:
        self._writer = self.library().SummaryWriter(str(folder))

    @staticmethod
    def library() -> Any:
        """tensorboardX, or a UsageError that tells how to get it."""
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
