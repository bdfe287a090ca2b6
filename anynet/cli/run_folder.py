"""A run on disk: config.toml, metrics.jsonl, model.safetensors and curves.png."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anynet import __version__
from anynet.cli.config import TrainConfig, to_toml
from anynet.errors import AnynetError, UsageError
from anynet.training import Callback

if TYPE_CHECKING:
    from anynet.training import Model

NAMES = CONFIG, METRICS, MODEL, CURVES = "config.toml", "metrics.jsonl", "model.safetensors", "curves.png"


class RunFolder(Callback):
    """Writes a run as it goes; nothing is there before training begins.

    A run that is to be replaced stays as it is until the new one, written beside it, is finished.

    Parameters
    ----------
    path : Path
    config : TrainConfig
    overwrite : bool
        Whether a run that is already there may be replaced.

    Raises
    ------
    UsageError
        When `path` exists and may not be replaced, is no run folder, or cannot be written.
    """

    def __init__(self, path: Path, config: TrainConfig, overwrite: bool = False) -> None:
        self.path = path
        self.config = config
        self.history: list[dict[str, float]] = []
        with _written(path):
            exists = path.exists()
            foreign = exists and not (path / CONFIG).is_file() and (path.is_file() or any(path.iterdir()))
        if exists and not overwrite:
            raise UsageError(f"{path} exists already; name another with --out, or replace it with --overwrite")
        if foreign:
            raise UsageError(f"{path} is no run folder, so --overwrite leaves it alone; name another with --out")
        self._writing = path.with_name(f".{path.name}.new") if exists else path

    def on_fit_begin(self, model: Model, epochs: int, samples: int) -> None:
        config = to_toml(self.config, __version__).encode()
        with _written(self.path):
            self._writing.mkdir(parents=True, exist_ok=True)
            (self._writing / CONFIG).write_bytes(config)
            (self._writing / METRICS).write_bytes(b"")

    def on_epoch_end(self, model: Model, record: dict[str, float]) -> None:
        self.history.append(record)
        with _written(self.path), open(self._writing / METRICS, "a", encoding="utf-8") as file:
            file.write(json.dumps(record, allow_nan=False) + "\n")

    def finish(self, model: Model) -> None:
        """Save the model, and the curves where matplotlib is installed."""
        with _written(self.path):
            model.save(self._writing / MODEL)
            if self.history:
                _plot(self.history, self._writing / CURVES)
            if self._writing != self.path:
                for name in NAMES:
                    (self.path / name).unlink(missing_ok=True)
                for file in self._writing.iterdir():
                    file.replace(self.path / file.name)
                self._writing.rmdir()

    def abandon(self) -> None:
        """Leave a run that was to be replaced as it was."""
        if self._writing != self.path and self._writing.exists():
            for file in self._writing.iterdir():
                file.unlink()
            self._writing.rmdir()


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        if isinstance(error, AnynetError):
            raise
        raise UsageError(f"cannot write the run {path}: {getattr(error, 'strerror', None) or error}") from None


def free_path(name: str) -> Path:
    """runs/NAME-N with the first N that is free."""
    number = 1
    while (path := Path("runs") / f"{name}-{number}").exists():
        number += 1
    return path


def find_model(text: str) -> Path:
    """The model file of a run folder, or the file itself."""
    path = Path(text)
    return path / MODEL if path.is_dir() else path


def _plot(history: list[dict[str, float]], path: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    epochs = [record["epoch"] for record in history]
    measures = [name for name in ("loss", "accuracy") if any(key.endswith(name) for key in history[0])]
    figure = Figure(figsize=(5 * len(measures), 3.5), layout="constrained")
    for i, measure in enumerate(measures):
        axes: Any = figure.add_subplot(1, len(measures), i + 1)
        for key in (key for key in history[0] if key.endswith(measure)):
            label = {"loss": "training", "val_loss": "held out", "val_accuracy": "held out"}[key]
            axes.plot(epochs, [record[key] for record in history], marker="o", markersize=3, label=label)
        axes.set(xlabel="epoch", ylabel=measure)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)
