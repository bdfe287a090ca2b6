"""However a training on CuPy ends, the memory of the device is given back."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import suppress

import pytest
from backends.on_gpu import X, Y, model_on, on_a_gpu

from anynet import Model
from anynet.estimators import MLPClassifier
from anynet.training import Callback

# Slow on a pretended GPU; `ci/gpu` takes many more.
TRAININGS = 10


class Failing(Callback):
    def on_epoch_end(self, model: Model, record: dict[str, float]) -> None:
        if record["epoch"] == 2:
            raise ZeroDivisionError


def fit_and_drop() -> None:
    model_on("cupy").fit(X, Y, epochs=3, batch_size=16)


def fit_batches_of_one_size() -> None:
    model_on("cupy").fit(X.repeat(10, axis=0)[:640], Y.repeat(10)[:640], epochs=4, batch_size=32)


def fit_and_forget() -> None:
    model = model_on("cupy")
    model.fit(X, Y, epochs=3, batch_size=16)
    model.backend.clear_cache()


def fail_in_the_middle() -> None:
    with suppress(ZeroDivisionError):
        model_on("cupy").fit(X, Y, epochs=3, batch_size=16, callbacks=[Failing()])


def fit_an_estimator() -> None:
    MLPClassifier((8,), max_iter=3, backend="cupy").fit(X, Y)


WAYS = [
    fit_and_drop,
    fit_batches_of_one_size,
    fit_and_forget,
    fail_in_the_middle,
    fit_an_estimator,
]


@on_a_gpu
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("train", WAYS)
def test_memory_of_the_device_is_given_back(train: Callable[[], None]) -> None:
    import cupy

    def used() -> int:
        gc.collect()
        cupy.get_default_memory_pool().free_all_blocks()
        free, total = cupy.cuda.Device().mem_info
        return int(total - free)

    train()
    before = used()
    for _ in range(TRAININGS):
        train()
    assert used() == before


@on_a_gpu
def test_models_one_after_the_other_compute_in_the_same_memory() -> None:
    import cupy

    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    for _ in range(2):
        fit_and_drop()
        gc.collect()
    before = pool.total_bytes()
    for _ in range(4):
        fit_and_drop()
        gc.collect()
    # cuBLAS's workspace alone is thirty times as much.
    assert pool.total_bytes() - before < 1 << 20
