"""What must be the same on all ranks that train a model together."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import numpy as np

from anynet.errors import UsageError
from anynet.model.base import BaseModel
from anynet.model.host_state import named_arrays
from anynet.training.fit_state import FitState

PARTS = ("network", "loss", "optimizer", "metrics", "clip_norm")
# Of so many rows, spread over the data, the ranks compare the numbers.
COMPARED_ROWS = 64

_REMEDIES = {
    "data": "give every rank all rows, of which each takes its part",
    "weights": "make the model with the same seed on every rank, or load the same file",
}


def check_divides(batch_size: int, count: int, kind: str = "ranks") -> None:
    """Refuse a batch size that cannot be divided equally among so many ranks, or devices.

    >>> check_divides(64, 3)
    Traceback (most recent call last):
    anynet.errors.UsageError: a batch of 64 rows cannot be divided equally among 3 ranks: give a batch_size of 63 or 66
    """
    if rest := batch_size % count:
        near = [size for size in (batch_size - rest, batch_size - rest + count) if size]
        raise UsageError(
            f"a batch of {batch_size} rows cannot be divided equally among {count} {kind}: "
            f"give a batch_size of {' or '.join(map(str, near))}"
        )


def check_same_everywhere(model: BaseModel, fit: FitState, data: tuple[Any, ...], accumulate: int = 1) -> None:
    """Refuse, on all ranks, to train what is not the same on all of them; `data` are arrays of all rows.

    Raises
    ------
    UsageError
        The message says what differs.
    """
    comm = model.comm
    if comm.ranks == 1:
        return
    with comm.together():
        rows = np.unique(np.linspace(0, fit.samples - 1, COMPARED_ROWS).astype(int))
        arrays = named_arrays(model.layout, model.backend, model.state)
        mine = {
            **{name: _without_addresses(repr(getattr(model, name))) for name in PARTS},
            "seed": model.seed,
            "backend": (model.backend.name, model.backend.dtype_name),
            "epochs": (model.epoch, fit.last_epoch),
            "batch_size": fit.batch_size,
            "accumulate": accumulate,
            "resume": (fit.rows, fit.training_id if fit.history or fit.rows else ""),
            "data": (fit.samples, *(_digest(_rows(array, rows)) for array in data)),
            "weights": _digest(*arrays.values()),
        }
    everywhere = comm.gather(mine)
    for name, value in everywhere[0].items():
        if others := [rank for rank, theirs in enumerate(everywhere) if theirs[name] != value]:
            remedy = _REMEDIES.get(name, f"give the same {name} on every rank")
            raise UsageError(f"rank {others[0]} differs from rank 0 in {name}: {remedy}")


def _without_addresses(text: str) -> str:
    """A function's repr has its address, which every process has another of."""
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def _rows(array: Any, rows: Any) -> Any:
    return array.take(rows) if hasattr(array, "parts") else array[rows]


def _digest(*arrays: Any) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
