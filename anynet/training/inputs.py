"""Inputs of a network: an array, or nested dicts of arrays by name, whose rows are the samples."""

from __future__ import annotations

from typing import Any

from anynet.nn.layer import InputShape
from anynet.tracing.trees import leaves, over_dicts, rebuilt


def count_rows(x: Any) -> int:
    """The number of samples."""
    return len(leaves(x)[0])


def shape_of(x: Any) -> InputShape:
    """The shape of a sample, without the batch axis.

    >>> import numpy as np
    >>> shape_of(np.zeros((5, 3))), shape_of({"image": np.zeros((5, 8, 8)), "table": np.zeros((5, 3))})
    ((3,), {'image': (8, 8), 'table': (3,)})
    """
    shape: InputShape = over_dicts(lambda array: tuple(array.shape[1:]), x)
    return shape


def flat(x: Any, *others: Any) -> tuple[Any, ...]:
    """The arrays of x and others as one tuple, as sources and batches have them."""
    return (*leaves(x), *others)


def unflat(indices: Any, batch: tuple[Any, ...]) -> tuple[Any, ...]:
    """Undo `flat` for a network with these `indices`.

    >>> unflat({"image": None, "table": 10}, ("images", "rows", "target"))
    ({'image': 'images', 'table': 'rows'}, 'target')
    """
    rest = iter(batch)
    return (rebuilt(indices, rest), *rest)
