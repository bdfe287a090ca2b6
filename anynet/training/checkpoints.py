"""All of a training run in one file, so that it can be stopped at any moment and lose nothing but seconds."""

from __future__ import annotations

import dataclasses
import os
import re
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anynet.errors import CheckpointError, ModelFileError, UsageError, unknown
from anynet.training import model_file, snapshot
from anynet.training.callbacks import Callback
from anynet.training.course import Course

if TYPE_CHECKING:
    from anynet.training.model import Model

BEST = "best.safetensors"
_NAME = re.compile(r"checkpoint-(\d+)\.safetensors")


class Checkpoints:
    """Writes what training can go on from, every so often and when it is interrupted.

    A checkpoint holds weights, buffers, what the optimizer and the callbacks remember, the place in the epoch and the
    history. It is written whole or not at all, and is on the disk before an older one goes.

    Parameters
    ----------
    folder : str or Path
        Made if it is not there.
    every_seconds : float
        How often, at the first opportunity after.
    every_steps : int, optional
        How often at least, in steps.
    keep : int
        So many of the last are kept.
    best : str, optional
        A key of the records, such as ``val_loss``: the checkpoint after the epoch in which it was best is kept too, as
        best.safetensors. A loss is better when lower, anything else when higher.
    must_succeed : bool
        Whether a checkpoint that cannot be written ends training; else it is warned of.

    Raises
    ------
    UsageError
        When a number cannot be.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        every_seconds: float = 60.0,
        every_steps: int | None = None,
        keep: int = 2,
        best: str | None = None,
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
        self.must_succeed = must_succeed
        self._written_at = time.monotonic()
        self._written_step: int | None = None

    def begin(self) -> None:
        """Make the folder, and clear away what a process that was killed left half written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for leftover in (*self.folder.glob(".checkpoint-*"), *self.folder.glob(f".{BEST}.*")):
                leftover.unlink(missing_ok=True)
        except OSError as error:
            raise CheckpointError(f"cannot write checkpoints to {self.folder}: {error.strerror}") from error
        self._written_at = time.monotonic()

    def look(self, model: Model, watchers: Sequence[Callback], at_once: bool = False) -> None:
        """Write a checkpoint if it is time to."""
        if self._is_best(model):
            self._try(self.folder / BEST, model, watchers)
        due = time.monotonic() - self._written_at >= self.every_seconds
        if not (at_once or due or self.every_steps):
            return
        step = int(model.backend.to_numpy(model.state.step))
        enough = self.every_steps and step - (self._written_step or 0) >= self.every_steps
        if at_once or due or enough:
            self.write(model, watchers, step)

    def write(self, model: Model, watchers: Sequence[Callback], step: int) -> None:
        """Write a checkpoint now, and let the oldest go."""
        self._try(self.folder / f"checkpoint-{step:09d}.safetensors", model, watchers)
        self._written_at, self._written_step = time.monotonic(), step

    def _try(self, path: Path, model: Model, watchers: Sequence[Callback]) -> None:
        try:
            write(path, model, watchers)
            for _, old in _found(self.folder)[: -self.keep]:
                old.unlink(missing_ok=True)
        except OSError as error:
            self._failed(CheckpointError(f"cannot clear away an old checkpoint in {self.folder}: {error.strerror}"))
        except CheckpointError as error:
            self._failed(error)

    def _failed(self, error: CheckpointError) -> None:
        if self.must_succeed:
            raise error
        warnings.warn(f"training goes on without a checkpoint: {error}", stacklevel=2)

    def _is_best(self, model: Model) -> bool:
        """Whether an epoch has just ended, and was the best of all."""
        course = model.course
        if not (self.best and course and course.history and not course.rows):
            return False
        if self.best not in course.history[-1]:
            raise UsageError(unknown("measure", self.best, course.history[-1]))
        values = [record[self.best] for record in course.history]
        best = min(values) if self.best.endswith("loss") else max(values)
        return values.index(best) == len(values) - 1


