"""`Checkpoints`: when a training writes checkpoints, and which ones are kept."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from anynet.errors import CheckpointError, UsageError, WriteError, unknown, warn
from anynet.model import atomic_files, model_file
from anynet.model.base import BaseModel
from anynet.model.checkpoint_file import Checkpoint, read, write
from anynet.training.callbacks import Callbacks
from anynet.training.fit_state import FitState
from anynet.training.stopping import Best, check_mode, higher_is_better

BEST = "best.safetensors"
_NAME = re.compile(r"checkpoint-(?:(\d+)-)?(\d+)\.safetensors")


class Checkpoints:
    """Writes checkpoints, from which a training can resume, at intervals and when it is interrupted.

    A checkpoint holds the weights, the buffers, the state of the optimizer and the callbacks, the position in the epoch
    and the history. It is written completely or not at all, and older ones are deleted only afterwards. One training at
    a time can write to a folder; its first checkpoint there replaces those of earlier trainings.

    Parameters
    ----------
    folder : str or Path
        Created if it does not exist.
    every_seconds : float
        Time between two checkpoints; the current batches are finished first.
    every_steps : int, optional
        Also write one when this many steps have been taken since the last one.
    keep : int
        How many of the latest checkpoints to keep.
    best : str, optional
        A key of the records, such as ``val_loss``. The checkpoint after the epoch with its best value is kept, too, as
        best.safetensors; nan is never best.
    mode : {"auto", "min", "max"}
        Whether a lower ("min") or a higher value ("max") is better. "auto" knows it for the loss and the metrics; a
        measure that a callback adds to the records needs "min" or "max".
    must_succeed : bool
        Whether a checkpoint that cannot be written ends training with an error, or only causes a warning.

    Raises
    ------
    UsageError
        When an argument is invalid, or the records have no measure `best`.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        every_seconds: float = 60.0,
        every_steps: int | None = None,
        keep: int = 2,
        best: str | None = None,
        mode: str = "auto",
        must_succeed: bool = True,
    ) -> None:
        if not every_seconds >= 0:
            raise UsageError(f"every_seconds must be 0 or more, but is {every_seconds!r}")
        for name, number in (("every_steps", every_steps), ("keep", keep)):
            if number is not None and (not isinstance(number, int) or number < 1):
                raise UsageError(f"{name} must be a whole number, 1 or more, but is {number!r}")
        self.folder = Path(folder)
        self.every_seconds = every_seconds
        self.every_steps = every_steps
        self.keep = keep
        self.best = best
        check_mode(mode)
        self.mode = mode
        self.must_succeed = must_succeed

    @contextmanager
    def writer(
        self, model: BaseModel, fit: FitState, callbacks: Callbacks, step: int, resumed: Checkpoint | None = None
    ) -> Iterator[Writer]:
        """A context with the writer for a training that has taken `step` steps; it locks the folder.

        Raises
        ------
        UsageError
            When another training is writing to the folder, or the measure `best` is unknown.
        WriteError
            When the folder cannot be written.
        """
        # A part that no file can hold is refused before training begins.
        model_file.parts(model)
        higher = bool(self.best) and higher_is_better(self.best or "", fit.higher_is_better, self.mode)
        with atomic_files.writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            try:
                stack.enter_context(atomic_files.locked(self.folder))
            except BlockingIOError:
                raise UsageError(f"another training is writing checkpoints to {self.folder}; name another") from None
            with atomic_files.writing(self.folder):
                for prefix in (".checkpoint-", f".{BEST}."):
                    atomic_files.sweep(self.folder, prefix)
                number = _number_for(self.folder, resumed.path if resumed else None)
                writer = Writer(self, model, fit, callbacks, step, number, higher)
            yield writer


