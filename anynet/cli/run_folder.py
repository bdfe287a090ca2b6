"""A run on disk: config.toml, metrics.jsonl, model.safetensors and curves.png."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anynet import __version__
from anynet.cli.config import TrainConfig, to_toml
from anynet.errors import UsageError
from anynet.training import Callback

if TYPE_CHECKING:
    from anynet.training import Model

CONFIG, METRICS, MODEL, CURVES = "config.toml", "metrics.jsonl", "model.safetensors", "curves.png"


class RunFolder(Callback):
    """Writes a run as it goes; nothing is there before training begins.

    Parameters
    ----------
    path : Path
    config : TrainConfig
    overwrite : bool
        Whether a run that is already there may be replaced.

    Raises
    ------
    UsageError
        When `path` exists and may not be replaced, or is no run folder.
    """

    def __init__(self, path: Path, config: TrainConfig, overwrite: bool = False) -> None:
        self.path = path
        self.config = config
        self.history: list[dict[str, float]] = []
        if path.exists() and not overwrite:
            raise UsageError(f"{path} exists already; name another with --out, or replace it with --overwrite")
        if path.exists() and not (path / CONFIG).is_file() and (path.is_file() or any(path.iterdir())):
            raise UsageError(f"{path} is no run folder, so --overwrite leaves it alone; name another with --out")

    def on_fit_begin(self, model: Model, epochs: int, samples: int) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        for name in (CONFIG, METRICS, MODEL, CURVES):
            (self.path / name).unlink(missing_ok=True)
        (self.path / CONFIG).write_text(to_toml(self.config, __version__), encoding="utf-8")
        (self.path / METRICS).touch()

    def on_epoch_end(self, model: Model, record: dict[str, float]) -> None:
        self.history.append(record)
        with open(self.path / METRICS, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def finish(self, model: Model) -> None:
        """Save the model, and the curves where matplotlib is installed."""
        model.save(self.path / MODEL)
        if self.history:
            _plot(self.history, self.path / CURVES)


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
