"""From a person's data to what a network trains on, and from its output back to their words."""

from __future__ import annotations

import dataclasses
import math
import sys
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from anynet import nn
from anynet.cli.config import TrainConfig
from anynet.datasets import Dataset, load
from anynet.datasets.on_disk import OnDisk, pieces
from anynet.datasets.reading import machine_memory
from anynet.datasets.tables import MOST_CLASSES
from anynet.errors import DataError, ModelFileError, UsageError
from anynet.model import Model, schema
from anynet.model.data_validation import check_inputs, check_numbers, check_targets
from anynet.nn import Layer, Loss
from anynet.training.rng import generator

# First values, weights, gradient, momentum and what is computed on the way, measured on NumPy.
_BYTES_A_WEIGHT = 40

ACTIVATIONS: dict[str, tuple[Layer, Any]] = {
    "relu": (nn.ReLU(), nn.HeNormal()),
    "leaky_relu": (nn.LeakyReLU(), nn.HeNormal()),
    "sigmoid": (nn.Sigmoid(), nn.GlorotUniform()),
    "tanh": (nn.Tanh(), nn.GlorotUniform()),
}


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
    """What the targets are: named classes, or else values, by their mean and scale in the training part."""

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
        """Targets as the loss takes them."""
        # What becomes infinite is found when it is trained on.
        with np.errstate(all="ignore"):
            return y if self.classes else (_rows(y) - self.mean) / self.scale

    def decode(self, outputs: Any) -> Any:
        """A network's outputs as values in the units of the targets."""
        with np.errstate(all="ignore"):
            return outputs * self.scale + self.mean


def data_of(config: TrainConfig) -> Dataset:
    """The data that a config names, looked at by `check_data`."""
    data = load(config.data, config.target, max_bytes=config.max_bytes, max_classes=config.max_classes)
    return check_data(data)


def task_of(data: Dataset, target: str | None, max_classes: int | None = None) -> Task:
    """Classes where they are named or the targets are integers below `max_classes`, else values.

    That is `MOST_CLASSES` if it is left out.
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
    values = _rows(data.y)
    mean, spread = _mean_and_spread(values)
    return Task(features, target, [], mean.tolist(), spread.tolist())


def task_in(model: Model) -> Task:
    """The task that `anynet train` saved with a model.

    Raises
    ------
    ModelFileError
        When the model was saved by other means and holds none, or one that is not of this network.
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
    _, outputs = model.network.parameters(model.input_shape)
    if model.loss != task.loss:
        raise DataError(f"{'classes' if task.classes else 'values'} are not what {type(model.loss).__name__} is for")
    shapes = {"classes": outputs} if task.classes else {"mean": outputs, "scale": outputs}
    if task.features is not None:
        shapes["features"] = model.input_shape
    for name, shape in shapes.items():
        if (found := len(getattr(task, name))) != math.prod(shape):
            raise DataError(f"it has {found} {name}, but the network {math.prod(shape)}")


def check_data(data: Dataset) -> Dataset:
    """The same data with inputs looked at, and single numbers as rows of one.

    Raises
    ------
    DataError
        When x holds something that is no finite number.
    """
    x, x_test = (None if part is None else _columns(check_inputs(part)) for part in (data.x, data.x_test))
    return dataclasses.replace(data, x=x, x_test=x_test)


def _columns(x: Any) -> Any:
    if isinstance(x, OnDisk) and x.ndim == 1:
        raise DataError("x holds single numbers, and is too large to be read into memory: save it as rows of one")
    return x[:, None] if x.ndim == 1 else x


def split(data: Dataset, share: float, seed: int) -> tuple[Dataset, tuple[Any, Any] | None]:
    """The data less a random share, and that share."""
    if share == 0:
        return data, None
    held = round(share * len(data.x))
    if not 0 < held < len(data.x):
        raise DataError(
            f"a validation share of {share} of {len(data.x)} samples is {held}, and leaves {len(data.x) - held}"
        )
    order = generator(seed, "split").permutation(len(data.x))
    rest, out = order[held:], order[:held]
    return dataclasses.replace(data, x=_only(data.x, rest), y=data.y[rest]), (_only(data.x, out), data.y[out])


