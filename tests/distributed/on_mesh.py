"""Trains every case on a mesh of so many virtual devices, and prints as JSON how it differs from one process."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
from distributed.ranked import each, farthest, trained

from anynet import Model, nn
from anynet.training import Callback

EPOCHS = 3


class SameBytes(Callback):
    """Looks after each epoch whether every device has the same bytes."""

    def __init__(self) -> None:
        self.devices: set[int] = set()
        self.copies: set[int] = set()

    def on_epoch_end(self, model: Any, record: Any) -> None:
        for array in jax.tree.leaves(model.state):
            shards = [np.asarray(shard.data) for shard in array.addressable_shards]
            self.devices.add(len(shards))
            self.copies.add(len({shard.tobytes() for shard in shards}))


def differences(mesh: Any) -> dict[str, Any]:
    found = {}
    for case in each():
        alone, history = trained(case, None, "numpy", epochs=EPOCHS)
        same = SameBytes()
        model, others = trained(case, mesh, "jax", epochs=EPOCHS, callbacks=(same,))
        found[case.name] = {
            "parameters": farthest(alone, model),
            "measures": max(
                abs(mine[name] - theirs[name])
                for mine, theirs in zip(history, others, strict=True)
                for name in mine
                if "seconds" not in name and name != "samples_per_second"
            ),
            "devices": sorted(same.devices),
            "copies": sorted(same.copies),
        }
    return found


def streamed_is_the_same(mesh: Any) -> bool:
    """Whether rows that are read from a file give the bytes of rows in memory."""
    x = np.random.default_rng(0).normal(size=(70, 4))
    found = []
    with tempfile.TemporaryDirectory() as folder:
        np.save(path := Path(folder) / "x.npy", x)
        for given in (x, np.load(path, mmap_mode="r")):
            model = Model(nn.Linear(2), nn.MSELoss(), nn.SGD(0.1), backend="jax", comm=mesh)
            model.fit(given, x[:, :2], epochs=2, batch_size=16)
            found.append(b"".join(array.tobytes() for array in model.parameters.values()))
    return found[0] == found[1]


if __name__ == "__main__":
    mesh = jax.make_mesh((int(sys.argv[1]),), ("rows",))
    print(json.dumps({"cases": differences(mesh), "streamed": streamed_is_the_same(mesh)}))
