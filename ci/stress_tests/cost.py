"""What it costs to be prepared: checkpoints, and looking for what is not finite."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np
from report import Outcome

from anynet import datasets, nn
from anynet.model import Checkpoints, Model, divergence


def measure(root: Path, turns: int) -> Outcome:
    """What a checkpoint every second adds to training on MNIST, turn by turn, and what looking adds to an epoch."""
    outcome = Outcome("cost")
    data = datasets.mnist()
    models = []
    for _ in range(2):
        layers = nn.Rescale(1 / 255), nn.Flatten(), nn.Linear(128), nn.ReLU(), nn.Linear(64), nn.ReLU(), nn.Linear(10)
        models.append(Model(nn.Sequential(*layers), nn.CrossEntropyLoss(), nn.SGD(0.1, momentum=0.9)))
    ratios = []
    for turn in range(turns + 1):
        seconds = [0.0, 0.0]
        for i in (0, 1) if turn % 2 else (1, 0):
            checkpoints = Checkpoints(root / str(turn), every_seconds=1) if i else None
            started = time.perf_counter()
            models[i].fit(data.x, data.y, epochs=3, batch_size=64, checkpoints=checkpoints)
            seconds[i] = time.perf_counter() - started
        ratios.append(seconds[1] / seconds[0])
    started = time.perf_counter()
    for _ in range(100):
        divergence.not_finite(models[0])
    looked = (time.perf_counter() - started) / 100
    losses = np.zeros(64, np.float32)
    started = time.perf_counter()
    for _ in range(1000):
        np.isfinite(losses).all()
    looked += (time.perf_counter() - started) / 1000 * len(data.x) / 64 / 64
    epoch = models[0].fit(data.x, data.y, batch_size=64)[0]["seconds"]
    return outcome.end(
        f"with a checkpoint every second training takes {statistics.median(ratios[1:]):.3f} of the time; "
        f"looking for what is not finite {looked / epoch:.5f} of an epoch"
    )
