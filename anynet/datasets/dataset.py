"""The data set that every reader returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from anynet.datasets.on_disk import OnDisk
from anynet.errors import shown


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

    >>> import numpy as np
    >>> Dataset("pets", np.zeros((3, 2)), np.asarray([0, 1, 1]), classes=("cat", "dog"))
    Dataset('pets', x: (3, 2) float64, y: (3,) int64, 2 classes)
    """

    name: str
    x: Any
    y: Any = None
    x_test: Any = None
    y_test: Any = None
    classes: tuple[str, ...] | None = None
    features: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        """One line without values, so that large arrays, and arrays on disk, are not read."""
        held = [(name, getattr(self, name)) for name in ("x", "y", "x_test", "y_test")]
        parts = [shown(self.name), *(f"{name}: {_described(array)}" for name, array in held if array is not None)]
        if self.classes is not None:
            parts.append(f"{len(self.classes)} classes")
        return f"Dataset({', '.join(parts)})"


def _described(array: Any) -> str:
    if not hasattr(array, "shape"):
        return shown(array, longest=30)
    return f"{array.shape} {array.dtype}" + (" on disk" if isinstance(array, (OnDisk, np.memmap)) else "")
