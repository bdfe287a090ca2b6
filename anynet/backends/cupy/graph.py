"""Many steps, captured once as a CUDA graph, and replayed with one launch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from anynet.backends.base import Array
from anynet.backends.cupy.streams import InTurn, stream_of
from anynet.tracing.trees import leaves, rebuilt


class NotCapturable(TypeError):
    """The step does something that a graph cannot capture."""


class GraphMemory:
    """Memory that is shared by graphs that are launched one after the other, and freed with the last of them."""

    def __init__(self) -> None:
        import cupy

        self.pool = cupy.cuda.MemoryPool()
        # One stream for all captures, since a pool reuses memory only on the stream that freed it.
        self.stream = stream_of(self)

    def __del__(self) -> None:
        # CuPy does not free the blocks of a pool that is deleted.
        if not sys.is_finalizing():
            self.pool.free_all_blocks()


class Graph:
    """A CUDA graph of as many steps as the batches hold, on memory that does not move.

    The graph changes its state in place: the arrays that it was made with belong to the graph from then on. Batches are
    copied into arrays of the graph, and metrics are in arrays of the graph, too. Other results of the steps use memory
    that graphs of the same `memory` share. The same steps must have run once before, since compiling or loading a
    kernel cannot be captured.

    Parameters
    ----------
    step, state, batches, data
        As for `Backend.run`, but the step is ``(state, batch) -> (state, metrics)``. Step and data are not kept.
    memory : GraphMemory
    kept : object, optional
        Anything else that a launch needs, such as the kernels; the graph keeps it alive.

    Raises
    ------
    NotCapturable
        When the new state has the old one's arrays in other places, or other shapes or dtypes.
    Exception
        When CUDA refuses to capture something else.
    """

    def __init__(
        self,
        step: Callable[[Any, Any], Any],
        state: Any,
        batches: tuple[Array, ...],
        data: tuple[Array, ...],
        memory: GraphMemory,
        kept: Any = None,
    ) -> None:
        import cupy

        self._kept = kept
        self._memory = memory
        self._stream = memory.stream
        self._state = leaves(state)
        self._metrics: dict[str, list[Array]] = {}
        shapes = [(*batches[0].shape, *array.shape[1:]) for array in data]
        others = batches[1:] if data else batches
        in_turn = InTurn(self._stream, cupy.cuda.get_current_stream())
        with cupy.cuda.using_allocator(memory.pool.malloc), in_turn:
            self._rows = tuple(cupy.empty(shape, x.dtype) for shape, x in zip(shapes, data, strict=True))
            self._others = tuple(cupy.empty(array.shape, array.dtype) for array in others)
            self._stream.begin_capture()
            try:
                for i in range(len(batches[0])):
                    batch = tuple(array[i, ...] for array in (*self._rows, *self._others))
                    self._take(*step(state, batch))
            finally:
                # Also after an error, since a stream that is still capturing cannot be used.
                graph = self._stream.end_capture()
        self._graph = graph

    def __del__(self) -> None:
        # The last launch may still run. Also, the pool can free only memory whose arrays are gone.
        if not sys.is_finalizing():
            self._stream.synchronize()
            self._graph, self._rows, self._others, self._metrics = None, (), (), {}

    def _take(self, state: Any, metrics: dict[str, Array]) -> None:
        """Capture the copy of a step's new state to the old one's arrays; its metrics stay where they are."""
        there = leaves(state)
        moved = [(old, new) for old, new in zip(self._state, there, strict=True) if new is not old]
        addresses = {old.data.ptr for old in self._state}
        if any(new.data.ptr in addresses or new.shape != old.shape or new.dtype != old.dtype for old, new in moved):
            raise NotCapturable("a state that changes places, shapes or dtypes")
        for name, value in metrics.items():
            self._metrics.setdefault(name, []).append(value)
        for old, new in moved:
            old[...] = new

    def run(self, state: Any, batches: tuple[Array, ...], data: tuple[Array, ...]) -> tuple[Any, dict[str, Array]]:
        """Launch the graph for these batches, as `Backend.run` does for plain steps."""
        import cupy

        others = batches[1:] if data else batches
        for own, array in zip((*self._state, *self._others), (*leaves(state), *others), strict=True):
            if own is not array:
                own[...] = array
        for own, array in zip(self._rows, data, strict=True):
            cupy.take(array, batches[0], axis=0, out=own)
        self._stream = cupy.cuda.get_current_stream()
        self._graph.launch(self._stream)
        metrics = {name: cupy.stack(values) for name, values in self._metrics.items()}
        return rebuilt(state, iter(self._state)), metrics
