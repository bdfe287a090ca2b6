"""Checkpoint files: everything that a training needs to resume, written, read and checked."""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from anynet.errors import CheckpointError, ModelFileError
from anynet.model import model_file, schema
from anynet.model.base import BaseModel
from anynet.model.host_state import slot_shapes
from anynet.nn import Layout
from anynet.nn.layer import InputShape
from anynet.tracing.trees import over_dicts
from anynet.training.callbacks import Callback, Callbacks
from anynet.training.fit_state import FitState

_RECORD = {"epoch", "loss", "seconds", "samples_per_second"}
# A metric may be nan, as where a class is missing.
_FINITE = {*_RECORD, "val_loss"}
# Names of fields of a FitState in the file, the same in all formats: `epochs` there is the last epoch.
_NAMES = {"first": "first_epoch", "asked": "epochs", "epochs": "last_epoch", "training": "training_id"}
# Keys that only older files have.
_FORMER = ("losses", "unread")
_COURSE = {
    **dict.fromkeys(("first", "asked", "epochs", "samples", "rows"), schema.WHOLE),
    "batch_size": schema.LENGTH,
    "history": [schema.NUMBERS],
}
_STATES = schema.Kind("the state of each callback", lambda states: isinstance(states, (dict, list)))
_SCHEMA = {"course": _COURSE, "callbacks": _STATES}


def write(path: Path, model: BaseModel, fit: FitState, callbacks: Callbacks) -> None:
    """Write a model and the progress of its training; all its losses must be on the host already.

    Raises
    ------
    WriteError
        When the file cannot be written; an earlier file at this path is unchanged then.
    """
    kept = model.snapshot()
    arrays = {f"weights/{name}": array for name, array in kept["arrays"].items()}
    for slot, named in kept["slots"].items():
        arrays |= {f"slots/{slot}/{name}": array for name, array in named.items()}
    states = {name: callback.state_dict() for name, callback in callbacks.by_name().items()}
    for key, state in states.items():
        arrays |= {f"callbacks/{key}/{name}": array for name, array in state.pop("arrays", {}).items()}
    arrays |= {"learning_rate": kept["numbers"][0], "losses": fit.all_losses().astype(kept["dtype"])}
    course = {name: getattr(fit, _NAMES.get(name, name)) for name in (*_COURSE, "training")}
    model_file.write(path, arrays, {**model.description(model.state), "course": course, "callbacks": states})


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
    with _blamed(path):
        schema.check(description, _SCHEMA)
        arrays |= _former_counts(arrays, description)
    return arrays, description


def _former_counts(arrays: dict[str, Any], description: dict[str, Any]) -> dict[str, Any]:
    """Adam's step counts as slots, for files of the first two formats, which hold one number instead."""
    if "steps_before" not in description:
        return {}
    schema.check(description, {"steps_before": schema.STEPS})
    count = description["step"] - description["steps_before"]
    if count < 0:
        raise ValueError(f"its optimizer has taken {count} steps")
    names = _under("slots/mean/", arrays)
    return {f"slots/step/{name}": np.asarray(count, description["dtype"]) for name in names}


