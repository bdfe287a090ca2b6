"""Gradient checking: do forward and backward agree?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from anynet.backends import Backend, select
from anynet.checks.cases import draw_input, draw_target, draw_weight
from anynet.errors import UsageError
from anynet.model.data_validation import check_inputs, check_targets
from anynet.model.model import Model
from anynet.model.validation import check_loss, check_whole
from anynet.nn import Context, Layer, Layout, Loss
from anynet.nn.checks import check_shape
from anynet.nn.derived import value_and_gradient
from anynet.nn.layer import Shape, check_layer
from anynet.tracing.trees import leaves, over_dicts, rebuilt
from anynet.training.inputs import count_rows, shape_of

Arrays: TypeAlias = dict[str, Any]
# The value at a point, and what computes the gradients there, for most points are asked for their value alone.
Function: TypeAlias = Callable[[Arrays], tuple[float, Callable[[], Arrays]]]

# The fourth-order difference at 1e-4 is right to about 1e-11. The smaller step rarely crosses a kink of ReLU.
STEPS = (1e-4, 1e-6)
SURELY_RIGHT = 1e-8
SAMPLES = 3


@dataclass(frozen=True)
class GradientCheck:
    """The worst disagreement of analytic and numerical gradients.

    Attributes
    ----------
    error : float
        The worst relative error. In float64 a right gradient gives less than 1e-7, a wrong one far more.
    where : str
        Where the worst error is, such as ``0.weight[2, 1]``, or ``0.weight along a random direction`` for all elements.
    analytic, numerical : float
        The derivative there, from ``backward`` and from differences of ``forward``.
    """

    error: float
    where: str
    analytic: float
    numerical: float

    def __str__(self) -> str:
        return (
            f"worst relative error {self.error:.1e} at {self.where}: "
            f"analytic {self.analytic:.10g}, numerical {self.numerical:.10g}"
        )


def gradcheck(
    subject: Layer | Loss | Model,
    x: Any,
    target: Any = None,
    *,
    loss: Loss | None = None,
    backend: str = "numpy",
    seed: int = 0,
    elements: int = 20,
) -> GradientCheck:
    """Compare a layer's, a loss's or a whole network's gradients with central differences in float64.

    Parameters
    ----------
    subject : Layer, Loss or Model
        One of anynet's or your own. A Model is checked with its own weights and loss, a layer with new random weights.
    x : array of shape (samples, ...), or tuple of int, or a dict of them
        The inputs, or the predictions for a loss. A tuple is the shape of one sample; then three samples are drawn at
        random. A dict is for a network with named inputs.
    target : array, optional
        The targets of the loss, one row for each sample; drawn at random if left out.
    loss : Loss, optional
        The loss of the layer's outputs. Without it, the check takes the sum of the outputs with random weights.
    backend : str
        The backend that computes the gradients and the differences, as in `anynet.backends.select`.
    seed : int
        Seed of all random numbers.
    elements : int
        How many elements of each array are varied one by one. All elements are also varied together, in a random
        direction.

    Raises
    ------
    UsageError
        When there is nothing to check, or an argument is of the wrong kind.
    DataError, ShapeError
        When x or the target hold anything but finite numbers, or do not fit the subject.

    >>> from anynet.nn import Linear, Sequential, Tanh
    >>> gradcheck(Sequential(Linear(4), Tanh(), Linear(2)), (3,)).error < 1e-7
    True
    """
    loss = _loss_of(subject, loss)
    if target is not None and loss is None:
        raise UsageError("a target needs a loss that compares the output with it: give loss, too")
    generator = np.random.default_rng(check_whole("seed", seed, least=0))
    elements = check_whole("elements", elements, least=0)
    library = select(backend, "float64")

    def drawn(x: Any) -> Any:
        shape = check_shape((SAMPLES, *check_shape(x)), "x") if isinstance(x, tuple) else None
        return draw_input(generator, subject, shape) if shape else x

    network = subject.network if isinstance(subject, Model) else subject
    # Any numbers, also those that an embedding would refuse.
    names = over_dicts(lambda _: None, getattr(network, "indices", None))
    shape = subject.input_shape if isinstance(subject, Model) else None
    x = check_inputs(over_dicts(drawn, x), shape, names)
    x = over_dicts(lambda x: np.asarray(x, dtype=np.float64), x)
    if loss is subject:
        function, point = _of_loss(library, generator, subject, x, target)
    else:
        function, point = _of_network(library, generator, subject, loss, x, target)
    return _compare(function, point, generator, elements)


def _loss_of(subject: Any, given: Any) -> Loss | None:
    """The loss whose gradient is checked, if any; an error if the subject is not a layer, a loss or a Model."""
    own = subject.loss if isinstance(subject, Model) else subject if hasattr(subject, "target_kind") else None
    if own is None:
        check_layer(subject, "the layer, loss or Model to check")
    elif given is not None:
        raise UsageError("loss is for a layer: a Model is checked with its own, and a loss by itself")
    loss: Loss | None = given if own is None else own
    if loss is not None:
        check_loss(loss)
    return loss


def _of_loss(backend: Backend, generator: Any, loss: Any, prediction: Any, target: Any) -> tuple[Function, Arrays]:
    fixed = _fixed(backend, generator, loss, prediction.shape, target)

    def function(point: Arrays) -> tuple[float, Callable[[], Arrays]]:
        with backend.scope():
            value, gradient = value_and_gradient(loss, backend.xp, backend.asarray(point["prediction"]), *fixed)
            return float(backend.to_numpy(value)), lambda: {"prediction": backend.to_numpy(gradient)}

    return function, {"prediction": prediction}


def _of_network(
    backend: Backend, generator: Any, subject: Any, loss: Loss | None, x: Any, target: Any
) -> tuple[Function, Arrays]:
    network = subject.network if isinstance(subject, Model) else subject
    layout = Layout(network, shape_of(x), pack_limit=0)
    arrays = subject.parameters if isinstance(subject, Model) else layout.initial(np, generator)
    names = _input_names(x)
    inputs = leaves(names)
    trained = {entry.name: np.asarray(arrays[entry.name], dtype=np.float64) for entry in layout.parameters}
    measure = _measure(backend, generator, loss, (count_rows(x), *layout.out_shape), target)

    def function(point: Arrays) -> tuple[float, Callable[[], Arrays]]:
        xp = backend.xp
        with backend.scope():
            blocks = layout.blocks(np, {**arrays, **point})
            p = layout.unpack(xp, *(tuple(map(backend.asarray, map(np.asarray, part))) for part in blocks))
            given = rebuilt(names, (backend.asarray(point[name], copy=True) for name in inputs))
            y, saved = network.forward(xp, p, given, Context(training=True))
            value, dy = measure(y)
            number = float(backend.to_numpy(value))

        def gradients() -> Arrays:
            with backend.scope():
                dx, summands = network.backward(xp, p, saved, dy)
                for array, name in zip(leaves(given), inputs, strict=True):
                    if not np.array_equal(backend.to_numpy(array), point[name]):
                        raise UsageError(f"{network!r} changes its input; a layer may change only what it made, and dy")
                found = dict(zip(inputs, leaves(dx), strict=True)) | layout.summed(summands)
                return {name: backend.to_numpy(gradient) for name, gradient in found.items()}

        return number, gradients

    return function, dict(zip(inputs, leaves(x), strict=True)) | trained


def _input_names(x: Any, name: str = "x") -> Any:
    """A name for each array of x, in its place."""
    return {key: _input_names(inner, f"{name}.{key}") for key, inner in x.items()} if isinstance(x, dict) else name


def _measure(backend: Backend, generator: Any, loss: Loss | None, shape: Shape, target: Any) -> Any:
    """A function from an output to one number and its gradient: the loss, or a sum with random weights."""
    xp = backend.xp
    if loss is None:
        weighting = generator.normal(0.0, 1.0, shape)
        return lambda y: (xp.sum(y * backend.asarray(weighting)), backend.asarray(weighting, copy=True))
    fixed = _fixed(backend, generator, loss, shape, target)
    return lambda y: value_and_gradient(loss, xp, y, *fixed)


def _fixed(backend: Backend, generator: Any, loss: Loss, shape: Shape, target: Any) -> list[Any]:
    """The given or random targets, and random sample weights, for predictions of this shape."""
    target = draw_target(generator, loss, shape) if target is None else target
    target = check_targets(target, shape[0], loss, shape[1:])
    return [backend.asarray(array) for array in (target, draw_weight(generator, shape[0]))]


def _compare(function: Function, point: Arrays, generator: Any, elements: int) -> GradientCheck:
    _, gradients_there = function(point)
    gradients = gradients_there()
    if missing := ", ".join(name for name in point if name not in gradients):
        raise UsageError(f"backward gives no gradient of {missing}")
    # The error of a tiny gradient is relative to a thousandth of the largest gradient, not to itself.
    floor = max(1e-3 * max(float(np.abs(gradients[name]).max(initial=0.0)) for name in point), 1e-12)
    worst = GradientCheck(0.0, "any element", 0.0, 0.0)
    for name, array in point.items():
        if gradients[name].shape != array.shape:
            raise UsageError(f"the gradient of {name} has shape {gradients[name].shape}, but {name} has {array.shape}")
        for where, direction in _directions(array.shape, generator, elements):
            analytic = float((gradients[name] * direction).sum())
            check = _check(function, point, name, direction, analytic, floor)
            if not check.error <= worst.error:
                worst = replace(check, where=name + where)
    return worst


def _check(
    function: Function, point: Arrays, name: str, direction: Any, analytic: float, floor: float
) -> GradientCheck:
    """The derivative along a direction and the nearest difference, by the smaller step only where the larger is off."""
    checks = []
    for step in STEPS:
        numerical = _difference(function, point, name, step * direction) / step
        error = abs(analytic - numerical) / max(abs(analytic), abs(numerical), floor)
        checks.append(GradientCheck(error, name, analytic, numerical))
        if error < SURELY_RIGHT:
            break
    return min(checks, key=lambda check: abs(check.numerical - analytic))


def _directions(shape: Shape, generator: Any, elements: int) -> Any:
    size = int(np.prod(shape))
    everywhere = generator.normal(0.0, 1.0, shape)
    yield " along a random direction", everywhere / max(float(np.linalg.norm(everywhere)), 1e-12)
    for flat in generator.permutation(size)[:elements]:
        direction = np.zeros(shape)
        direction.flat[flat] = 1.0
        index = ", ".join(str(int(i)) for i in np.unravel_index(flat, shape))
        yield f"[{index}]", direction


def _difference(function: Function, point: Arrays, name: str, step: Any) -> float:
    """The fourth-order central difference along a step: its error falls with the step's fourth power."""

    def value(steps: int) -> float:
        return function({**point, name: point[name] + steps * step})[0]

    return (8 * (value(1) - value(-1)) - (value(2) - value(-2))) / 12
