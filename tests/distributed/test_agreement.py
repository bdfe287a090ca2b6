"""What ranks agree on before, during and after a training."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anynet import Model
from anynet.distributed import Communicator, run_threads
from anynet.errors import RankError, TrainingDiverged, UsageError, WriteError
from anynet.model import Checkpoints
from anynet.model.checkpoints import latest
from anynet.nn import SGD, BatchNorm, Context, Dropout, Layer, Linear, MSELoss, Sequential
from anynet.training import Callback, StopTraining

pytestmark = pytest.mark.host

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(44, 3)), RANDOM.normal(size=(44, 1))


def made(comm: Communicator | None, lr: float = 0.1, seed: int = 3) -> Model:
    network = Sequential(Linear(4), BatchNorm(), Dropout(0.3), Linear(1))
    return Model(network, MSELoss(), SGD(lr, momentum=0.9), dtype="float64", seed=seed, comm=comm)


def bytes_of(model: Model) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in model.parameters.items()}


def outcomes(work: Callable[[Communicator], Any]) -> list[Any]:
    """What the work comes to on each of three ranks: its result, or its exception in words."""

    def run(comm: Communicator) -> Any:
        try:
            return work(comm)
        except (UsageError, RankError, TrainingDiverged, OSError, KeyboardInterrupt) as error:
            return f"{type(error).__name__}: {error}"

    return run_threads(3, run)


DIFFERENT: dict[str, Callable[[Communicator], Any]] = {
    "data": lambda comm: made(comm).fit(X + comm.rank, Y, batch_size=12),
    "data, shared out by the user": lambda comm: made(comm).fit(X[comm.rank :: 3], Y[comm.rank :: 3], batch_size=12),
    "seed": lambda comm: made(comm, seed=comm.rank).fit(X, Y, batch_size=12),
    "optimizer": lambda comm: made(comm, lr=0.1 + comm.rank).fit(X, Y, batch_size=12),
    "epochs": lambda comm: made(comm).fit(X, Y, epochs=1 + comm.rank, batch_size=12),
    "batch_size": lambda comm: made(comm).fit(X, Y, batch_size=12 + 3 * comm.rank),
    "accumulate": lambda comm: made(comm).fit(
        X, Y, batch_size=12 // (comm.rank // 2 + 1), accumulate=1 + comm.rank // 2
    ),
    "validation_data": lambda comm: made(comm).fit(X, Y, batch_size=12, validation_data=(X, Y) if comm.rank else None),
    "weights": lambda comm: trained_before(comm).fit(X, Y, batch_size=12),
}


def trained_before(comm: Communicator) -> Model:
    """The same weights on all ranks, but not the same velocities."""
    model = made(None).build((3,))
    start = model.parameters
    if comm.rank:
        model.fit(X, Y, batch_size=12)
        model.put(start)
        model.epoch = 0
    model.comm = comm
    return model


@pytest.mark.parametrize("what", DIFFERENT)
def test_what_differs_between_ranks_is_refused_on_all_of_them(what: str) -> None:
    words = outcomes(DIFFERENT[what])
    assert len(set(words)) == 1
    assert re.match(f"UsageError: rank [12] differs from rank 0 in {what.partition(',')[0]}: ", words[0])


def test_weights_that_differ_are_refused() -> None:
    def work(comm: Communicator) -> Any:
        model = made(comm).build((3,))
        model.put({name: array + comm.rank for name, array in model.parameters.items()})
        return model.fit(X, Y, batch_size=12)

    assert "differs from rank 0 in weights: make the model with the same seed on every rank" in outcomes(work)[0]


def test_a_batch_that_ranks_cannot_divide_is_refused_with_what_they_can() -> None:
    words = outcomes(lambda comm: made(comm).fit(X, Y, batch_size=16))
    assert (
        words
        == ["UsageError: a batch of 16 rows cannot be divided equally among 3 ranks: give a batch_size of 15 or 18"] * 3
    )


@pytest.mark.parametrize("event", ["on_fit_begin", "on_batches_end", "on_epoch_end"])
def test_a_callback_that_stops_on_one_rank_stops_all(event: str) -> None:
    def stop(*_: Any) -> None:
        raise StopTraining

    def work(comm: Communicator) -> Any:
        callback = Callback()
        if comm.rank == 1:
            setattr(callback, event, stop)
        model = made(comm)
        history = model.fit(X, Y, batch_size=12, epochs=5, callbacks=[callback])
        return len(history), model.epoch, bytes_of(model)

    first, *others = outcomes(work)
    assert first[0] <= 1
    assert all(other == first for other in others)


@pytest.mark.parametrize("event", ["on_fit_begin", "on_batches_end", "on_epoch_end"])
def test_a_callback_that_fails_on_one_rank_ends_all(event: str) -> None:
    def fail(*_: Any) -> None:
        raise OSError("no room")

    def work(comm: Communicator) -> Any:
        callback = Callback()
        if comm.rank == 2:
            setattr(callback, event, fail)
        return made(comm).fit(X, Y, batch_size=12, epochs=5, callbacks=[callback])

    failed = "RankError: rank 2 has failed, and says why"
    assert outcomes(work) == [failed, failed, "OSError: no room"]


def test_weights_that_a_callback_puts_on_one_rank_are_noticed() -> None:
    class Putting(Callback):
        def on_batches_end(self, model: Model, samples: int) -> None:
            if model.comm.rank == 1:
                model.put({name: array + 1 for name, array in model.parameters.items()})

    words = outcomes(lambda comm: made(comm).fit(X, Y, batch_size=12, callbacks=[Putting()]))
    assert len(set(words)) == 1
    assert words[0].startswith("UsageError: the ranks have different weights after epoch 1")


def test_a_thread_that_reads_beside_a_training_reads_alone() -> None:
    class Reading(Callback):
        def on_batches_end(self, model: Model, samples: int) -> None:
            if model.comm.rank == 1:
                with ThreadPoolExecutor(1) as pool:
                    self.seen = pool.submit(model.predict, X).result(), model.comm.rank

    def work(comm: Communicator) -> Any:
        reading = Reading()
        made(comm).fit(X, Y, batch_size=12, callbacks=[reading])
        return vars(reading)

    first, second, _ = outcomes(work)
    assert first == {}
    assert second["seen"][0].shape == Y.shape


def test_only_rank_0_needs_to_know_of_checkpoints_and_their_steps(tmp_path: Path) -> None:
    def work(comm: Communicator) -> dict[str, bytes]:
        checkpoints = Checkpoints(tmp_path, every_steps=2) if comm.rank == 0 else None
        return bytes_of(fitted(comm, 3, checkpoints=checkpoints))

    first, *others = outcomes(work)
    assert all(other == first for other in others)


def test_what_a_layer_sums_is_summed_in_every_step_even_if_it_is_constant() -> None:
    @dataclass(frozen=True)
    class Counting(Layer):
        def forward(self, xp: Any, p: Any, x: Any, ctx: Context) -> tuple[Any, Any]:
            (rows,) = ctx.total(xp, xp.full((1,), x.shape[0], dtype=x.dtype))
            return x * rows, rows

        def backward(self, xp: Any, p: Any, saved: Any, dy: Any, need_dx: bool = True) -> tuple[Any, Any]:
            return dy * saved, {}

    def work(comm: Communicator | None) -> dict[str, bytes]:
        network = Sequential(Linear(2), Counting(), Linear(1))
        model = Model(network, MSELoss(), SGD(1e-4), dtype="float64", comm=comm)
        model.fit(X[:36], Y[:36], batch_size=12, epochs=3)
        return model.parameters

    alone = work(None)
    for parameters in run_threads(3, work):
        for name, array in alone.items():
            np.testing.assert_allclose(parameters[name], array, rtol=0, atol=1e-12)


def test_a_copy_is_trained_by_the_same_ranks() -> None:
    def work(comm: Communicator) -> bool:
        model = made(comm).build((3,))
        return model.on(model.backend).comm is comm

    assert run_threads(3, work) == [True] * 3


def test_all_ranks_diverge_together() -> None:
    words = outcomes(lambda comm: made(comm, lr=1e200).fit(X, Y, batch_size=12, epochs=5))
    assert len(set(words)) == 1
    assert words[0].startswith("TrainingDiverged")


def test_evaluation_and_prediction_are_divided_and_whole() -> None:
    def work(comm: Communicator) -> Any:
        model = made(comm).build((3,))
        seen = []
        run = model.backend.run
        model.backend.run = lambda *given, **options: (seen.append(given[2][0].shape), run(*given, **options))[1]
        return model.evaluate(X, Y), model.predict(X), sum(shape[0] * shape[1] for shape in seen)

    alone = made(None).build((3,))
    for loss, prediction, rows in run_threads(3, work):
        assert loss == pytest.approx(alone.evaluate(X, Y), rel=1e-14)
        np.testing.assert_allclose(prediction, alone.predict(X), rtol=1e-14)
        assert rows == pytest.approx(2 * len(X) / 3, abs=2)


def test_only_rank_0_writes_checkpoints_and_any_number_of_ranks_resumes_them(tmp_path: Path) -> None:
    whole = {n: bytes_of(run_threads(n, lambda comm: fitted(comm, 6))[0]) for n in (2, 3)}
    run_threads(2, lambda comm: fitted(comm, 6, stop=4, checkpoints=Checkpoints(tmp_path, every_steps=1)))
    resumed = latest(tmp_path)
    assert resumed
    again = run_threads(2, lambda comm: fitted(comm, 6, resume=resumed))
    assert all(bytes_of(model) == whole[2] for model in again)
    for ranks in (1, 3):
        for model in run_threads(ranks, lambda comm: fitted(comm, 6, resume=resumed)):
            for name, array in model.parameters.items():
                np.testing.assert_allclose(array.ravel(), np.frombuffer(whole[3][name]), rtol=0, atol=1e-9)


def fitted(comm: Communicator, epochs: int, stop: int | None = None, **options: Any) -> Model:
    class Stop(Callback):
        def on_batches_end(self, model: Model, samples: int) -> None:
            self.seen = getattr(self, "seen", 0) + 1
            if stop and self.seen == 2 * stop + 1:
                raise KeyboardInterrupt

    model = made(comm)
    try:
        model.fit(X, Y, epochs=epochs, batch_size=6, callbacks=[Stop()], **options)
    except KeyboardInterrupt:
        assert stop
    return model


def test_a_checkpoint_that_rank_0_cannot_write_ends_all(tmp_path: Path) -> None:
    class Broken(Checkpoints):
        def writer(self, *given: Any, **options: Any) -> Any:
            raise WriteError("no room")

    words = outcomes(lambda comm: made(comm).fit(X, Y, batch_size=12, checkpoints=Broken(tmp_path)))
    assert words == ["WriteError: no room", *["RankError: rank 0 has failed, and says why"] * 2]


def test_each_rank_reads_only_its_own_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anynet.datasets.on_disk import OnDisk

    np.save(tmp_path / "x.npy", X)
    taken: list[list[int]] = []
    take = OnDisk.take
    monkeypatch.setattr(OnDisk, "take", lambda self, rows: (taken.append(list(rows)), take(self, rows))[1])
    files = [str(tmp_path / "x.npy")]
    models = run_threads(2, lambda comm: from_disk(comm, files))
    # Beside those that are compared before, in order: the halves of three batches, and the last batch.
    read = [rows for rows in taken if rows != list(range(44))]
    assert sorted(map(len, read)) == [8 // 2, 8 // 2, 18, 18]
    assert len({row for rows in read for row in rows}) == 44
    assert bytes_of(models[0]) == bytes_of(models[1]) == bytes_of(run_threads(2, lambda comm: from_disk(comm, X))[0])


def from_disk(comm: Communicator, x: Any) -> Model:
    model = made(comm)
    model.fit(x, Y, batch_size=12)
    return model
