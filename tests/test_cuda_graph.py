"""What the CuPy backend adds, on a pretended GPU: NumPy's memory, and streams that note down what they capture.

That CUDA itself does as it is pretended here, only a GPU can tell: `ci/gpu`.
"""

from __future__ import annotations

import ctypes
import sys
import weakref
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from anynet import Model
from anynet.backends import cublas
from anynet.backends.cublas import gemm_of
from anynet.backends.cupy import CuPyBackend
from anynet.backends.memory import Memory
from anynet.backends.numpy import NumPyBackend
from anynet.backends.replay import Note, NotReplayable, Traced
from anynet.errors import BackendError
from anynet.nn import SGD, Adam, CrossEntropyLoss, Linear, LinearDecay, ReLU, Rescale, Sequential


class Gpu:
    """One stream's captures: while it captures, calls are noted, and memory is put back as it was in the end."""

    def __init__(self) -> None:
        self.notes: list[Note] = []
        self.capturing = False
        self.captures = self.captured = self.launches = 0
        self.arrays: weakref.WeakSet[Held] = weakref.WeakSet()

    def begin(self) -> None:
        self.capturing = True
        self.notes.clear()
        self.before = [(x.array, x.array.copy()) for x in self.arrays]

    def end(self) -> Any:
        self.capturing = False
        self.captures += 1
        self.captured = len(self.notes)
        notes = list(self.notes)
        for array, values in self.before:
            array[...] = values

        def launch(stream: Any) -> None:
            self.launches += 1
            for note in notes:
                note.call()

        return SimpleNamespace(launch=launch)


class Held(Traced):
    """An array in the pretended GPU's memory."""

    __slots__ = ("__weakref__", "gpu")
    __hash__ = object.__hash__

    def __init__(self, array: Any, gpu: Gpu, room: Any = None) -> None:
        super().__init__(array, gpu.notes, Memory(), room)
        self.gpu = gpu
        gpu.arrays.add(self)

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.array.ctypes.data)

    @property
    def itemsize(self) -> int:
        return int(self.array.itemsize)

    @property
    def strides(self) -> tuple[int, ...]:
        return tuple(self.array.strides)

    def copy(self) -> Held:
        return Held(self.array.copy(), self.gpu)

    def __setitem__(self, key: Any, value: Any) -> None:
        target, source = self.array[key], self._array(value)
        target[...] = source
        self.notes.append(Note(lambda: target.__setitem__(..., source)))

    def _note(self, *arguments: Any) -> Held:
        traced = super()._note(*arguments)
        return Held(traced.array, self.gpu, traced.room)

    def _of(self, view: Any) -> Held:
        return Held(view, self.gpu, self.room)

    def _array(self, value: Any) -> Any:
        return value if isinstance(value, np.ndarray) else super()._array(value)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    gpu = Gpu()

    class Stream:
        ptr = 7

        def __init__(self, non_blocking: bool) -> None:
            assert non_blocking, "CUDA captures no stream that others wait for"

        begin_capture = staticmethod(gpu.begin)
        end_capture = staticmethod(gpu.end)
        record = wait_event = __enter__ = __exit__ = lambda *_: None

    @contextmanager
    def using_allocator(malloc: Any) -> Any:
        yield

    cuda = SimpleNamespace(
        Stream=Stream,
        MemoryPool=lambda: SimpleNamespace(malloc=None),
        using_allocator=using_allocator,
        get_current_stream=lambda: Stream(non_blocking=True),
        alloc=lambda size: SimpleNamespace(ptr=0),
    )

    def take(x: Held, rows: Held, axis: int, out: Held) -> None:
        assert not gpu.capturing
        np.take(x.array, rows.array, axis=axis, out=out.array)

    def empty(shape: Any, dtype: Any) -> Held:
        return Held(np.zeros(shape, dtype), gpu)

    cupy = SimpleNamespace(cuda=cuda, ndarray=Held, take=take, empty=empty)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(cublas, "load", lambda: PretendedCuBLAS(gpu))
    return gpu


