"""Checks of a model's parts, and of callbacks, validation data and other arguments."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, get_args

import numpy as np

from anynet.backends import to_numpy
from anynet.distributed import select
from anynet.errors import DataError, ShapeError, UsageError, shown, unknown
from anynet.nn import LOSSES, OPTIMIZERS, Layout, Loss, Optimizer
from anynet.nn.checks import check_part, is_finite, python_number
from anynet.nn.layer import check_layer
from anynet.nn.losses import TargetKind
from anynet.training.callbacks import Callback
from anynet.training.metrics import Metric


def check_assigned(name: str, part: Any) -> Any:
    """Check what is assigned to a model, by the name of the attribute, and return it as the model keeps it."""
    if name == "seed":
        return check_whole("seed", part, least=0)
    if name in ("clip_norm", "clip_value"):
        return check_clip(part, name)
    if name == "comm":
        return select(part)
    if name == "network":
        check_layer(part, "the network")
    elif name == "loss":
        check_loss(part)
    elif name == "optimizer":
        check_optimizer(part)
    return part


def check_loss(loss: Any) -> None:
    """Refuse an object that is not a loss.

    >>> check_loss("mse")
    Traceback (most recent call last):
    anynet.errors.UsageError: the loss is 'mse': give one of anynet.nn, such as MSELoss()
    """
    if isinstance(loss, str):
        raise UsageError(f"the loss is {shown(loss)}: give one of anynet.nn, such as {_nearest(loss, LOSSES)}()")
    check_part(loss, "the loss", "loss", ("target_kind", "__call__"), "MSELoss()")
    if loss.target_kind not in get_args(TargetKind):
        raise UsageError(unknown("target_kind of a loss", loss.target_kind, get_args(TargetKind)))


def check_optimizer(optimizer: Any) -> None:
    """Refuse an object that is not an optimizer, or has an invalid learning rate or weight decay."""
    if isinstance(optimizer, str):
        such_as = _nearest(optimizer, OPTIMIZERS)
        raise UsageError(f"the optimizer is {shown(optimizer)}: give one of anynet.nn, such as {such_as}(lr=0.01)")
    check_part(optimizer, "the optimizer", "optimizer", ("lr", "weight_decay", "init", "update"), "SGD(lr=0.1)")
    if not isinstance(optimizer, Optimizer):
        kind = type(optimizer).__name__
        raise UsageError(f"the optimizer is {shown(optimizer)}: derive {kind} from anynet.nn.Optimizer")
    if callable(optimizer.lr):
        check_schedule(optimizer.lr)
    elif python_number(optimizer.lr) is None:
        raise UsageError(f"the optimizer's lr must be a number or a schedule, but is {shown(optimizer.lr)}")
    if python_number(optimizer.weight_decay) is None:
        raise UsageError(f"the optimizer's weight_decay must be a number, but is {shown(optimizer.weight_decay)}")


def check_metrics(metrics: Any, loss: Loss) -> tuple[Metric, ...] | None:
    """Metrics as a tuple; None stays None.

    Raises
    ------
    UsageError
        When it is not a list of metrics, two have the same name, or one does not fit the loss.

    >>> from anynet.nn import MSELoss
    >>> from anynet.training import Accuracy
    >>> check_metrics([Accuracy()], MSELoss())
    Traceback (most recent call last):
    anynet.errors.UsageError: Accuracy() measures a target of class or probability, but MSELoss() is for a value
    """
    if metrics is None:
        return None
    listed = tuple(_check_list("metrics", metrics, Metric, "Accuracy()"))
    for metric in listed:
        for member in ("name", "higher_is_better", "update", "compute"):
            if getattr(type(metric), member, None) is getattr(Metric, member, None) and member not in vars(metric):
                raise UsageError(f"{shown(metric)} is a metric that has no {member}")
        if loss.target_kind not in metric.target_kinds:
            kinds = " or ".join(metric.target_kinds)
            raise UsageError(f"{metric!r} measures a target of {kinds}, but {loss!r} is for a {loss.target_kind}")
        if missing := [need for need in metric.needs if not hasattr(loss, need)]:
            raise UsageError(f"{metric!r} needs a loss with {missing[0]}, but {loss!r} has none")
        if not (isinstance(metric.name, str) and metric.name and isinstance(metric.higher_is_better, bool)):
            words = "a text as its name, and True or False as higher_is_better"
            raise UsageError(f"{shown(metric)} must have {words}")
    names = [metric.name for metric in listed]
    if twice := [name for name in names if names.count(name) > 1 or name == "loss"]:
        raise UsageError(f"each metric needs a name of its own, but there are two {twice[0]!r}")
    return listed


def check_clip(limit: Any, name: str) -> float | None:
    """The most that a norm or a number of the gradient may be, as a Python number; None stays None.

    >>> check_clip(0, "clip_norm")
    Traceback (most recent call last):
    anynet.errors.UsageError: clip_norm must be a finite number above 0, or None, but is 0
    """
    number = python_number(limit)
    if limit is not None and (number is None or not is_finite(number) or not number > 0):
        raise UsageError(f"{name} must be a finite number above 0, or None, but is {shown(limit)}")
    return number


def check_learning_rate(rate: Any, optimizer: Optimizer, dtype: str) -> Any:
    """The learning rate that is assigned to a model, as a 0-d array of NumPy.

    >>> from anynet.nn import SGD
    >>> check_learning_rate(0, SGD(0.1), "float32")
    Traceback (most recent call last):
    anynet.errors.UsageError: the learning rate must be a float32 above 0 and finite, but is 0
    """
    if callable(optimizer.lr):
        raise UsageError(f"the learning rate comes from {shown(optimizer.lr)}: assign an optimizer with another lr")
    number = python_number(rate)
    with np.errstate(all="ignore"):
        array = np.asarray(number if number is not None and is_finite(number) else 0.0, dtype)
    if not 0 < array < np.inf:
        raise UsageError(f"the learning rate must be a {dtype} above 0 and finite, but is {shown(rate)}")
    return array


def check_schedule(schedule: Any) -> None:
    """Refuse an object that is not a schedule, after two test calls with NumPy.

    Raises
    ------
    UsageError
        When it cannot be called as ``schedule(xp, step)``, or gives no learning rate.

    >>> check_schedule(lambda step: 0.1)
    Traceback (most recent call last):
    anynet.errors.UsageError: a schedule is called as schedule(xp, step), but <function <lambda> at 0x...
    """
    for step in (0.0, 1000.0):
        try:
            with np.errstate(all="ignore"):
                rate = schedule(np, np.asarray(step, np.float32))
        except Exception as error:
            raised = f"{type(error).__name__}: {error}"
            raise UsageError(
                f"a schedule is called as schedule(xp, step), but {shown(schedule)} raises {raised}"
            ) from error
        if getattr(rate, "shape", None) != () or getattr(rate, "dtype", None) != np.float32:
            gives = f"{shown(schedule)} gives {shown(rate)}"
            raise UsageError(
                f"a schedule must give a 0-d array of the dtype of step, but {gives} for a step of float32"
            )
        if not 0 <= rate < np.inf:
            raise UsageError(
                f"a learning rate must be 0 or more and finite, but {shown(schedule)} gives {rate} at step {step:g}"
            )


def check_callbacks(callbacks: Any) -> list[Callback]:
    """The callbacks as a list.

    Raises
    ------
    UsageError
        When it is not a list, such as a single callback, or holds something else than callbacks.
    """
    return _check_list("callbacks", callbacks, Callback, "Progress()")


def _check_list(name: str, given: Any, kind: type, such_as: str) -> list[Any]:
    """The elements of an iterable, which must all be of one class."""
    if isinstance(given, (kind, str)) or not isinstance(given, Iterable):
        raise UsageError(f"{name} must be a list, such as [{such_as}], but is {shown(given)}")
    listed = list(given)
    for one in listed:
        if not isinstance(one, kind):
            hint = f"; make one, as in {one.__name__}()" if isinstance(one, type) else ""
            raise UsageError(f"{name} must hold objects of the class {kind.__name__}, but hold {shown(one)}{hint}")
    return listed


def check_whole(name: str, number: Any, least: int) -> int:
    """An argument as a Python int.

    Raises
    ------
    UsageError
        When it is not a whole number, or is below `least`.

    >>> check_whole("seed", 1.5, least=0)
    Traceback (most recent call last):
    anynet.errors.UsageError: seed must be a whole number, 0 or more, but is 1.5
    """
    whole = python_number(number)
    if not isinstance(whole, int) or whole < least:
        raise UsageError(f"{name} must be a whole number, {least} or more, but is {shown(number)}")
    return whole


def check_validation(data: Any) -> tuple[Any, ...]:
    """Validation data as a tuple; a UsageError unless they are (x, y) or (x, y, sample_weight)."""
    if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
        found = f"{len(data)} of them" if isinstance(data, (tuple, list)) else type(data).__name__
        raise UsageError(f"validation_data must be (x, y) or (x, y, sample_weight), but got {found}")
    return tuple(data)


def check_arrays(arrays: Any, layout: Layout, dtype: str, *, complete: bool = True) -> dict[str, Any]:
    """Check arrays of any library for the parameters and buffers of a network; return them as NumPy arrays.

    Raises
    ------
    ShapeError
        When an array does not have the shape of its parameter.
    DataError
        When a value is not a finite number in this dtype.
    UsageError
        When the network has no parameter of a given name or, if `complete`, when one is missing.
    """
    if not isinstance(arrays, Mapping):
        raise UsageError(f"arrays must come by name, as model.parameters has them, but came as {type(arrays).__name__}")
    shapes = layout.shapes((*layout.parameters, *layout.buffers))
    for name in arrays:
        if name not in shapes:
            raise UsageError(unknown("parameter", name, shapes))
    if complete and (missing := [name for name in shapes if name not in arrays]):
        raise UsageError(
            f"there is no array for {', '.join(missing)}; to change some, give {{**model.parameters, name: array}}"
        )
    return {name: _checked(name, array, shapes[name], dtype) for name, array in arrays.items()}


def _checked(name: str, array: Any, shape: tuple[int, ...], dtype: str) -> Any:
    found = to_numpy(array)
    if found.dtype.kind not in "fiub":
        raise DataError(f"{name} must hold numbers, but its dtype is {found.dtype}")
    if found.shape != shape:
        hint = "; transpose it" if found.ndim == len(shape) == 2 and found.T.shape == shape else ""
        raise ShapeError(f"{name} has shape {shape}, but the array for it has {found.shape}{hint}")
    with np.errstate(all="ignore"):
        found = found.astype(dtype)
    if not np.isfinite(found).all():
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(found))[0])
        raise DataError(f"the array for {name} holds {found[at]} at {at}: every value must be a finite {dtype}")
    return found


def _nearest(word: str, classes: Iterable[type]) -> str:
    """The name of the class that was probably meant."""
    names = {cls.__name__.lower(): cls.__name__ for cls in classes}
    plain = "".join(filter(str.isalnum, word.lower()))
    return names[difflib.get_close_matches(plain, names, n=1, cutoff=0)[0]]
