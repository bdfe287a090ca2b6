"""The task: what the user's targets are, how a network is trained on them, and what its outputs mean."""

from __future__ import annotations

import math
import sys
from typing import Any, NamedTuple

import numpy as np

from anynet import nn
from anynet.cli.data import as_rows, mean_and_std
from anynet.datasets import Dataset
from anynet.datasets.tables import MOST_CLASSES
from anynet.errors import DataError, ModelFileError
from anynet.model import Model, schema
from anynet.model.data_validation import check_numbers
from anynet.nn import Loss

_LARGEST = sys.float_info.max
_TEXTS = schema.Kind("a list of texts", lambda value: isinstance(value, list) and all(map(schema.TEXT.holds, value)))
_IN_A_FILE: dict[str, schema.Schema] = {
    "features": schema.Kind("a list of texts, or null", lambda value: value is None or _TEXTS.holds(value)),
    "target": schema.Kind("a text, or null", lambda value: value is None or schema.TEXT.holds(value)),
    "classes": _TEXTS,
    "mean": [schema.Kind("a finite number", lambda value: schema.NUMBER.holds(value) and abs(value) <= _LARGEST)],
    "scale": [schema.Kind("a number above 0", lambda value: schema.NUMBER.holds(value) and 0 < value <= _LARGEST)],
}


class Task(NamedTuple):
    """What the targets are: named classes, or values, with their mean and scale in the training part."""

    features: list[str] | None
    target: str | None
    classes: list[str]
    mean: list[float]
    scale: list[float]

    @property
    def outputs(self) -> int:
        return len(self.classes or self.mean)

    @property
    def loss(self) -> Loss:
        return nn.CrossEntropyLoss() if self.classes else nn.MSELoss()

    def encode(self, y: Any) -> Any:
        """The targets as the loss takes them."""
        # Training finds the values that become infinite here.
        with np.errstate(all="ignore"):
            return y if self.classes else (as_rows(y) - self.mean) / self.scale

    def decode(self, outputs: Any) -> Any:
        """A network's outputs as values in the units of the targets."""
        with np.errstate(all="ignore"):
            return outputs * self.scale + self.mean


def task_of(data: Dataset, target: str | None, max_classes: int | None = None) -> Task:
    """The task of a data set: classes if they are named, or the targets are integers below `max_classes`; else values.

    `max_classes` is `MOST_CLASSES` if left out.
    """
    if data.y is None:
        hint = "; name the column to predict with --target" if data.features else ": give x and y"
        raise DataError(f"{data.name} has no targets to train on{hint}")
    features = list(data.features) if data.features else None
    if data.classes:
        return Task(features, target, list(data.classes), [], [])
    check_numbers(data.y, "the target")
    if data.y.dtype.kind in "iub" and data.y.max() < (max_classes or MOST_CLASSES):
        if data.y.min() < 0:
            raise DataError(f"labels must be 0, 1, 2, ..., but row {int(np.argmin(data.y))} has {data.y.min()}")
        return Task(features, target, [str(i) for i in range(int(data.y.max()) + 1)], [], [])
    values = as_rows(data.y)
    mean, spread = mean_and_std(values, values.shape[1])
    return Task(features, target, [], mean.tolist(), spread.tolist())


def task_in(model: Model) -> Task:
    """The task that `anynet train` saved with a model.

    Raises
    ------
    ModelFileError
        When `anynet train` did not save the model, or the saved task does not fit the network.
    """
    if set(model.metadata) != set(Task._fields):
        raise ModelFileError("this model was not made by `anynet train`, so what its outputs mean is not known")
    try:
        schema.check(model.metadata, _IN_A_FILE)
        task = Task(**model.metadata)
        _check_fits(task, model)
    except DataError as error:
        raise ModelFileError(f"what the model's outputs mean cannot be told from its file: {error}") from None
    return task


def _check_fits(task: Task, model: Model) -> None:
    assert model.input_shape is not None
    if isinstance(model.input_shape, dict):
        raise DataError("its network takes a dict of arrays, but a command reads only one")
    _, outputs = model.network.parameters(model.input_shape)
    if model.loss != task.loss:
        raise DataError(f"{'classes' if task.classes else 'values'} are not what {type(model.loss).__name__} is for")
    shapes = {"classes": outputs} if task.classes else {"mean": outputs, "scale": outputs}
    if task.features is not None:
        shapes["features"] = model.input_shape
    for name, shape in shapes.items():
        if (found := len(getattr(task, name))) != math.prod(shape):
            raise DataError(f"it has {found} {name}, but the network {math.prod(shape)}")


@np.errstate(all="ignore")
def measure(model: Model, task: Task, x: Any, y: Any) -> dict[str, float]:
    """The loss, with the accuracy for classes, or with R squared and the error in the targets' own units for values."""
    result = model.evaluate(x, task.encode(y))
    if not task.classes:
        values = as_rows(y)
        error = task.decode(model.predict(x)) - values
        total = ((values - values.mean(axis=0)) ** 2).sum()
        if total:
            result["r2"] = 1 - float((error**2).sum()) / total
        result["root_mean_squared_error"] = float(np.sqrt((error**2).mean()))
    return result
