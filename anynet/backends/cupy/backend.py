"""CuPy on a CUDA GPU: steps that are repeated are captured as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from threading import RLock
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary, ref

from anynet.backends.base import Array, Backend, Step, ranks_of
from anynet.backends.compiling import compiled, copied, verify
from anynet.backends.cupy import nccl
from anynet.backends.cupy.cublas import Products
from anynet.backends.cupy.graph import Graph, GraphMemory
from anynet.backends.cupy.step import FusedStep
from anynet.backends.cupy.streams import InTurn, stream_of
from anynet.distributed import Communicator
from anynet.errors import BackendError, shown, warn
from anynet.tracing.trees import leaves, rebuilt

# Each graph keeps memory for all results of its steps.
MOST_GRAPHS = 8


class CuPyBackend(Backend):
    """CuPy through array-api-compat, on one CUDA device: ``cupy:1`` is the second.

    The operations of a training step are fused into a few kernels. The first time, steps are launched one by one. The
    second time, steps of the same shapes and dtypes are captured as a graph, which is replayed from then on. If a
    capture fails, it is not tried again: the steps are launched one by one. Ranks that take steps together all do the
    same: all launch a graph, with NCCL's sums in it, or none does.
    """

    name = "cupy"
    package = "cupy"
    install = 'pip install "cupy-cuda13x[ctk]", or "cupy-cuda12x[ctk]" for a driver of CUDA 12'
    precisions = ("float32", "tf32")
    # A graph keeps the rows of all its steps. With this many, the host is already far ahead of the device.
    steps_at_once = 32

    def __init__(self, device: str | None = None, dtype: str = "float32", precision: str = "float32") -> None:
        super().__init__(device, dtype, precision)
        self._products = Products(self.xp, precision)
        self.xp = namespace(self.xp, self._products)
        # Kernels and graphs are freed with their step, and so with the model.
        self._known: WeakKeyDictionary[Step, _Known] = WeakKeyDictionary()
        self._graph_memory: Callable[[], GraphMemory | None] = lambda: None
        self._lock = RLock()
        with self.device:
            self._stream = stream_of(self)

    @staticmethod
    def load() -> Any:
        import array_api_compat.cupy

        return array_api_compat.cupy

    @classmethod
    def library_version(cls) -> str:
        try:
            import cupy
        except ImportError:
            return ""
        return str(cupy.__version__)

    def find_device(self, device: str | None) -> Any:
        import cupy

        if not cupy.cuda.is_available():
            raise BackendError(
                "backend 'cupy' cannot be used here: CuPy is installed, but finds no usable CUDA GPU",
                "`nvidia-smi` tells whether the driver sees one",
            )
        if device is not None and device not in self.devices():
            raise BackendError(
                f"backend 'cupy' has no device {shown(device)} here (usable: {', '.join(self.devices())})"
            )
        return cupy.cuda.Device(int(device or 0))

    def devices(self) -> list[str]:
        import cupy

        return [str(i) for i in range(cupy.cuda.runtime.getDeviceCount())]

    @contextmanager
    def scope(self) -> Iterator[None]:
        """The device and this backend's own stream, in order with the caller's stream: each waits for the other's work.

        So a model may be made, trained and read under different streams, and its memory is never reused too early.
        """
        import cupy

        with self.device:
            current = cupy.cuda.get_current_stream()
            with nullcontext() if current == self._stream else InTurn(self._stream, current):
                yield

    @staticmethod
    def asnumpy(x: Array) -> Any:
        return x.get()

    @classmethod
    def device_of(cls, x: Any) -> str | None:
        from array_api_compat import is_cupy_array

        return str(x.device.id) if is_cupy_array(x) else None

    def to_numpy(self, x: Array) -> Any:
        with self.scope():
            return super().to_numpy(x)

    def resident_bytes(self) -> float:
        free, _ = self.device.mem_info
        return float(free) / 2

    def run(
        self,
        step: Step,
        state: Any,
        batches: tuple[Array, ...],
        data: tuple[Array, ...] = (),
        *,
        donate: bool = True,
    ) -> tuple[Any, dict[str, Array]]:
        with self._lock, self.scope():
            known = self._known_of(step)
            # Steps that only read get batches of any size, and each size would be compiled.
            fused, warning = self._fused(known, step, state, batches, data) if donate else (None, "")
            state = _apart(state) if fused else state
            graph = self._graph(known, fused, step, state, batches, data)
            if graph:
                return graph.run(state, batches, data)
            result = super().run(fused or step, state, batches, data, donate=donate)
            if warning:
                warn(warning)
            return result

    def _known_of(self, step: Step) -> _Known:
        if step not in self._known:
            comm = ranks_of(step)
            link = nccl.link_of(comm) if comm.ranks > 1 else None
            # Sums through the host cannot be captured.
            self._known[step] = _Known(comm, link, is_refused=comm.ranks > 1 and link is None)
        return self._known[step]

    def _fused(
        self, known: _Known, step: Step, state: Any, batches: tuple[Array, ...], data: Any
    ) -> tuple[FusedStep | None, str]:
        """The fused step, or None if it cannot be fused, with a warning the first time.

        It is used from the first call on, so that the numbers are always the same.
        """
        kept = tuple((x.shape, x.dtype.str, x.flags.c_contiguous) for x in leaves(state))
        kind = kept, _kinds_of_one(batches), _kinds_of_one(data)
        came_before, warning = kind in known.fused, ""
        made = known.fused.pop(kind, None)
        if not came_before:
            made, warning = self._fuse(step, state, batches, data)
            if known.comm.any(made is None):
                made = None
        _keep(known.fused, kind, made)
        return made, warning

    def _fuse(
        self, step: Step, state: Any, batches: tuple[Array, ...], data: tuple[Array, ...]
    ) -> tuple[FusedStep | None, str]:
        def run(fused: FusedStep, state: Any, batches: tuple[Array, ...], data: tuple[Array, ...]) -> Any:
            return Backend.run(self, fused, copied(self, state), batches, data)

        return compiled(self, partial(FusedStep, products=self._products), run, step, state, batches, data)

    def _graph(
        self,
        known: _Known,
        fused: FusedStep | None,
        step: Step,
        state: Any,
        batches: tuple[Array, ...],
        data: tuple[Array, ...],
    ) -> Graph | None:
        """The graph for steps of these shapes and dtypes; None the first time, and if they cannot be captured."""
        kind = fused, tuple((x.shape, x.dtype.str) for x in batches), _kinds_of_one(data)
        came_before = kind in known.graphs
        graph = known.graphs.pop(kind, None)
        if came_before and graph is None and not known.is_refused:
            try:
                graph = self._captured(known, fused or step, state, batches, data, kept=(fused, known.link))
            except Exception as error:
                known.is_refused = True
                reason = f"steps are launched one by one, since no CUDA graph can hold them ({_named(error)})"
                warn(reason)
        _keep(known.graphs, kind, graph)
        return graph

    def _captured(
        self, known: _Known, one: Step, state: Any, batches: tuple[Array, ...], data: tuple[Array, ...], kept: Any
    ) -> Graph:
        given = copied(self, state)
        # Graphs change a copy of the first state, since other threads may still read that state.
        known.state = copied(self, state) if known.state is None else known.state
        memory = self._graph_memory() or GraphMemory()
        self._graph_memory = ref(memory)
        try:
            with known.comm.together():
                graph = Graph(partial(one, self.xp), known.state, batches, data, memory, kept)
            # Steps sum again from here, so all ranks must have come here.
            with known.comm.together():
                _, metrics = graph.run(given, batches, data)
                verify(self, metrics, one, given, batches, data)
        finally:
            for own, array in zip(leaves(known.state), leaves(given), strict=True):
                own[...] = array
        self._give_back_memory()
        return graph

    def _give_back_memory(self) -> None:
        """Free the memory of steps that were launched one by one, since graphs replace them now."""
        import cupy

        cupy.get_default_memory_pool().free_all_blocks(stream=self._stream)

    def all_reduce(self, comm: Communicator, x: Array, out: Array) -> Array:
        """Write the sum of a vector over all ranks to `out`, and return `out`; by NCCL, or else through the host."""
        link = nccl.link_of(comm)
        if link is None:
            return super().all_reduce(comm, x, out)
        nccl.all_reduce(link, self.xp.ascontiguousarray(x), out)
        return out

    def clear_cache(self) -> None:
        with self._lock:
            self._known.clear()

    def synchronize(self) -> None:
        self.device.synchronize()


def namespace(xp: Any, products: Any) -> SimpleNamespace:
    """CuPy's functions, but with `matmul` and `concat` that a stream can capture."""

    def concat(arrays: Any, *, axis: int = 0) -> Array:
        # For more than eight arrays, CuPy's own concat copies their addresses from the host, which cannot be captured.
        if axis != 0 or len({x.dtype for x in arrays}) != 1 or not all(x.ndim for x in arrays):
            return xp.concat(arrays, axis=axis)
        out = xp.empty((sum(x.shape[0] for x in arrays), *arrays[0].shape[1:]), dtype=arrays[0].dtype)
        start = 0
        for x in arrays:
            out[start : start + x.shape[0], ...] = x
            start += x.shape[0]
        return out

    return SimpleNamespace(**{**vars(xp), "matmul": products.matmul, "concat": concat})


@dataclass
class _Known:
    """The cache of one step: fused steps by kind of one batch, and graphs, which share a state, by kind of many."""

    comm: Communicator
    link: Any
    fused: dict[Any, FusedStep | None] = field(default_factory=dict)
    graphs: dict[Any, Graph | None] = field(default_factory=dict)
    state: Any = None
    is_refused: bool = False


def _kinds_of_one(arrays: tuple[Array, ...]) -> Any:
    return tuple((x.shape[1:], x.dtype.str) for x in arrays)


def _apart(state: Any) -> Any:
    """The state with a copy of each repeated array, since the step overwrites each array separately."""
    first: dict[int, int] = {}
    places = enumerate(leaves(state))
    return rebuilt(state, (x if first.setdefault(x.data.ptr, i) == i else x.copy() for i, x in places))


def _keep(few: dict[Any, Any], kind: Any, made: Any) -> None:
    few[kind] = made
    if len(few) > MOST_GRAPHS:
        del few[next(iter(few))]


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
