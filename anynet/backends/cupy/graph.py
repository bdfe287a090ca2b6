"""Many steps captured once as a CUDA graph, and launched again without the host."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from anynet.backends.base import Array
from anynet.backends.cupy.streams import InTurn, stream_of
from anynet.tracing.trees import leaves, rebuilt


class NotCapturable(TypeError):
    """The step does what a graph cannot hold."""


class GraphMemory:
    """What graphs compute in that are launched one after the other; it is given back when the last of them goes."""

    def __init__(self) -> None:
        import cupy

        self.pool = cupy.cuda.MemoryPool()
        # Of all captures, since a pool gives memory again on the stream where it came free.
        self.stream = stream_of(self)

    def __del__(self) -> None:
        # A pool of CuPy's keeps what it holds when it goes.
        if not sys.is_finalizing():
            self.pool.free_all_blocks()


class Graph:
    """As many steps as the batches hold, on memory that stays where it is.

    The state is changed in place, in the arrays that the graph was made with and that are its own from then on; the
    batches are put into arrays of the graph's own, and so are the metrics. What the steps compute besides lies where
    other graphs of the same memory compute. The same steps must have been taken once before, since neither compiling a
    kernel nor loading one can be captured.

    Parameters
    ----------
    step, state, batches, data
        As `Backend.run` takes them, the step with its namespace given; neither the step nor the data are kept.
    memory : GraphMemory
    kept : object, optional
        What a launch needs besides, such as the kernels.

    Raises
    ------
    NotCapturable
        When the step gives the state's arrays back in other places.
    Exception
        Whatever else CUDA refuses to capture.
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
                # Also after an error: a stream left capturing is of no use to anybody.
                graph = self._stream.end_capture()
        self._graph = graph

    def __del__(self) -> None:
        # The last launch may be under way, and the memory goes only where nothing lies in it any more.
        if not sys.is_finalizing():
            self._stream.synchronize()
            self._graph, self._rows, self._others, self._metrics = None, (), (), {}

    def _take(self, state: Any, metrics: dict[str, Array]) -> None:
        """Capture that a step's new state goes where the old one was; its metrics stay where they are."""
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
        """Take the steps, as `Backend.run` does."""
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
