"""Whatever stream, memory, device and threads a program has around it, CuPy trains to the same bytes."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest

from anynet import Model, nn
from anynet.backends import select
from anynet.training import Callback

pytestmark = pytest.mark.needs("cupy")
two_devices = pytest.mark.needs("cupy:1")

X = np.random.default_rng(0).normal(size=(256, 6)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int32)


def new_model(backend: Any = "cupy") -> Model:
    layers = nn.Linear(16), nn.BatchNorm(), nn.ReLU(), nn.Dropout(0.2), nn.Linear(2)
    return Model(nn.Sequential(*layers), nn.CrossEntropyLoss(), nn.Adam(0.01), backend=backend)


def fit(model: Model, x: Any = X, y: Any = Y, epochs: int = 4) -> Model:
    model.fit(x, y, epochs=epochs, batch_size=16)
    return model


def contents(model: Model) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in model.parameters.items()}


@pytest.fixture(scope="module")
def alone() -> dict[str, bytes]:
    return contents(fit(new_model()))


@contextmanager
def a_pool_of_ones_own() -> Iterator[None]:
    import cupy

    with cupy.cuda.using_allocator(cupy.cuda.MemoryPool().malloc):
        yield


@contextmanager
def unified_memory() -> Iterator[None]:
    import cupy

    with cupy.cuda.using_allocator(cupy.cuda.MemoryPool(cupy.cuda.malloc_managed).malloc):
        yield


@contextmanager
def memory_in_the_order_of_streams() -> Iterator[None]:
    import cupy

    with cupy.cuda.using_allocator(cupy.cuda.MemoryAsyncPool().malloc):
        yield


@contextmanager
def no_pool() -> Iterator[None]:
    import cupy

    with cupy.cuda.using_allocator(None):
        yield


@contextmanager
def no_pool_of_pinned_memory() -> Iterator[None]:
    import cupy

    cupy.cuda.set_pinned_memory_allocator(None)
    try:
        yield
    finally:
        cupy.cuda.set_pinned_memory_allocator(cupy.cuda.PinnedMemoryPool().malloc)


@contextmanager
def a_stream() -> Iterator[None]:
    import cupy

    with cupy.cuda.Stream():
        yield


@contextmanager
def a_stream_that_waits_for_none() -> Iterator[None]:
    import cupy

    with cupy.cuda.Stream(non_blocking=True):
        yield


@contextmanager
def another_thread_that_computes() -> Iterator[None]:
    import cupy

    over = threading.Event()

    def compute() -> None:
        while not over.is_set():
            cupy.ones(100) + 1

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


SURROUNDINGS = [
    a_pool_of_ones_own,
    unified_memory,
    memory_in_the_order_of_streams,
    no_pool,
    no_pool_of_pinned_memory,
    a_stream,
    a_stream_that_waits_for_none,
    another_thread_that_computes,
]


@pytest.mark.parametrize("around", SURROUNDINGS)
def test_training_has_the_same_bytes_within(around: Callable[[], Any], alone: dict[str, bytes]) -> None:
    with around():
        model = fit(new_model())
    assert contents(model) == alone


@pytest.mark.parametrize("around", [a_stream, a_stream_that_waits_for_none])
def test_a_model_may_be_made_trained_and_read_under_different_streams(
    around: Callable[[], Any], alone: dict[str, bytes]
) -> None:
    model = new_model().build((6,))
    with around():
        fit(model, epochs=2)
    fit(model, epochs=2)
    with around():
        assert contents(model) == alone


def test_what_a_backend_gives_is_there_for_whichever_stream_reads_it() -> None:
    import cupy

    gpu = select("cupy")
    x = gpu.asarray(np.arange(6.0))
    for _ in range(3):
        _, found = gpu.run(lambda xp, state, batch: (state, {"twice": batch[0] * 2}), (), (x,))
        np.testing.assert_array_equal(cupy.asnumpy(found["twice"]), np.arange(6) * 2)


LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "on the device": lambda x: x,
    "every second column": lambda x: x.repeat(2, axis=1)[:, ::2],
    "columns first": lambda x: x.T.copy().T,
    "backwards": lambda x: x[::-1].copy()[::-1],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_data_may_lie_anyhow(layout: str, alone: dict[str, bytes]) -> None:
    import cupy

    assert contents(fit(new_model(), LAYOUTS[layout](cupy.asarray(X)), cupy.asarray(Y))) == alone


@pytest.mark.parametrize("shared", [True, False])
def test_several_threads_train_at_once(shared: bool, alone: dict[str, bytes]) -> None:
    backend = select("cupy")
    models = [new_model(backend if shared else "cupy") for _ in range(3)]
    with ThreadPoolExecutor(3) as threads:
        assert all(contents(model) == alone for model in threads.map(fit, models))


def test_a_pickle_trains_on_as_the_model_does() -> None:
    model = fit(new_model(), epochs=2)
    again = pickle.loads(pickle.dumps(model)).on(select("cupy"))
    assert contents(fit(again)) == contents(fit(model))


def test_an_interrupt_between_launches_leaves_a_model_that_trains_on() -> None:
    class Interrupting(Callback):
        def on_batches_end(self, model: Model, samples: int) -> None:
            raise KeyboardInterrupt

    model = fit(new_model(), epochs=2)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, batch_size=16, callbacks=[Interrupting()])
    assert np.isfinite(fit(model).evaluate(X, Y)["loss"])


def test_memory_that_runs_out_leaves_the_model_and_the_device_usable(alone: dict[str, bytes]) -> None:
    import cupy

    model = fit(new_model())
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    pool.set_limit(size=pool.total_bytes() + (1 << 16))
    filler = []
    with suppress(cupy.cuda.memory.OutOfMemoryError), model.backend.scope():
        while True:
            filler.append(cupy.empty(1 << 18, np.uint8))
    try:
        with pytest.raises(cupy.cuda.memory.OutOfMemoryError):
            model.predict(np.zeros((100_000, 6), np.float32))
    finally:
        pool.set_limit(size=0)
    assert contents(model) == alone
    assert model.predict(X).shape == (256, 2)


def test_a_model_may_go_while_its_graph_runs() -> None:
    for _ in range(3):
        fit(new_model())
    fit(new_model())


@two_devices
class TestTwoDevices:
    def test_the_second_computes_as_the_first(self, alone: dict[str, bytes]) -> None:
        assert contents(fit(new_model("cupy:1"))) == alone

    def test_whichever_is_the_programs_own(self, alone: dict[str, bytes]) -> None:
        import cupy

        model = new_model("cupy:0")
        with cupy.cuda.Device(1):
            assert contents(fit(model)) == alone
            assert cupy.cuda.Device().id == 1

    def test_a_model_moves_from_one_to_the_other(self, alone: dict[str, bytes]) -> None:
        assert contents(fit(new_model("cupy:0")).on(select("cupy:1"))) == alone

    def test_both_train_at_once(self, alone: dict[str, bytes]) -> None:
        with ThreadPoolExecutor(2) as threads:
            models = threads.map(fit, [new_model("cupy:0"), new_model("cupy:1")])
            assert all(contents(model) == alone for model in models)
