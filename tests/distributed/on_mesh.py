"""Trains every case on a mesh of so many virtual devices, and prints as JSON how it differs from one process."""

from __future__ import annotations

import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from distributed.ranked import each, farthest, trained

from anynet import Model, nn
from anynet.errors import UsageError
from anynet.tracing.trees import leaves
from anynet.training import Callback

EPOCHS = 3


class SameBytes(Callback):
    """Looks after each epoch whether every device has the same bytes, and another thread reads them."""

    def __init__(self) -> None:
        self.devices: set[int] = set()
        self.copies: set[int] = set()
        self.read_elsewhere = True

    def on_epoch_end(self, model: Any, record: Any) -> None:
        for array in leaves(model.state):
            shards = [np.asarray(shard.data) for shard in array.addressable_shards]
            self.devices.add(len(shards))
            self.copies.add(len({shard.tobytes() for shard in shards}))
        with ThreadPoolExecutor(1) as other:
            read = other.submit(lambda: model.parameters).result()
        self.read_elsewhere &= all((read[name] == array).all() for name, array in model.parameters.items())


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
            "read_elsewhere": bool(same.read_elsewhere),
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


def refusals(mesh: Any) -> list[str]:
    """What is said of a batch that cannot be divided, and of a mesh without the device that the backend is on."""
    x = np.zeros((34, 4))
    others = type(mesh)(mesh.devices[1:], ("rows",))
    found = []
    for comm in (mesh, others):
        try:
            Model(nn.Linear(2), nn.MSELoss(), nn.SGD(0.1), backend="jax", comm=comm).fit(x, x[:, :2], batch_size=17)
        except UsageError as error:
            found.append(str(error))
    return found


if __name__ == "__main__":
    import jax

    mesh = jax.make_mesh((int(sys.argv[1]),), ("rows",))
    found = {"cases": differences(mesh), "streamed": streamed_is_the_same(mesh), "refusals": refusals(mesh)}
    print(json.dumps(found))
