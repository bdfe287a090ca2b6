"""Contexts that protect an estimator while it is fitted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from anynet.errors import UsageError


@contextmanager
def alone(estimator: Any) -> Iterator[None]:
    """A context in which no other call can train this estimator.

    Raises
    ------
    UsageError
        When another call trains it already.
    """
    call = object()
    if estimator.__dict__.setdefault("_training", call) is not call:
        raise UsageError("this estimator is being fitted already, in a callback or in another thread: fit a clone")
    try:
        yield
    finally:
        del estimator._training


@contextmanager
def restored_on_error(estimator: Any) -> Iterator[None]:
    """A context that restores all attributes after an error; code in it replaces objects, but changes none."""
    before = estimator.__dict__.copy()
    try:
        yield
    except BaseException:
        for name in estimator.__dict__.keys() - before.keys():
            delattr(estimator, name)
        estimator.__dict__.update(before)
        raise