class Checkpoint:
    """A checkpoint that fits a model and the arguments of `fit`; only `restore` changes the model.

    Parameters
    ----------
    path : Path
    model : BaseModel
    shape : tuple of int
        Of one sample.
    asked : FitState
        The state of a new fit with the same arguments.

    Attributes
    ----------
    fit : FitState
        The progress of the training in the checkpoint.
    step : int
        The number of training steps so far.

    Raises
    ------
    CheckpointError
        When the file is missing or damaged, or does not fit the model or the arguments.
    """

    def __init__(self, path: Path, model: BaseModel, shape: InputShape, asked: FitState) -> None:
        self.path = path
        self._arrays, self._description = read(path)
        with _blamed(path):
            self._refuse_other_parts(model)
            self.fit = self._fit(asked)
            self._kept = self._checked(model, shape)
        self.step = int(self._kept["numbers"][1])

    def _refuse_other_parts(self, model: BaseModel) -> None:
        for part, expected in model_file.parts(model).items():
            found = self._description[part]
            if model_file.completed(found) != json.loads(json.dumps(expected)):
                raise CheckpointError(f"{self.path} was written by another model, with {part} {reprlib.repr(found)}")

    def _fit(self, asked: FitState) -> FitState:
        measures = {*_RECORD, *asked.higher_is_better}
        course = self._description["course"]
        if others := course.keys() - {*_COURSE, "training", *_FORMER}:
            raise ValueError(f"it has an unknown key {min(others)!r}")
        told = {_NAMES.get(name, name): value for name, value in course.items() if name not in _FORMER}
        there = FitState(**told, losses=[self._arrays["losses"]], higher_is_better=asked.higher_is_better)
        for name, what in {"samples": "samples", "batch_size": "rows a batch", "epochs": "epochs"}.items():
            found, expected = getattr(there, name), getattr(asked, name)
            if found != expected:
                raise CheckpointError(f"{self.path} was written in training with {found} {what}, not {expected}")
        batches = -(-there.rows // there.batch_size)
        epoch = self._description["epoch"]
        if not (
            there.rows <= there.samples
            and (there.rows % there.batch_size == 0 or there.rows == there.samples)
            and isinstance(there.training_id, str)
            and epoch <= there.last_epoch <= there.first_epoch + there.epochs
            and all(record.keys() >= measures for record in there.history)
            and all(math.isfinite(record[name]) for record in there.history for name in measures & _FINITE)
            and [record["epoch"] for record in there.history] == list(range(there.first_epoch + 1, epoch + 1))
            and all(("val_loss" in record) == ("val_loss" in measures) for record in there.history)
            and self._arrays["losses"].shape == (batches,)
            and np.isfinite(self._arrays["losses"]).all()
        ):
            raise ValueError("its record of the training contradicts itself")
        return there

    def _checked(self, model: BaseModel, shape: InputShape) -> dict[str, Any]:
        found = over_dicts(tuple, self._description["input_shape"])
        if found != shape:
            raise ValueError(f"its samples have shape {found}, not {shape}")
        layout = Layout(model.network, shape)
        parameters, buffers = layout.shapes(layout.parameters), layout.shapes(layout.buffers)
        kept = {name: self._description[name] for name in ("seed", "epoch", "metadata")}
        kept["arrays"] = _under("weights/", self._arrays)
        model_file.check(kept["arrays"], {**parameters, **buffers})
        slots = sorted({name.split("/")[1] for name in self._arrays if name.startswith("slots/")})
        kept["slots"] = {slot: _under(f"slots/{slot}/", self._arrays) for slot in slots}
        needed = slot_shapes(layout, model.optimizer)
        if slots != sorted(needed):
            raise ValueError(f"its optimizer remembers {slots}, not {sorted(needed)}")
        for slot, named in kept["slots"].items():
            model_file.check(named, needed[slot])
        learning_rate = self._arrays["learning_rate"]
        if learning_rate.shape != ():
            raise ValueError(f"its learning rate has shape {learning_rate.shape}")
        kept["numbers"] = [learning_rate, np.asarray(self._description["step"], np.int32)]
        return kept

    def restore(self, model: BaseModel) -> None:
        """Restore a model, which must be in training, to the state in the checkpoint."""
        self._before = model.snapshot()
        with _blamed(self.path):
            model._go_on_from(self._kept)

    def restore_callbacks(self, callbacks: Callbacks, model: BaseModel) -> None:
        """Restore the callbacks whose class and name are in the checkpoint; on an error, undo `restore`."""
        try:
            with _blamed(self.path):
                for key, callback, state in self._states(callbacks):
                    callback.load_state_dict({**state, "arrays": _under(f"callbacks/{key}/", self._arrays)})
        except CheckpointError:
            model._go_on_from(self._before)
            raise

    def _states(self, callbacks: Callbacks) -> list[tuple[str, Callback, dict[str, Any]]]:
        states = self._description["callbacks"]
        if isinstance(states, dict):
            named = callbacks.by_name()
            return [(key, named[key], states[key]) for key in states if key in named]
        # The first format stored the states as a list, in the order of the callbacks.
        if len(states) != len(callbacks.given):
            return []
        return [(str(i), *pair) for i, pair in enumerate(zip(callbacks.given, states, strict=True))]


@contextmanager
def _blamed(path: Path) -> Iterator[None]:
    """Turn any error from a damaged description into a CheckpointError that names the file."""
    try:
        yield
    except CheckpointError:
        raise
    except model_file.CAUSED_BY_DAMAGE as error:
        raise CheckpointError(f"{path} cannot be resumed: {error}") from None


def _under(prefix: str, arrays: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
