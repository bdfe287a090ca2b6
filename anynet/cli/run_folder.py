"""A run on disk: config.toml, metrics.jsonl, model.safetensors, curves.png and, until it is over, checkpoints."""

from __future__ import annotations

import glob
import io
import json
import os
import platform
import secrets
import shutil
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anynet import __version__
from anynet.backends import BACKENDS
from anynet.cli.config import TrainConfig, to_toml
from anynet.cli.json_output import as_json
from anynet.errors import UsageError, WriteError
from anynet.model import atomic_files
from anynet.training import Callback
from anynet.training.callbacks import is_measure

if TYPE_CHECKING:
    from anynet.model import Model

CONFIG = "config.toml"
ENVIRONMENT = "env.json"
METRICS = "metrics.jsonl"
MODEL = "model.safetensors"
CURVES = "curves.png"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
OURS = {CONFIG, ENVIRONMENT, METRICS, MODEL, CURVES, CHECKPOINTS, TENSORBOARD}


class RunFolder(Callback):
    """Writes a run while it trains; there is no folder before training begins.

    A run that will be replaced stays as it is until the new one, in a folder beside it, is finished. Then the two
    exchange their names. If two processes are given the same folder, the second is refused.

    Parameters
    ----------
    path : Path or None
        None takes the first ``runs/NAME-N`` that is free.
    name : str
        The name of the data.
    config : TrainConfig
    overwrite : bool
        Whether an existing run may be replaced.
    resumed : bool
        Whether an existing run is continued.

    Raises
    ------
    UsageError
        When `path` exists and may not be replaced, is not a run folder, or another process trains in it.
    WriteError
        When the folder cannot be written.
    """

    last = True

    def __init__(
        self, path: Path | None, name: str, config: TrainConfig, overwrite: bool = False, resumed: bool = False
    ) -> None:
        self.config = config
        self.history: list[dict[str, float]] = []
        self._name = name
        self._is_named = path is not None
        self.path = path or _free_path(name)
        self._resumed = resumed
        self._stack = ExitStack()
        with atomic_files.writing(self.path):
            atomic_files.restore(self.path)
            if self.path.is_symlink():
                self.path = self.path.resolve()
            # Another process may have taken a free name by now. If so, `begin` takes the next one.
            exists = self._is_named and self.path.exists()
            is_run = (self.path / CONFIG).is_file()
            foreign = exists and not is_run and (self.path.is_file() or any(self.path.iterdir()))
        if exists and not (overwrite or resumed):
            raise UsageError(f"{self.path} exists already; name another with --out, or replace it with --overwrite")
        if foreign:
            raise UsageError(f"{self.path} is no run folder, so --overwrite leaves it alone; name another with --out")
        self._replaces = exists and not resumed
        if exists:
            self._lock(self.path).close()
        self.writing = self.path

    @property
    def checkpoints(self) -> Path:
        return self.writing / CHECKPOINTS

    def begin(self) -> None:
        """Make the folder, which has its config as soon as it is visible, and lock it against other processes."""
        with atomic_files.writing(self.path), ExitStack() as stack:
            if self._replaces or self._resumed:
                stack.enter_context(self._lock(self.path))
            if self._resumed:
                if self.checkpoints.is_symlink():
                    raise UsageError(f"{self.checkpoints} is a link; a run is written nowhere but in its own folder")
            else:
                self._make(stack)
            self._stack = stack.pop_all()

    def _make(self, stack: ExitStack) -> None:
        # Remove the folders of processes that were killed; a running process has locked its own.
        for leftover in self.path.parent.glob(f".{glob.escape(self.path.name)}.*.new"):
            with suppress(UsageError, WriteError, FileNotFoundError), self._lock(leftover):
                shutil.rmtree(leftover)
        made = self._made_and_locked(stack)
        (made / ENVIRONMENT).write_text(json.dumps(_environment(self.config.backend), indent=1) + "\n")
        (made / CONFIG).write_bytes(to_toml(self.config, __version__).encode())
        if not self._replaces:
            made = self._give_name(made)
        self.writing = made

    def _made_and_locked(self, stack: ExitStack) -> Path:
        """Make and lock a new folder; try again if another process removes it as a leftover before it is locked."""
        while True:
            made = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}.new")
            made.mkdir(parents=True)
            with suppress(UsageError, WriteError, FileNotFoundError), self._lock(made) as lock:
                if made.exists():
                    stack.enter_context(lock.pop_all())
                    return made

    def _give_name(self, made: Path) -> Path:
        """Rename the folder to its final name, or to the next free one if no name was given."""
        while True:
            try:
                return made.rename(self.path)
            except OSError:
                # Another process has just made a folder of this name.
                if self._is_named or not self.path.exists():
                    raise
                self.path = _free_path(self._name)

    def _lock(self, folder: Path) -> ExitStack:
        stack = ExitStack()
        try:
            stack.enter_context(atomic_files.locked(folder))
        except BlockingIOError:
            raise UsageError(f"another process is training in {self.path}") from None
        return stack

    def on_fit_begin(self, model: Model, epochs: int, samples: int) -> None:
        self.history = list(model.fit_state.history) if model.fit_state else []
        lines = "".join(as_json(record) + "\n" for record in self.history)
        atomic_files.write_atomically(self.writing / METRICS, lines.encode())

    def on_epoch_end(self, model: Model, record: dict[str, float]) -> None:
        self.history.append(record)
        atomic_files.append(self.writing / METRICS, as_json(record) + "\n")

    def finish(self, model: Model, interrupted: bool = False) -> None:
        """Save the model, and the curves if matplotlib is installed; remove the checkpoints of a finished run."""
        model.save(self.writing / MODEL)
        if curves := _curves(self.history):
            atomic_files.write_atomically(self.writing / CURVES, curves)
        with atomic_files.writing(self.path):
            if not interrupted:
                shutil.rmtree(self.checkpoints, ignore_errors=True)
            if self._replaces:
                self._replace()

    def _replace(self) -> None:
        try:
            self._keep_what_is_not_ours()
            atomic_files.exchange(self.path, self.writing)
        except OSError as error:
            # The new run is kept under another name.
            kept = self.writing.rename(self.path.with_name(f"{self.path.name}-{secrets.token_hex(4)}"))
            self.writing = self.path
            raise WriteError(f"cannot replace {self.path}: {error}; the new run is in {kept}") from error
        shutil.rmtree(self.writing, ignore_errors=True)
        self.writing = self.path

    def _keep_what_is_not_ours(self) -> None:
        """Copy the user's own files from the run that is replaced, where they also stay until the exchange."""
        for path in self.path.iterdir():
            if path.name in OURS:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.copytree(path, self.writing / path.name, symlinks=True)
            else:
                shutil.copy2(path, self.writing / path.name, follow_symlinks=False)

    def abandon(self) -> None:
        """Remove an unfinished replacement, so that the old run stays as it was, and unlock the folder."""
        if self.writing != self.path:
            shutil.rmtree(self.writing, ignore_errors=True)
        self._stack.close()


