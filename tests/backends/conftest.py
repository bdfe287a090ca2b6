"""What several files of tests of the backends are given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anynet.backends import select
from anynet.backends.cupy.graph import Graph
from anynet.backends.numpy import lowering, memory


@pytest.fixture
def memory_is_full_of_nonsense(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which shows in whatever reads it before it is written."""
    if "cupy" in request.node.name:
        import cupy

        monkeypatch.setattr(
            cupy, "empty", lambda shape, dtype: cupy.full(shape, 1e30 if np.dtype(dtype).kind == "f" else 99, dtype)
        )
        return
    empty = memory.empty

    def filled(size: int) -> Any:
        room = empty(size)
        room[...] = 99
        return room

    monkeypatch.setattr(memory, "empty", filled)
    # So that small products are added where they lie, too.
    monkeypatch.setattr(lowering, "FEW_NUMBERS", 0)


@pytest.fixture
def gpu() -> Any:
    return select("cupy", "float64")


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    """The graphs that have been launched, in order."""
    launched: list[Graph] = []
    run = Graph.run

    def running(graph: Graph, *arguments: Any) -> Any:
        launched.append(graph)
        return run(graph, *arguments)

    monkeypatch.setattr(Graph, "run", running)
    return launched
