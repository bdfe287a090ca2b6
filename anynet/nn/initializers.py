"""Initial weights, drawn on the host from a NumPy generator, so that every backend starts from the same numbers.

A weight of shape (inputs, outputs) has fan-in `inputs` and fan-out `outputs`; axes before these two, such as the
height and width of a convolution, multiply both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from anynet.errors import ShapeError, UsageError, shown
from anynet.nn.checks import check_number, is_finite, python_number
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
class LeCunNormal:
    """Normal with variance 1 / fan-in, which keeps the scale of activations through SELU (LeCun et al. 1998).

    >>> import numpy as np
    >>> float(LeCunNormal()(np.random.default_rng(0), (100, 500)).std().round(2))
    0.1
    """

    def __call__(self, generator: Generator, shape: Shape) -> Any:
        fan_in, _ = _fans(shape)
        return generator.normal(0.0, math.sqrt(1 / fan_in), shape)


@dataclass(frozen=True)
class LeCunUniform:
    """Uniform with variance 1 / fan-in: bounds of +-sqrt(3 / fan-in) (LeCun et al. 1998).

    >>> import numpy as np
    >>> bool(abs(LeCunUniform()(np.random.default_rng(0), (3, 50))).max() <= 1)
    True
    """

    def __call__(self, generator: Generator, shape: Shape) -> Any:
        fan_in, _ = _fans(shape)
        bound = math.sqrt(3 / fan_in)
        return generator.uniform(-bound, bound, shape)


@dataclass(frozen=True)
class Normal:
    """Normal with mean 0 and standard deviation `std`.

    Raises
    ------
    UsageError
        When `std` is not above 0.

    >>> import numpy as np
    >>> float(Normal(0.02)(np.random.default_rng(0), (100, 500)).std().round(3))
    0.02
    """

    std: float = 1.0

    def __post_init__(self) -> None:
        check_number(self, "std", "above 0 and finite", lambda std: std > 0)

    def __call__(self, generator: Generator, shape: Shape) -> Any:
        return generator.normal(0.0, self.std, shape)


@dataclass(frozen=True)
class TruncatedNormal:
    """Normal with standard deviation `std`, but numbers beyond 2 deviations are drawn again, as in Keras.

    So that of the numbers is 0.88 times `std`.

    Raises
    ------
    UsageError
        When `std` is not above 0.

    >>> import numpy as np
    >>> bool(abs(TruncatedNormal(std=0.5)(np.random.default_rng(0), (100, 10))).max() <= 1)
    True
    """

    std: float = 0.02

    def __post_init__(self) -> None:
        check_number(self, "std", "above 0 and finite", lambda std: std > 0)

    def __call__(self, generator: Generator, shape: Shape) -> Any:
        numbers = generator.normal(0.0, 1.0, math.prod(shape))
        while (outside := abs(numbers) > 2.0).any():
            numbers[outside] = generator.normal(0.0, 1.0, int(outside.sum()))
        return self.std * numbers.reshape(shape)


@dataclass(frozen=True)
class Orthogonal:
    """`gain` times a random matrix whose rows, or columns if there are fewer, are orthonormal (Saxe et al. 2014).

    All such matrices are equally likely. The rows are the weights of one input each; axes before them, such as the
    height and width of a convolution, count as inputs.

    Raises
    ------
    UsageError
        When `gain` is not above 0.

    >>> import numpy as np
    >>> weight = Orthogonal()(np.random.default_rng(0), (5, 2))
    >>> abs(weight.T @ weight).round(6)
    array([[1., 0.],
           [0., 1.]])
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        check_number(self, "gain", "above 0 and finite", lambda gain: gain > 0)

    def __call__(self, generator: Generator, shape: Shape) -> Any:
        inputs, _ = _fans(shape)
        outputs = shape[-1]
        numbers = generator.normal(0.0, 1.0, (max(inputs, outputs), min(inputs, outputs)))
        xp = numbers.__array_namespace__()
        q, r = xp.linalg.qr(numbers)
        # With r's diagonal above 0, q has no preferred sign (Mezzadri 2007).
        q = q * xp.sign(xp.linalg.diagonal(r))
        return self.gain * xp.reshape(q if inputs >= outputs else xp.matrix_transpose(q), shape)


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