def write(path: Path, model: Model, watchers: Sequence[Callback] = ()) -> None:
    """Write a model and how far its training has come.

    Raises
    ------
    CheckpointError
        When it cannot be written; whatever was there before is there still.
    """
    assert model.course
    model.course.read(model)
    kept = snapshot.taken(model)
    states = [watcher.state_dict() for watcher in watchers]
    arrays = {f"weights/{name}": array for name, array in kept["arrays"].items()}
    for slot, named in kept["slots"].items():
        arrays |= {f"slots/{slot}/{name}": array for name, array in named.items()}
    for i, state in enumerate(states):
        arrays |= {f"callbacks/{i}/{name}": array for name, array in state.pop("arrays", {}).items()}
    learning_rate, step = kept["numbers"]
    arrays |= {"learning_rate": learning_rate, "losses": model.course.all_losses().astype(kept["dtype"])}
    course = dataclasses.asdict(dataclasses.replace(model.course, losses=[], unread=[]))
    description = {**model.description(), "step": int(step), "course": course, "callbacks": states}
    try:
        model_file.write(path, arrays, description)
    except ModelFileError as error:
        raise CheckpointError(str(error)) from error


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arrays and the description in a checkpoint.

    Raises
    ------
    CheckpointError
        When it is missing, damaged, or no checkpoint.
    """
    try:
        arrays, description = model_file.read(path)
    except ModelFileError as error:
        raise CheckpointError(str(error)) from None
    if "course" not in description:
        raise CheckpointError(f"{path} is a model, and no checkpoint that training can go on from")
    return arrays, description


def latest(folder: str | Path) -> Path:
    """The newest checkpoint of a folder that can be read.

    Raises
    ------
    CheckpointError
        When there is none.
    """
    found = _found(Path(folder))
    for _, path in reversed(found):
        try:
            read(path)
        except CheckpointError as error:
            warnings.warn(f"an older checkpoint is taken: {error}", stacklevel=2)
        else:
            return path
    raise CheckpointError(f"there is no checkpoint in {folder} that can be read")


def resume(model: Model, path: Path, course: Course, watchers: Sequence[Callback]) -> Course:
    """Bring a model, and its callbacks, to where a checkpoint was written; how far that is.

    Raises
    ------
    CheckpointError
        When the file is missing or damaged, or was written by another training than this.
    """
    arrays, description = read(path)
    model_file.same_parts(path, description, model.description())
    try:
        there = Course(**{**description["course"], "losses": [arrays["losses"]], "unread": []})
        if not _is_sound(there, description["epoch"]):
            raise CheckpointError(f"{path} cannot be resumed: it tells of a training that cannot be")
        for name in ("samples", "batch_size", "asked"):
            if getattr(there, name) != getattr(course, name):
                what = {"samples": "samples", "batch_size": "rows a batch", "asked": "epochs"}[name]
                raise CheckpointError(
                    f"{path} was written in training with {getattr(there, name)} {what}, not {getattr(course, name)}"
                )
        kept = {**snapshot.plain(model), **{name: description[name] for name in ("seed", "epoch", "metadata")}}
        kept["input_shape"] = tuple(description["input_shape"])
        kept["arrays"] = _under("weights/", arrays)
        slots = {name.split("/")[1] for name in arrays if name.startswith("slots/")}
        kept["slots"] = {slot: _under(f"slots/{slot}/", arrays) for slot in slots}
        kept["numbers"] = [arrays["learning_rate"], np.asarray(description["step"], np.int32)]
        model_file.check(kept["arrays"], snapshot.shapes(model, kept["input_shape"]))
        snapshot.put_back(model, kept, model.backend)
        if len(description["callbacks"]) == len(watchers):
            for i, (watcher, state) in enumerate(zip(watchers, description["callbacks"], strict=True)):
                watcher.load_state_dict({**state, "arrays": _under(f"callbacks/{i}/", arrays)})
    except CheckpointError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be resumed: {error}") from None
    return there


def _is_sound(course: Course, epoch: int) -> bool:
    numbers = course.first, course.asked, course.epochs, course.samples, course.batch_size, course.rows
    return (
        all(type(number) is int and number >= 0 for number in numbers)
        and course.rows <= course.samples
        and epoch <= course.epochs <= course.first + course.asked
        and isinstance(course.history, list)
        and all(isinstance(record, dict) for record in course.history)
    )


def _under(prefix: str, arrays: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _found(folder: Path) -> list[tuple[int, Path]]:
    """The checkpoints of a folder, oldest first."""
    names = os.listdir(folder) if folder.is_dir() else []
    matches = [(match, folder / match.string) for match in map(_NAME.fullmatch, names) if match]
    return sorted((int(match.group(1)), path) for match, path in matches)