def _only(x: Any, rows: Any) -> Any:
    return x.only(rows) if isinstance(x, OnDisk) else x[rows]


def blurred_columns(network: nn.Sequential, task: Task) -> list[str]:
    """The columns whose mean is so large for their spread that float32 blurs the differences."""
    rescale = next(layer for layer in network.layers if isinstance(layer, nn.Rescale))
    if not isinstance(rescale.scale, tuple):
        return []
    ratios = [abs(scale * shift) for scale, shift in zip(rescale.scale, rescale.shift, strict=True)]
    return [task.features[i] if task.features else str(i) for i, ratio in enumerate(ratios) if ratio > 1e5]


def check_part(network: nn.Sequential, task: Task, trained_on: Any, x: Any, y: Any) -> None:
    """Refuse held-out or test data that do not fit what is trained on, before any time is spent.

    Raises
    ------
    DataError
        When a label is none of the classes, or samples or targets have another shape.
    """
    check_inputs(x, trained_on.shape[1:])
    _, out_shape = network.parameters(trained_on.shape[1:])
    check_targets(task.encode(y), len(x), task.loss, out_shape)


def network_for(x: Any, task: Task, hidden: tuple[int, ...], activation: str) -> nn.Sequential:
    """A fully connected network that takes x as it is: bytes scaled to 0..1, other columns standardised.

    Raises
    ------
    UsageError
        When this machine has not enough memory to train it.
    """
    sizes = (math.prod(x.shape[1:]), *hidden, task.outputs)
    weights = sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))
    if (needed := weights * _BYTES_A_WEIGHT) > (memory := machine_memory()):
        raise UsageError(
            f"a network of {weights:,} weights takes some {needed / 2**30:,.0f} GiB to train, but this machine has "
            f"{memory / 2**30:,.0f}; make hidden layers smaller (--hidden)"
        )
    function, weight = ACTIVATIONS[activation]
    if x.dtype == np.uint8:
        inputs: list[Layer] = [nn.Rescale(1 / 255), nn.Flatten()]
    else:
        mean, spread = _mean_and_spread(x)
        inputs = [nn.Flatten(), nn.Rescale(scale=1 / spread, shift=mean)]
    inner = [layer for size in hidden for layer in (nn.Linear(size, weight), function)]
    return nn.Sequential(*inputs, *inner, nn.Linear(task.outputs, weight))


@np.errstate(all="ignore")
def measure(model: Model, task: Task, x: Any, y: Any) -> dict[str, float]:
    """Loss with accuracy, or with R squared and the error in the targets' own units."""
    result = model.evaluate(x, task.encode(y))
    if not task.classes:
        values = _rows(y)
        error = task.decode(model.predict(x)) - values
        total = ((values - values.mean(axis=0)) ** 2).sum()
        if total:
            result["r2"] = 1 - float((error**2).sum()) / total
        result["root_mean_squared_error"] = float(np.sqrt((error**2).mean()))
    return result


def _rows(values: Any) -> Any:
    """One row of float64 for each sample."""
    return np.asarray(values, dtype=np.float64).reshape(len(values), -1)


@np.errstate(under="ignore")
def _mean_and_spread(x: Any) -> tuple[Any, Any]:
    """The mean and the standard deviation of each column, 1 for one that is constant but for rounding.

    Pieces are joined as Chan, Golub and LeVeque (1979) do, so that a large mean does not blur the deviation.
    """
    count, mean, squares, largest = 0, 0.0, 0.0, 0.0
    for _, piece in pieces(x):
        rows = _rows(piece)
        apart = rows.mean(axis=0) - mean
        squares = squares + ((rows - rows.mean(axis=0)) ** 2).sum(axis=0)
        squares = squares + apart**2 * (count * len(rows) / (count + len(rows)))
        count += len(rows)
        mean = mean + apart * (len(rows) / count)
        largest = np.maximum(largest, np.abs(rows).max(axis=0))
    spread = np.sqrt(squares / count)
    return mean, np.where(spread > count * np.finfo(np.float64).eps * largest, spread, 1.0)
