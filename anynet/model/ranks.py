"""What must be the same on all ranks that train a model together."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import numpy as np

from anynet.distributed import Communicator
from anynet.errors import UsageError
from anynet.model.base import BaseModel
from anynet.tracing.trees import leaves
from anynet.training.fit_state import FitState
from anynet.training.sources import take

PARTS = ("network", "loss", "optimizer", "metrics", "clip_norm", "clip_value", "seed")
# Of so many rows, spread over the data, the ranks compare the numbers.
COMPARED_ROWS = 64

_REMEDIES = {
    "data": "give every rank all rows, of which each takes its part",
    "weights": "make the model with the same seed on every rank, or load the same file",
}


def check_divides(batch_size: int, comm: Communicator) -> None:
    """Refuse a batch size that cannot be divided equally among the ranks, or their devices.

    >>> from anynet.distributed import run_threads
    >>> run_threads(3, lambda comm: check_divides(64, comm))
    Traceback (most recent call last):
    anynet.errors.UsageError: a batch of 64 rows cannot be divided equally among 3 ranks: give a batch_size of 63 or 66
    """
    count = comm.devices
    if rest := batch_size % count:
        kind = "ranks" if count == comm.ranks else "devices"
        near = [size for size in (batch_size - rest, batch_size - rest + count) if size]
        raise UsageError(
            f"a batch of {batch_size} rows cannot be divided equally among {count} {kind}: "
            f"give a batch_size of {' or '.join(map(str, near))}"
        )


def check_same_everywhere(model: BaseModel, fit: FitState, data: tuple[Any, ...], settings: dict[str, Any]) -> None:
    """Refuse, on all ranks, to train what is not the same on all of them.

    Parameters
    ----------
    model : BaseModel
        Inside its context ``training``.
    fit : FitState
    data : tuple of arrays
        Of all rows.
    settings : dict
        By the name that the message gives; they are compared by their repr.

    Raises
    ------
    UsageError
        The message says what differs.
    """
    comm = model.comm
    if comm.ranks == 1:
        return
    with comm.together():
        parts = {name: getattr(model, name) for name in PARTS}
        mine = {
            **{name: _without_addresses(repr(part)) for name, part in {**parts, **settings}.items()},
            "backend": (model.backend.name, model.backend.dtype_name, model.backend.precision),
            "epochs": (model.epoch, fit.last_epoch),
            "batch_size": fit.batch_size,
            "resume": (fit.rows, fit.training_id if fit.history or fit.rows else ""),
            "data": digest_of_rows(data),
            "weights": digest_of_state(model),
        }
    everywhere = comm.gather(mine)
    for name, value in everywhere[0].items():
        if others := [rank for rank, theirs in enumerate(everywhere) if theirs[name] != value]:
            remedy = _REMEDIES.get(name, f"give the same {name} on every rank")
            raise UsageError(f"rank {others[0]} differs from rank 0 in {name}: {remedy}")


def _without_addresses(text: str) -> str:
    """A function's repr has its address, which every process has another of."""
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def check_same_state(model: BaseModel) -> None:
    """Refuse, on all ranks, to go on if they have come to different weights.

    Raises
    ------
    UsageError
        When a callback has put other weights on one rank than on another, or processors round differently.
    """
    if model.comm.ranks > 1 and len(set(model.comm.gather(digest_of_state(model)))) > 1:
        raise UsageError(
            f"the ranks have different weights after epoch {model.epoch}: a callback that changes them must run on all "
            "ranks, and these on processors of one kind"
        )


def digest_of_rows(data: tuple[Any, ...] | None) -> str:
    """A digest of the shapes of arrays, and of some of their rows."""
    if data is None:
        return ""
    digest = hashlib.sha256()
    for array in leaves(data):
        rows = np.unique(np.linspace(0, len(array) - 1, COMPARED_ROWS).astype(int))
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(take(array, rows)).tobytes())
    return digest.hexdigest()


def digest_of_state(model: BaseModel) -> str:
    """A digest of the weights, the buffers, and the optimizer state."""
    digest = hashlib.sha256()
    for array in leaves(model.read_state()):
        digest.update(np.ascontiguousarray(model.backend.to_numpy(array)).tobytes())
    return digest.hexdigest()
