"""Trains in one of two processes, each with two virtual devices, and prints as JSON what came out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from distributed.ranked import Case, each, farthest, trained

from anynet import Model, nn
from anynet.errors import UsageError
from anynet.model.checkpoints import Checkpoints

EPOCHS = 3


def results(rank: int, folder: Path) -> dict[str, Any]:
    import jax

    (case,) = (case for case in each() if case.name == "BatchNorm")
    first, second, third, fourth = jax.devices()
    # The devices of a process need not be neighbours.
    mesh = jax.sharding.Mesh([first, third, fourth, second], ("rows",))
    alone, _ = trained(case, None, "numpy", epochs=EPOCHS)
    checkpoints = Checkpoints(folder / str(rank), every_steps=3, keep=100)
    model, history = trained(case, mesh, "jax", epochs=EPOCHS, checkpoints=checkpoints)
    found = {
        "ranks": [model.comm.rank, model.comm.ranks, model.comm.devices],
        "difference": farthest(alone, model),
        "losses": [record["val_loss"] for record in history],
        "outputs": outputs(case, model),
        "resumed": [],
        "refusals": [refusal(devices) for devices in ([first, second, third], [first, second])],
    }
    for checkpoint in sorted((folder / "0").glob("checkpoint-*"))[:-1]:
        resumed, _ = trained(case, mesh, "jax", epochs=EPOCHS, resume=checkpoint)
        found["resumed"].append(farthest(alone, resumed))
    return found


def outputs(case: Case, model: Model) -> list[float]:
    """Of rows that two processes cannot divide equally."""
    return model.predict(np.linspace(-1, 1, 5 * np.prod(case.shape)).reshape(5, *case.shape)).ravel().tolist()


def refusal(devices: Any) -> str:
    """What a model says of a mesh of these devices; empty where it takes it."""
    import jax

    try:
        Model(nn.Linear(2), nn.MSELoss(), nn.SGD(0.1), backend="jax", comm=jax.sharding.Mesh(devices, ("rows",)))
    except UsageError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    rank, port, folder = sys.argv[1:]
    import jax

    jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=int(rank))
    print(json.dumps(results(int(rank), Path(folder))))