class Writer:
    """Writes the checkpoints of one training, with the number of the training in their names."""

    def __init__(
        self,
        settings: Checkpoints,
        model: BaseModel,
        fit: FitState,
        callbacks: Callbacks,
        step: int,
        number: int,
        higher_is_better: bool,
    ) -> None:
        self.settings = settings
        self.model = model
        self.fit = fit
        self.callbacks = callbacks
        self.number = number
        self.higher_is_better = higher_is_better
        self._written_at, self._written_step = time.monotonic(), step

    def save(self, read_losses: Callable[[], None], at_once: bool) -> None:
        """Write a checkpoint if one is due or wanted at once."""
        settings = self.settings
        if self._is_best():
            self._try(settings.folder / BEST)
        due = time.monotonic() - self._written_at >= settings.every_seconds
        if not (at_once or due or settings.every_steps):
            return
        step = int(self.model.backend.to_numpy(self.model.state.step))
        enough = settings.every_steps and step - self._written_step >= settings.every_steps
        if at_once or due or enough:
            name = f"checkpoint-{self.number:03d}-{step:09d}.safetensors"
            read_losses()
            self._try(settings.folder / name, step)
            self._written_at, self._written_step = time.monotonic(), step

    def _try(self, path: Path, step: int | None = None) -> None:
        try:
            write(path, self.model, self.fit, self.callbacks)
            if step is not None:
                with atomic_files.writing(self.settings.folder):
                    self._let_go(step)
        except WriteError as error:
            if self.settings.must_succeed:
                raise
            warn(f"training goes on without a checkpoint: {error}")

    def _let_go(self, step: int) -> None:
        """Delete the oldest checkpoints, those of other trainings, and those of steps after `step`."""
        found = _found(self.settings.folder)
        mine = [path for number, written, path in found if number == self.number and written <= step]
        others = [path for number, written, path in found if number != self.number or written > step]
        if others and not self._is_mine(self.settings.folder / BEST):
            others.append(self.settings.folder / BEST)
        for old in (*mine[: -self.settings.keep], *others):
            old.unlink(missing_ok=True)

    def _is_mine(self, path: Path) -> bool:
        try:
            return bool(read(path)[1]["course"].get("training") == self.fit.training_id)
        except CheckpointError:
            return False

    def _is_best(self) -> bool:
        """Whether an epoch has just ended, and its record has the best value so far."""
        history, name = self.fit.history, self.settings.best
        if not (name and history and not self.fit.rows):
            return False
        if name not in history[-1]:
            raise UsageError(unknown("measure", name, history[-1]))
        best = Best(self.higher_is_better)
        return [best.improves(record[name]) for record in history][-1]


def latest(folder: str | Path) -> Path | None:
    """The newest readable checkpoint of the last training in a folder; None if there are no checkpoints.

    Raises
    ------
    CheckpointError
        When there are checkpoints of that training, but none of them can be read.

    >>> latest("no-such-folder") is None
    True
    """
    found = _found(Path(folder))
    if not found:
        return None
    newest = found[-1][0]
    for _, _, path in reversed([one for one in found if one[0] == newest]):
        try:
            read(path)
        except CheckpointError as error:
            warn(f"an older checkpoint is taken: {error}")
        else:
            return path
    raise CheckpointError(f"none of the checkpoints in {folder} can be read")


def _number_for(folder: Path, resumed: Path | None) -> int:
    """A new number for a training, or the last one if it resumes a checkpoint of that number in this folder."""
    last = max((number for number, _, _ in _found(folder)), default=0)
    mine = [number for number, _, path in _found(folder) if resumed and path.samefile(resumed)]
    return last if mine == [last] and last else last + 1


def _found(folder: Path) -> list[tuple[int, int, Path]]:
    """The checkpoints in a folder as (number of the training, step, path), oldest first."""
    names = os.listdir(folder) if folder.is_dir() else []
    matches = [match for match in map(_NAME.fullmatch, names) if match]
    return sorted((int(match.group(1) or 0), int(match.group(2)), folder / match.string) for match in matches)