class PretendedCuBLAS:
    """Products of matrices that lie columns first, at addresses."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu

    def __getattr__(self, name: str) -> Any:
        return lambda *_: 0

    def cublasSgemm_v2(self, *arguments: Any) -> int:
        return self._gemm(ctypes.c_float, *arguments)

    def cublasDgemm_v2(self, *arguments: Any) -> int:
        return self._gemm(ctypes.c_double, *arguments)

    def _gemm(self, number: Any, _: Any, *arguments: Any) -> int:
        ta, tb, m, n, k, _, a, lda, b, ldb, _, c, ldc = (getattr(value, "value", value) for value in arguments)

        def columns_first(address: int, rows: int, columns: int, leading: int) -> Any:
            there = ctypes.cast(address, ctypes.POINTER(number))
            flat = np.ctypeslib.as_array(there, (leading * (columns - 1) + rows,))
            return np.lib.stride_tricks.as_strided(flat, (rows, columns), (flat.itemsize, leading * flat.itemsize))

        left = columns_first(a, k, m, lda).T if ta else columns_first(a, m, k, lda)
        right = columns_first(b, n, k, ldb).T if tb else columns_first(b, k, n, ldb)
        out = columns_first(c, m, n, ldc)
        out[...] = left @ right
        self.gpu.notes.append(Note(lambda: out.__setitem__(..., left @ right)))
        return 0


class Pretended(CuPyBackend):
    """The CuPy backend, given the pretended GPU's arrays for CuPy's."""

    gpu: Gpu

    @staticmethod
    def load() -> Any:
        gpu = Pretended.gpu

        def made(function: Any) -> Any:
            return lambda *arguments, device=None, **options: Held(np.asarray(function(*arguments, **options)), gpu)

        def asarray(x: Any, *, device: Any = None, copy: Any = None) -> Held:
            return Held(np.array(x.array if isinstance(x, Held) else x), gpu)

        def astype(x: Held, dtype: Any) -> Any:
            return x.astype(dtype)

        def stack(arrays: list[Held]) -> Held:
            return Held(np.stack([x.array for x in arrays]), gpu)

        replaced = {name: made(getattr(np, name)) for name in ("zeros", "ones", "empty", "full", "arange")}
        return SimpleNamespace(
            **{**vars(NumPyBackend.load()), **replaced, "asarray": asarray, "astype": astype, "stack": stack}
        )

    def find_device(self, device: str | None) -> Any:
        return nullcontext()

    def resident_bytes(self) -> float:
        return np.inf

    def to_numpy(self, x: Any) -> Any:
        return x.array.copy() if isinstance(x, Held) else np.asarray(x)


X = np.random.default_rng(0).normal(size=(70, 5))
Y = (X.sum(axis=1) > 0).astype(np.int64)


def model_on(backend: Any, optimizer: Any = None) -> Model:
    network = Sequential(Linear(6), ReLU(), Linear(2))
    return Model(network, CrossEntropyLoss(), optimizer or SGD(0.1, momentum=0.9), backend=backend)


@pytest.fixture
def pretended(gpu: Gpu) -> Pretended:
    Pretended.gpu = gpu
    return Pretended(dtype="float64")


@pytest.mark.parametrize("optimizer", [SGD(0.1), SGD(LinearDecay(0.1, 100), momentum=0.9), Adam(weight_decay=0.1)])
def test_steps_that_come_again_are_launched_as_a_graph_and_train_as_one_by_one(pretended: Any, optimizer: Any) -> None:
    ours, reference = model_on(pretended, optimizer), model_on("numpy", optimizer)
    reference = Model(reference.network, reference.loss, optimizer, dtype="float64")
    losses = [[r["loss"] for r in m.fit(X, Y, epochs=5, batch_size=16)] for m in (ours, reference)]
    np.testing.assert_allclose(*losses, rtol=1e-12)
    for name, array in reference.parameters.items():
        np.testing.assert_allclose(ours.parameters[name], array, rtol=1e-11, atol=1e-13)
    # Whole batches and the shorter last one: each one by one in the first epoch, captured in the second.
    assert (pretended.gpu.captures, pretended.gpu.launches) == (2, 8)


def test_other_data_another_size_of_batch_and_two_models_each_have_their_graph(pretended: Any) -> None:
    for other in (model_on(pretended), model_on(pretended)):
        reference = Model(other.network, other.loss, other.optimizer, dtype="float64")
        for x, batch_size in ((X, 16), (X[:32], 16), (X, 35)):
            for model in (other, reference):
                model.fit(x, Y[: len(x)], epochs=3, batch_size=batch_size)
        for name, array in reference.parameters.items():
            np.testing.assert_allclose(other.parameters[name], array, rtol=1e-11, atol=1e-13)


def test_a_graph_goes_when_its_model_goes(pretended: Any) -> None:
    model = model_on(pretended)
    model.fit(X, Y, epochs=3, batch_size=16)
    assert len(pretended._graphs) == 1
    del model
    assert len(pretended._graphs) == 0


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize(("optimizer", "most"), [(SGD(0.1), 28), (SGD(0.1, momentum=0.9), 30), (Adam(), 49)])
def test_a_step_issues_no_more_kernels_than_its_budget(pretended: Any, optimizer: Any, most: int, layers: int) -> None:
    hidden = [layer for _ in range(layers) for layer in (Linear(64), ReLU())]
    model = Model(Sequential(Rescale(1 / 255), *hidden, Linear(10)), CrossEntropyLoss(), optimizer, backend=pretended)
    model.fit(np.zeros((32, 784), np.uint8), np.arange(32) % 10, batch_size=32, epochs=2)
    assert pretended.gpu.captures == 1
    assert pretended.gpu.captured <= most + 11 * layers


def test_predictions_of_one_launch_outlive_the_next(pretended: Any) -> None:
    model = model_on(pretended)
    first = model.predict(X)
    assert all(np.array_equal(first, model.predict(X)) for _ in range(3))
    assert pretended.gpu.launches


def test_a_step_that_cannot_be_captured_is_taken_one_by_one_and_that_is_said_once(pretended: Any) -> None:
    def step(state: Any, batch: Any) -> Any:
        if pretended.gpu.capturing:
            raise NotReplayable("read on the host")
        return state + batch[0], {"sum": state + batch[0]}

    batches = (pretended.asarray(np.arange(3.0)),)
    state, _ = pretended.run(step, pretended.asarray(np.asarray(0.0)), batches)
    with pytest.warns(UserWarning, match="one by one.*read on the host"):
        state, _ = pretended.run(step, state, batches)
    state, metrics = pretended.run(step, state, batches)
    np.testing.assert_array_equal(pretended.to_numpy(metrics["sum"]), [6, 7, 9])
    assert not pretended.gpu.capturing


def test_a_state_that_changes_places_is_not_captured(pretended: Any) -> None:
    def step(state: Any, batch: Any) -> Any:
        return (state[1], state[0]), {"first": state[0] + batch[0]}

    state = tuple(pretended.asarray(np.asarray(x)) for x in (1.0, 2.0))
    batches = (pretended.asarray(np.zeros(3)),)
    state, _ = pretended.run(step, state, batches)
    with pytest.warns(UserWarning, match="changes places"):
        _, metrics = pretended.run(step, state, batches)
    np.testing.assert_array_equal(pretended.to_numpy(metrics["first"]), [2, 1, 2])


def test_an_interrupt_while_capturing_leaves_no_stream_capturing(pretended: Any) -> None:
    def step(state: Any, batch: Any) -> Any:
        if pretended.gpu.capturing:
            raise KeyboardInterrupt
        return state, {"sum": state + batch[0]}

    arguments = step, pretended.asarray(np.asarray(0.0)), (pretended.asarray(np.zeros(3)),)
    pretended.run(*arguments)
    with pytest.raises(KeyboardInterrupt):
        pretended.run(*arguments)
    assert not pretended.gpu.capturing


LAYOUTS = {
    "in order": lambda x: x,
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "some columns of a wider one": lambda x: np.hstack([x, x])[:, : x.shape[1]],
    "every second row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "in no order of cuBLAS's": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "backwards": lambda x: x[::-1].copy()[::-1],
}


@pytest.mark.parametrize("shapes", [((4, 3), (3, 5)), ((1, 3), (3, 1)), ((4, 1), (1, 5)), ((1, 1), (1, 1))])
@pytest.mark.parametrize("left", LAYOUTS)
@pytest.mark.parametrize("right", LAYOUTS)
def test_matrices_of_any_layout_are_multiplied_by_a_library_that_takes_columns_first(
    gpu: Gpu, shapes: Any, left: str, right: str
) -> None:
    generator = np.random.default_rng(0)
    x, y = (LAYOUTS[how](generator.normal(size=shape)) for how, shape in zip((left, right), shapes, strict=True))
    gemm = gemm_of(x, y, np.ascontiguousarray)
    out = np.full((gemm.n, gemm.m), np.nan)
    a, b = gemm.a, gemm.b
    PretendedCuBLAS(gpu).cublasDgemm_v2(
        None, a.transposed, b.transposed, gemm.m, gemm.n, gemm.k, 1.0,
        a.array.ctypes.data, a.leading, b.array.ctypes.data, b.leading, 0.0, out.ctypes.data, gemm.m,
    )  # fmt: skip
    np.testing.assert_allclose(out, x @ y, rtol=1e-12)


def test_a_failure_of_cublas_says_what_it_was_about() -> None:
    with pytest.raises(RuntimeError, match="could not multiply matrices: its status is 13"):
        cublas._check(13, "multiply matrices")


def test_more_than_eight_arrays_are_joined_without_the_host(pretended: Any) -> None:
    parts = [pretended.asarray(np.full((i, 2), float(i))) for i in range(1, 11)]
    joined = pretended.to_numpy(pretended.xp.concat(parts))
    np.testing.assert_array_equal(joined, np.concatenate([x.array for x in parts]))


def test_tf32_is_refused_where_there_is_none() -> None:
    with pytest.raises(BackendError, match="the precision of backend 'numpy' must be float32, but is 'tf32'"):
        Model(Linear(1), CrossEntropyLoss(), SGD(0.1), backend="numpy").backend.__class__(precision="tf32")