def _environment(backend: str) -> dict[str, Any]:
    """All that a result may depend on besides the config."""
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


def _free_path(name: str) -> Path:
    """runs/NAME-N with the first N that is free."""
    number = 1
    while (path := Path("runs") / f"{name}-{number}").exists():
        number += 1
    return path


def find_model(text: str) -> Path:
    """The model file of a run folder, or the file itself."""
    path = Path(text)
    with atomic_files.writing(path):
        atomic_files.restore(path)
    return path / MODEL if path.is_dir() else path


def _curves(history: list[dict[str, float]]) -> bytes:
    """A PNG of each measure over the epochs; empty without data or without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return b""
    keys = [key for key in history[0] if is_measure(key)] if history else []
    measures = list(dict.fromkeys(key.removeprefix("val_") for key in keys))
    if not measures:
        return b""
    figure = Figure(figsize=(5 * len(measures), 3.5), layout="constrained")
    for i, measure in enumerate(measures):
        axes: Any = figure.add_subplot(1, len(measures), i + 1)
        for key, label in ((measure, "training"), (f"val_{measure}", "held out")):
            drawn = [record for record in history if key in record]
            if drawn:
                axes.plot([r["epoch"] for r in drawn], [r[key] for r in drawn], marker="o", markersize=3, label=label)
        axes.set(xlabel="epoch", ylabel=measure)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, dpi=120)
    return picture.getvalue()
