"""Looking on while a model trains."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TextIO

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


class Progress(Callback):
    """A progress bar on a terminal, and one plain line per epoch."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self._bar: Any = None

    def on_fit_begin(self, model: Model, epochs: int, samples: int) -> None:
        self._last = model.epoch + epochs
        self._samples = samples

    def on_batches_end(self, model: Model, samples: int) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                desc=f"epoch {model.epoch + 1}/{self._last}: forward, loss, backward, update",
                total=self._samples,
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


def _is_measure(name: str) -> bool:
    return name not in ("epoch", "seconds", "samples_per_second")
