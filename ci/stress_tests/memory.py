"""Training on and on, and models made and dropped: memory must stay where it was."""

from __future__ import annotations

import gc
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
from apart import Died, each
from report import Outcome

from anynet import nn
from anynet.backends import Backend, select
from anynet.errors import BackendError
from anynet.model import Model

MOST_GROWN = 2 << 20
# By then all that is kept for good is there.
FEW = 100
BATCH = 16
ROWS = FEW * BATCH
X, Y = np.random.default_rng(0).normal(size=(ROWS, 20)), np.arange(ROWS) % 3


def attack(steps: int, models: int, backends: list[str]) -> list[Outcome]:
    """Each on each backend, in a process of its own."""
    outcomes = []
    for what, times, grow in (
        ("steps", steps, _grown_by_steps),
        ("models", models, lambda backend, times: _grown_by_models(backend, times, lambda: backend)),
        ("models, one backend", models, lambda backend, times: _grown_by_models(backend, times, _same(backend))),
    ):
        for backend in backends:
            outcomes.append(_measure(backend, what, times, grow))
    return outcomes


def _same(name: str) -> Callable[[], Backend]:
    """Always the same backend, where a name would make a new one for each model."""
    made: list[Backend] = []

    def backend() -> Backend:
        made[:] = made or [select(name)]
        return made[0]

    return backend


def _measure(backend: str, what: str, times: int, grow: Callable[[str, int], int]) -> Outcome:
    outcome = Outcome(f"memory, {backend}")

    def work(backend: str) -> int | str:
        try:
            return grow(backend, times)
        except BackendError as error:
            return error.reason

    ((_, grown),) = each(work, [backend], patience=1800)
    if isinstance(grown, Died):
        outcome.lose(grown.how)
    if not isinstance(grown, int):
        return outcome.end(f"{times:,} {what}: {grown}")
    if grown > MOST_GROWN:
        outcome.lose(f"{times:,} {what} leave {grown / 2**20:.1f} MiB more memory in use")
    return outcome.end(f"{times:,} {what} leave {grown / 2**20:.1f} MiB more in use than {FEW} of them")


def _grown_by_steps(backend: str, steps: int) -> int:
    model = _new(backend)
    used = []
    for epochs in (1, steps // FEW - 1):
        model.fit(X, Y, batch_size=BATCH, epochs=epochs)
        used.append(_in_use())
    return used[1] - used[0]


def _grown_by_models(name: str, models: int, backend: Callable[[], str | Backend]) -> int:
    used = []
    for times in (FEW, models - FEW):
        for _ in range(times):
            model = _new(backend())
            model.fit(X[:100], Y[:100], batch_size=BATCH)
            model.predict(X[:10])
        used.append(_in_use())
    return used[1] - used[0]


def _new(backend: str | Backend) -> Model:
    network = nn.Sequential(nn.Linear(64), nn.BatchNorm(), nn.ReLU(), nn.Dropout(0.1), nn.Linear(3))
    return Model(network, nn.CrossEntropyLoss(), nn.Adam(), backend=backend)


def _in_use() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
