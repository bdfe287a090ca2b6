"""What a model may be made of, and what may watch it: looked at once, at the door."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, get_args

import numpy as np

from anynet.errors import UsageError, shown, unknown
from anynet.nn import LOSSES, OPTIMIZERS
from anynet.nn.checks import check_layer, check_part, python_number
from anynet.nn.losses import TargetKind
from anynet.training.callbacks import Callback


def check_parts(network: object, loss: object, optimizer: object) -> None:
    """Refuse what no model can be made of.

    Raises
    ------
    UsageError
        When one of them is none; the message says what to give instead.

    >>> from anynet.nn import SGD, Linear
    >>> check_parts(Linear(1), "mse", SGD(0.1))
    Traceback (most recent call last):
    anynet.errors.UsageError: the loss is 'mse': give one of anynet.nn, such as MSELoss()
    """
    check_layer(network, "the network")
    check_loss(loss)
    check_optimizer(optimizer)


def check_loss(loss: Any) -> None:
    """Refuse what is no loss."""
    if isinstance(loss, str):
        raise UsageError(f"the loss is {shown(loss)}: give one of anynet.nn, such as {_nearest(loss, LOSSES)}()")
    check_part(loss, "the loss", "loss", ("target_kind", "__call__"), "MSELoss()")
    if loss.target_kind not in get_args(TargetKind):
        raise UsageError(unknown("target_kind of a loss", loss.target_kind, get_args(TargetKind)))


def check_optimizer(optimizer: Any) -> None:
    """Refuse what is no optimizer, or has a learning rate that is none."""
    if isinstance(optimizer, str):
        such_as = _nearest(optimizer, OPTIMIZERS)
        raise UsageError(f"the optimizer is {shown(optimizer)}: give one of anynet.nn, such as {such_as}(lr=0.01)")
    check_part(optimizer, "the optimizer", "optimizer", ("lr", "weight_decay", "init", "update"), "SGD(lr=0.1)")
    if callable(optimizer.lr):
        check_schedule(optimizer.lr)
    elif python_number(optimizer.lr) is None:
        raise UsageError(f"the optimizer's lr must be a number or a schedule, but is {shown(optimizer.lr)}")
    if python_number(optimizer.weight_decay) is None:
        raise UsageError(f"the optimizer's weight_decay must be a number, but is {shown(optimizer.weight_decay)}")


def check_schedule(schedule: Any) -> None:
    """Refuse what is no schedule, as two calls of it on NumPy show.

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
        When it is no list of them, but one alone, or holds something else.
    """
    if isinstance(callbacks, (Callback, str)) or not isinstance(callbacks, Iterable):
        raise UsageError(f"callbacks must be a list, such as [Progress()], but is {shown(callbacks)}")
    listed = list(callbacks)
    for callback in listed:
        if not isinstance(callback, Callback):
            hint = f"; make one, as in {callback.__name__}(...)" if isinstance(callback, type) else ""
            raise UsageError(f"callbacks must hold objects of the class Callback, but hold {shown(callback)}{hint}")
    return listed


def check_whole(name: str, number: Any, least: int) -> int:
    """A setting of a call as a whole number of Python.

    Raises
    ------
    UsageError
        When it is none, or below `least`.

    >>> check_whole("seed", 1.5, least=0)
    Traceback (most recent call last):
    anynet.errors.UsageError: seed must be a whole number, 0 or more, but is 1.5
    """
    whole = python_number(number)
    if not isinstance(whole, int) or whole < least:
        raise UsageError(f"{name} must be a whole number, {least} or more, but is {shown(number)}")
    return whole


def _nearest(word: str, classes: Iterable[type]) -> str:
    """The name of the class that was probably meant."""
    names = {cls.__name__.lower(): cls.__name__ for cls in classes}
    plain = "".join(filter(str.isalnum, word.lower()))
    return names[difflib.get_close_matches(plain, names, n=1, cutoff=0)[0]]
