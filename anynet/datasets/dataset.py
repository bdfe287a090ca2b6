"""What every reader of data gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Dataset:
    """Inputs and targets as NumPy arrays, and what is known about them.

    Attributes
    ----------
    x : array of shape (samples, ...)
    y : array of shape (samples,) or (samples, outputs), or None
        Class numbers where there are `classes`, else values to predict.
    x_test, y_test : arrays, optional
        The part that its authors keep for testing.
    classes : tuple of str, optional
        The name of each class number.
    features : tuple of str, optional
        The name of each column of x.
    """

    name: str
    x: Any
    y: Any = None
    x_test: Any = None
    y_test: Any = None
    classes: tuple[str, ...] | None = None
    features: tuple[str, ...] | None = None
