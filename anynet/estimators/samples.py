"""Samples, and their split into training and held-out rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split


class Samples(NamedTuple):
    """Inputs, encoded targets, and weights or None."""

    x: Any
    target: Any
    weight: Any = None

    @property
    def arrays(self) -> tuple[Any, ...]:
        return tuple(array for array in self if array is not None)

    def of(self, rows: Any) -> Samples:
        return Samples(*(None if array is None else array[rows] for array in self))


def hold_back(samples: Samples, fraction: float, strata: Any, random: Any) -> tuple[Samples, Samples]:
    """Split samples into training rows and a held-out fraction for early stopping, stratified by `strata`.

    Raises
    ------
    ValueError
        When they cannot be split in this way.
    """
    try:
        rows, kept = train_test_split(
            np.arange(len(samples.x)), random_state=random, test_size=fraction, stratify=strata
        )
    except ValueError as error:
        raise ValueError(
            f"early_stopping cannot hold back {fraction} of {_counted(samples, strata)}; give X_val and y_val, or "
            f"another validation_fraction: {error}"
        ) from None
    if len(kept) < 2:
        raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your dataset.")
    parts = samples.of(rows), samples.of(kept)
    for part, what in zip(parts, ("to train on", "to hold back"), strict=True):
        if part.weight is not None and not part.weight.any():
            raise ValueError(f"early_stopping leaves no sample that weighs anything {what}; give X_val and y_val")
    return parts


def _counted(samples: Samples, strata: Any) -> str:
    """The number of samples, and with strata that of each class, for an error message."""
    rows = f"{len(samples.x)} samples"
    if strata is None:
        return rows
    labels, counts = np.unique(strata, return_counts=True)
    each = (f"{label!r} has {count}" for label, count in zip(labels.tolist(), counts, strict=True))
    return f"{rows} ({', '.join(each)})"
