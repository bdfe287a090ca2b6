"""Random generators: NumPy's PCG64 on the host, one for each purpose, independent of each other."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

Purpose: TypeAlias = Literal["weights", "order", "split"]
_PURPOSES: tuple[Purpose, ...] = ("weights", "order", "split")


def generator(seed: int, purpose: Purpose, *position: int) -> np.random.Generator:
    """The generator for a purpose; for the order of rows, `position` is the epoch, so any epoch can be redrawn.

    >>> bool(generator(0, "order", 3).random() == generator(0, "order", 3).random())
    True
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_PURPOSES.index(purpose), *position)))
