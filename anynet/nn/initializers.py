"""Initial weights, drawn on the host from a NumPy generator, so that every backend starts from the same numbers.

A weight of shape (inputs, outputs) has fan-in `inputs` and fan-out `outputs`; axes before these two, such as the
height and width of a convolution, multiply both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from anynet.errors import ShapeError, UsageError, shown
from anynet.nn.checks import is_finite, python_number
from anynet.nn.layer import Generator, Shape


def _fans(shape: Shape) -> tuple[int, int]:
    if len(shape) < 2 or 0 in shape:
        raise ShapeError(f"this initializer needs a parameter of shape (inputs, outputs), but it has shape {shape}")
    receptive_field = math.prod(shape[:-2])
    return receptive_field * shape[-2], receptive_field * shape[-1]


@dataclass(frozen=True)
class HeNormal:
    """Normal with variance 2 / fan-in, which keeps the scale of activations through ReLU (He et al. 2015).

    >>> import numpy as np
    >>> float(HeNormal()(np.random.default_rng(0), (200, 500)).std().round(3))
    0.1
    """

    def __call__(self, generator: Generator, shape: Shape) -> Any:
        fan_in, _ = _fans(shape)
        return generator.normal(0.0, math.sqrt(2 / fan_in), shape)


@dataclass(frozen=True)
class HeUniform:
    """Uniform with variance 2 / fan-in: bounds of +-sqrt(6 / fan-in) (He et al. 2015).

    >>> import numpy as np
    >>> bool(abs(HeUniform()(np.random.default_rng(0), (6, 50))).max() <= 1)
    True
    """

    def __call__(self, generator: Generator, shape: Shape) -> Any:
        fan_in, _ = _fans(shape)
        bound = math.sqrt(6 / fan_in)
        return generator.uniform(-bound, bound, shape)


@dataclass(frozen=True)
class GlorotNormal:
    """Normal with variance 2 / (fan-in + fan-out), for tanh and sigmoid (Glorot and Bengio 2010).

    >>> import numpy as np
    >>> float(GlorotNormal()(np.random.default_rng(0), (100, 100)).std().round(2))
    0.1
    """

    def __call__(self, generator: Generator, shape: Shape) -> Any:
        return generator.normal(0.0, math.sqrt(2 / sum(_fans(shape))), shape)


@dataclass(frozen=True)
class GlorotUniform:
    """Uniform with variance 2 / (fan-in + fan-out), for tanh and sigmoid (Glorot and Bengio 2010).

    >>> import numpy as np
    >>> bool(abs(GlorotUniform()(np.random.default_rng(0), (3, 3))).max() <= 1)
    True
    """

    def __call__(self, generator: Generator, shape: Shape) -> Any:
        bound = math.sqrt(6 / sum(_fans(shape)))
        return generator.uniform(-bound, bound, shape)


@dataclass(frozen=True)
class Zeros:
    """All zeros, the usual start of a bias.

    >>> Zeros()(None, (3,))
    0.0
    """

    def __call__(self, generator: Generator, shape: Shape) -> Any:
        return 0.0


@dataclass(frozen=True)
class Ones:
    """All ones, the usual start of a scale.

    >>> Ones()(None, (3,))
    1.0
    """

    def __call__(self, generator: Generator, shape: Shape) -> Any:
        return 1.0


@dataclass(frozen=True)
class Values:
    """The given numbers: an array, or nested lists, of the parameter's shape.

    Raises
    ------
    UsageError
        When one of them is not a finite number.
    ShapeError
        When they do not have the shape of the parameter.

    >>> Values([[1, 2], [3, 4]])(None, (2, 2))
    ((1, 2), (3, 4))
    """

    values: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", _as_tuples(self.values))

    def __call__(self, generator: Generator, shape: Shape) -> Any:
        if _shape_of(self.values) != shape:
            raise ShapeError(f"the parameter has shape {shape}, but the given values have {_shape_of(self.values)}")
        return self.values


def _as_tuples(values: Any) -> Any:
    if hasattr(values, "tolist") and not isinstance(values, type):
        values = values.tolist()
    if isinstance(values, (list, tuple)):
        return tuple(map(_as_tuples, values))
    number = python_number(values)
    if number is None or not is_finite(number):
        raise UsageError(f"every one of the given values must be a finite number, but one is {shown(values)}")
    return number


def _shape_of(values: Any) -> Shape:
    if not isinstance(values, tuple):
        return ()
    shapes = {_shape_of(value) for value in values}
    if len(shapes) > 1:
        raise ShapeError(f"given values must be rectangular, but their rows have shapes {sorted(shapes)}")
    return (len(values), *(shapes.pop() if shapes else ()))
