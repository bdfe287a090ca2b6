"""A run on disk: config.toml, metrics.jsonl, model.safetensors, curves.png and, until it is over, checkpoints."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anynet import __version__
from anynet.backends import BACKENDS
from anynet.cli.config import TrainConfig, to_toml
from anynet.errors import AnynetError, UsageError
from anynet.training import Callback

if TYPE_CHECKING:
    from anynet.training import Model

NAMES = CONFIG, ENVIRONMENT, METRICS, MODEL, CURVES = (
    "config.toml",
    "env.json",
    "metrics.jsonl",
    "model.safetensors",
    "curves.png",
)
CHECKPOINTS = "checkpoints"


class RunFolder(Callback):
    """Writes a run as it goes; nothing is there before training begins.

    A run that is to be replaced stays as it is until the new one, written beside it, is finished. Of two processes
    that are given the same folder, the second is refused.

    Parameters
    ----------
    path : Path
    config : TrainConfig
    overwrite : bool
        Whether a run that is already there may be replaced.
    resumed : bool
        Whether the run that is there goes on.

    Raises
    ------
    UsageError
        When `path` exists and may not be replaced, is no run folder, or cannot be written.
    """

    def __init__(self, path: Path, config: TrainConfig, overwrite: bool = False, resumed: bool = False) -> None:
        self.path = path
        self.config = config
        self.history: list[dict[str, float]] = []
        with _written(path):
            exists = path.exists()
            foreign = exists and not (path / CONFIG).is_file() and (path.is_file() or any(path.iterdir()))
        if exists and not (overwrite or resumed):
            raise UsageError(f"{path} exists already; name another with --out, or replace it with --overwrite")
        if foreign:
            raise UsageError(f"{path} is no run folder, so --overwrite leaves it alone; name another with --out")
        self._writing = path.with_name(f".{path.name}.new") if exists and not resumed else path
        self._resumed = resumed
        self._lock: Any = None

    @property
    def checkpoints(self) -> Path:
        return self._writing / CHECKPOINTS

    def begin(self) -> None:
        """Make the folder, with its config from the first moment, and keep other processes out of it."""
        with _written(self.path):
            if not self._resumed:
                making = self._writing.with_name(f".{self._writing.name}.{os.getpid()}")
                making.mkdir(parents=True)
                (making / CONFIG).write_bytes(to_toml(self.config, __version__).encode())
                (making / ENVIRONMENT).write_text(json.dumps(_environment(self.config.backend), indent=1) + "\n")
                if self._writing != self.path and self._writing.exists():
                    with _locked(self._writing):
                        shutil.rmtree(self._writing)
                making.rename(self._writing)
            self._lock = _locked(self._writing)
            self._lock.__enter__()

    def on_fit_begin(self, model: Model, epochs: int, samples: int) -> None:
        self.history = list(model.course.history) if model.course else []
        lines = "".join(json.dumps(record, allow_nan=False) + "\n" for record in self.history)
        with _written(self.path):
            (self._writing / METRICS).write_text(lines, encoding="utf-8")

    def on_epoch_end(self, model: Model, record: dict[str, float]) -> None:
        self.history.append(record)
        with _written(self.path), open(self._writing / METRICS, "a", encoding="utf-8") as file:
            file.write(json.dumps(record, allow_nan=False) + "\n")

    def finish(self, model: Model, interrupted: bool = False) -> None:
        """Save the model, and the curves where matplotlib is installed; a run that is over needs no checkpoints."""
        with _written(self.path):
            model.save(self._writing / MODEL)
            if self.history:
                _plot(self.history, self._writing / CURVES)
            if not interrupted:
                shutil.rmtree(self.checkpoints, ignore_errors=True)
            if self._writing != self.path:
                for name in NAMES:
                    (self.path / name).unlink(missing_ok=True)
                shutil.rmtree(self.path / CHECKPOINTS, ignore_errors=True)
                for file in self._writing.iterdir():
                    file.replace(self.path / file.name)
                self._writing.rmdir()

    def abandon(self) -> None:
        """Leave a run that was to be replaced as it was, and let others in."""
        if self._lock:
            self._lock.__exit__(None, None, None)
            self._lock = None
        if self._writing != self.path and self._writing.exists():
            shutil.rmtree(self._writing)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The time in which no other process trains in a folder; the system ends it when a process is killed."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(folder / CONFIG, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another process is training in {folder}") from None
        yield


def _environment(backend: str) -> dict[str, Any]:
    """What a result may depend on beside the config."""
    library = BACKENDS[backend.partition(":")[0]]
    return {
        "anynet": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        library.package: library.library_version(),
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
    }


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
