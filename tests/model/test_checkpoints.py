"""Training that is stopped at any moment goes on as if it had never been."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chosen import BACKEND
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anynet import Model
from anynet.errors import CheckpointError, TrainingDiverged, UsageError, WriteError
from anynet.model import Checkpoints, atomic_files, model_file
from anynet.model.checkpoints import latest, read
from anynet.nn import (
    SGD,
    Adam,
    BatchNorm,
    Dropout,
    LayerNorm,
    Linear,
    LinearDecay,
    MSELoss,
    ReLU,
    Sequential,
    Tanh,
)
from anynet.training import Callback, EarlyStopping

ROWS = 50
X = np.random.default_rng(0).normal(size=(ROWS, 3))
Y = np.sin(X).sum(axis=1, keepdims=True)
VALIDATION = X[:20] + 0.1, Y[:20]

NETWORKS = {
    "plain": lambda: Sequential(Linear(6), Tanh(), Linear(1)),
    "normalised": lambda: Sequential(BatchNorm(), Linear(6), LayerNorm(), ReLU(), Linear(1)),
    "dropping": lambda: Sequential(Linear(8), Dropout(0.4), ReLU(), Sequential(Dropout(0.1), Linear(1))),
}
OPTIMIZERS = {
    "SGD": lambda: SGD(0.01),
    "Nesterov, decaying": lambda: SGD(LinearDecay(0.005, 90), momentum=0.9, nesterov=True, weight_decay=0.01),
    "Adam": lambda: Adam(0.01, weight_decay=0.1),
}


def new_model(backend: str = BACKEND, network: str = "normalised", optimizer: str = "Adam", seed: int = 1) -> Model:
    parts = NETWORKS[network](), MSELoss(), OPTIMIZERS[optimizer]()
    return Model(*parts, backend=backend, dtype="float64", seed=seed)


def fit(model: Model, **options: Any) -> list[dict[str, float]]:
    weight = np.random.default_rng(1).uniform(0.5, 2.0, ROWS)
    return model.fit(
        X, Y, **{"epochs": 3, "batch_size": 8, "sample_weight": weight, "validation_data": VALIDATION, **options}
    )


def losses(history: list[dict[str, float]]) -> list[tuple[float, float]]:
    return [(record["loss"], record["val_loss"]) for record in history]


class KeepAll(Checkpoints):
    """Writes each checkpoint to a file of its own, after so many steps."""

    def __init__(self, folder: Path, every_steps: int = 1) -> None:
        super().__init__(folder, every_seconds=1e9, every_steps=every_steps, keep=10_000)


class Killed(Exception):
    pass


class KillAfter(Callback):
    """Stands for SIGKILL: nothing that comes after the stretch of batches is run."""

    def __init__(self, stretches: int) -> None:
        self.left = stretches

    def on_batches_end(self, model: Model, samples: int) -> None:
        self.left -= 1
        if not self.left:
            raise Killed


def assert_same(model: Model, reference: Model, tolerance: float = 0.0) -> None:
    for name, array in reference.parameters.items():
        np.testing.assert_allclose(model.parameters[name], array, rtol=tolerance, atol=tolerance)


COURSES = {
    "network": st.sampled_from(sorted(NETWORKS)),
    "optimizer": st.sampled_from(sorted(OPTIMIZERS)),
    "batch_size": st.integers(1, ROWS + 5),
    "every": st.integers(1, 9),
    "stop": st.integers(1, 20),
}


# JAX compiles every stretch anew.
@pytest.mark.backends("numpy", "torch", "strict")
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(**COURSES)
def test_from_any_checkpoint_it_ends_with_the_same_bytes(
    backend_name: str, tmp_path_factory: Any, **course: Any
) -> None:
    ends_with_the_same_bytes(backend_name, tmp_path_factory.mktemp("run"), **course)


@pytest.mark.needs("jax")
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(**COURSES)
def test_compiled_steps_do_so_too(tmp_path_factory: Any, **course: Any) -> None:
    ends_with_the_same_bytes("jax", tmp_path_factory.mktemp("run"), **{**course, "every": 5})


def ends_with_the_same_bytes(
    backend: str, folder: Path, network: str, optimizer: str, batch_size: int, every: int, stop: int
) -> None:
    reference = new_model(backend, network, optimizer)
    expected = fit(reference, batch_size=batch_size, checkpoints=KeepAll(folder / "reference", every))
    killed = new_model(backend, network, optimizer)
    with suppress(Killed):
        fit(killed, batch_size=batch_size, checkpoints=KeepAll(folder, every), callbacks=[KillAfter(stop)])
    if (path := latest(folder)) is None:
        return
    resumed = new_model(backend, network, optimizer, seed=99)
    again = {"resume": path, "checkpoints": KeepAll(folder / "again", every), "callbacks": [KillAfter(10_000)]}
    history = fit(resumed, batch_size=batch_size, **again)
    assert losses(history) == losses(expected)
    assert_same(resumed, reference)
    assert (resumed.epoch, resumed.seed) == (reference.epoch, reference.seed)


def test_on_every_backend_each_checkpoint_leads_to_the_same_bytes(backend_name: str, tmp_path: Path) -> None:
    reference = new_model(backend_name)
    expected = fit(reference, checkpoints=KeepAll(tmp_path, 5))
    paths = sorted(tmp_path.glob("*.safetensors"))
    assert len(paths) >= 3
    for path in paths[:2]:
        resumed = new_model(backend_name)
        # The stretches of the reference, since another number of compiled steps is another program.
        history = fit(resumed, resume=path, checkpoints=KeepAll(tmp_path / "more", 5))
        assert losses(history) == losses(expected)
        assert_same(resumed, reference)


def test_what_one_backend_began_another_ends_equal_to_rounding(backend_name: str, tmp_path: Path) -> None:
    expected = fit(new_model())
    fit(new_model(backend_name), checkpoints=KeepAll(tmp_path, 5))
    for path in sorted(tmp_path.glob("*.safetensors"))[::3]:
        np.testing.assert_allclose(losses(fit(new_model(), resume=path)), losses(expected), rtol=1e-9)


def test_checkpoints_and_looking_at_each_step_change_nothing(tmp_path: Path) -> None:
    reference = new_model()
    expected = losses(fit(reference))
    for options in ({"checkpoints": KeepAll(tmp_path, 3)}, {"debug": True}):
        model = new_model()
        assert losses(fit(model, **options)) == expected
        assert_same(model, reference)


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_ends_training_after_the_batches_at_hand_with_a_checkpoint(
    number: int, error: type[BaseException], tmp_path: Path
) -> None:
    class Interrupt(Callback):
        def on_batches_end(self, model: Model, samples: int) -> None:
            if model.epoch == 1:
                signal.raise_signal(number)

    # A program that runs in the background may have been told to ignore them.
    handlers = signal.default_int_handler, signal.SIG_DFL
    for which, handler in zip((signal.SIGINT, signal.SIGTERM), handlers, strict=True):
        signal.signal(which, handler)
    with pytest.raises(error):
        fit(new_model(), checkpoints=Checkpoints(tmp_path, every_seconds=1e9), callbacks=[Interrupt()])
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    resumed, reference = new_model(), new_model()
    assert losses(fit(resumed, resume=latest(tmp_path), callbacks=[Callback()])) == losses(fit(reference))
    assert_same(resumed, reference)


def test_so_many_are_kept_and_what_was_left_half_written_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / f".checkpoint-001-000000007.safetensors.{123:016x}.part").write_bytes(b"half")
    fit(new_model(), checkpoints=Checkpoints(tmp_path, every_seconds=0, keep=3))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"checkpoint-001-{step:09d}.safetensors" for step in (14, 20, 21)
    ]


def test_the_best_is_kept_too(tmp_path: Path) -> None:
    model = Model(NETWORKS["plain"](), MSELoss(), SGD(0.9, momentum=0.8), dtype="float64")
    history = fit(model, epochs=30, checkpoints=Checkpoints(tmp_path, keep=1, best="val_loss"))
    best = min(history, key=lambda record: record["val_loss"])
    assert read(tmp_path / "best.safetensors")[1]["epoch"] == best["epoch"] < 30
    with pytest.raises(UsageError, match="unknown measure 'accuracy'"):
        fit(new_model(), checkpoints=Checkpoints(tmp_path, best="accuracy"))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_train_to_the_same_bytes(method: str, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(PROCESSES)
    command = [sys.executable, str(script), method]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "[True, True, True]\n"


PROCESSES = """
import multiprocessing, sys
import numpy as np
from anynet import Model
from anynet.nn import SGD, Linear, MSELoss, ReLU, Sequential

def train(seed):
    x = np.random.default_rng(0).normal(size=(300, 8))
    model = Model(Sequential(Linear(32), ReLU(), Linear(1)), MSELoss(), SGD(0.01, momentum=0.9), seed=seed)
    model.fit(x, x.sum(axis=1), epochs=3)
    return {name: array.tobytes() for name, array in model.parameters.items()}

if __name__ == "__main__":
    here = [train(seed) for seed in range(3)]
    with multiprocessing.get_context(sys.argv[1]).Pool(3) as pool:
        print([one == other for one, other in zip(here, pool.map(train, range(3)))])
"""


def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path: Path) -> None:
    fit(new_model(), checkpoints=KeepAll(tmp_path, 5))
    *_, before, newest = sorted(tmp_path.glob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-5])
    with pytest.warns(UserWarning, match=r"an older checkpoint is taken: .*damaged"):
        assert latest(tmp_path) == before
    before.write_bytes(b"")
    for other in tmp_path.glob("*.safetensors"):
        other.write_bytes(b"")
    warnings.simplefilter("ignore")
    with pytest.raises(CheckpointError, match=r"none of the checkpoints in .* can be read"):
        latest(tmp_path)


def test_a_folder_without_checkpoints_has_no_latest_so_that_resuming_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for _ in range(2):
        model = new_model()
        fit(model, checkpoints=Checkpoints(folder, every_seconds=0), resume=latest(folder))
        assert model.epoch == 3


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    fit(new_model(), checkpoints=KeepAll(tmp_path, 5))
    path = latest(tmp_path)
    for options, words in (
        ({"network": "plain"}, "another model, with network"),
        ({"optimizer": "SGD"}, "another model, with optimizer"),
    ):
        with pytest.raises(CheckpointError, match=words):
            fit(new_model(**options), resume=path)
    with pytest.raises(CheckpointError, match="training with 8 rows a batch, not 9"):
        fit(new_model(), resume=path, batch_size=9)
    with pytest.raises(CheckpointError, match="training with 50 samples, not 40"):
        new_model().fit(X[:40], Y[:40], batch_size=8, epochs=3, resume=path)
    with pytest.raises(CheckpointError, match="training with 3 epochs, not 4"):
        fit(new_model(), resume=path, epochs=4)
    model = new_model()
    fit(model)
    model.save(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="is a model, and no checkpoint"):
        fit(new_model(), resume=tmp_path / "model.safetensors")


@pytest.mark.parametrize("key", ["pending", "last_epoch", "mine"])
def test_a_checkpoint_holds_nothing_but_what_is_told_of_a_training(tmp_path: Path, key: str) -> None:
    fit(new_model(), checkpoints=KeepAll(tmp_path, 5))
    path = latest(tmp_path)
    assert path is not None
    arrays, description = model_file.read(path)
    description["course"][key] = [1.0]
    model_file.write(path, arrays, description)
    with pytest.raises(CheckpointError, match=f"unknown key '{key}'"):
        fit(new_model(), resume=path)


FAULTS: dict[str, Callable[..., Any]] = {
    "open": lambda *_, **__: _raise(errno.EACCES),
    "os.fsync": lambda *_: _raise(errno.EIO),
    "os.replace": lambda *_: _raise(errno.EXDEV),
}


def _raise(number: int) -> None:
    raise OSError(number, os.strerror(number))


class FullDisk:
    """A file on a disk that is full after so many bytes, or that writes less than it is given."""

    def __init__(self, file: Any, room: int) -> None:
        self.file, self.room = file, room

    def write(self, data: bytes) -> int:
        self.file.write(data[: self.room])
        _raise(errno.ENOSPC)
        return 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


@pytest.mark.host
def test_whichever_call_to_the_disk_fails_a_checkpoint_can_still_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    fails_at = 0

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == fails_at:
                _raise(errno.ENOSPC)
            return function(*arguments, **options)

        return call

    class Counted(FullDisk):
        def write(self, data: bytes) -> int:
            return int(counted(self.file.write)(data))

        def flush(self) -> None:
            counted(self.file.flush)()

    causes = set()
    while fails_at == 0 or calls >= fails_at:
        fails_at, calls = fails_at + 1, 0
        folder = tmp_path / str(fails_at)
        fit(new_model(), epochs=1, checkpoints=Checkpoints(folder, every_seconds=0, keep=1))
        with monkeypatch.context() as patch:
            patch.setattr(atomic_files, "open", counted(lambda *a: Counted(open(*a), 0)), raising=False)  # noqa: SIM115
            for name in ("fsync", "replace", "unlink", "open", "close", "listdir"):
                patch.setattr(os, name, counted(getattr(os, name)))
            refused = f"{folder}: "
            try:
                fit(new_model(), checkpoints=Checkpoints(folder, every_seconds=0, keep=1))
            except WriteError as error:
                refused = str(error)
                causes.add(refused.rpartition(":")[2])
        assert str(folder) in refused
        read(latest(folder))
    assert fails_at > 20
    assert causes == {f" {os.strerror(errno.ENOSPC)}"}


def full_disk(*arguments: Any) -> FullDisk:
    return FullDisk(open(*arguments), 500)


@pytest.mark.parametrize("fault", [*FAULTS, "full disk"])
def test_whatever_fails_while_writing_the_checkpoint_before_is_still_there(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(new_model(), epochs=1, checkpoints=Checkpoints(tmp_path, every_seconds=0, keep=1))
    before = latest(tmp_path)
    with monkeypatch.context() as patch:
        if fault == "full disk":
            patch.setattr(atomic_files, "open", full_disk, raising=False)
        elif fault == "open":
            patch.setattr(atomic_files, "open", FAULTS[fault], raising=False)
        else:
            patch.setattr(fault, FAULTS[fault])
        with pytest.raises(WriteError, match=r"cannot write .*checkpoint-.*: [A-Z]"):
            fit(new_model(), checkpoints=Checkpoints(tmp_path, every_seconds=0, keep=1))
        loose = new_model()
        with pytest.warns(UserWarning, match="training goes on without a checkpoint: cannot write"):
            fit(loose, checkpoints=Checkpoints(tmp_path, every_seconds=0, keep=1, must_succeed=False))
        assert loose.epoch == 3
    assert latest(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == [before.name]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"cannot write .*file"):
        fit(new_model(), checkpoints=Checkpoints(tmp_path / "file" / "run"))
    with pytest.raises(UsageError, match="keep must be a whole number, 1 or more, but is 0"):
        Checkpoints(tmp_path, keep=0)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(at=st.floats(0, 1), how=st.sampled_from(["flip", "cut", "grow", "zero"]), byte=st.integers(1, 255))
def test_any_damage_is_one_typed_error_or_changes_nothing(
    tmp_path_factory: Any, at: float, how: str, byte: int
) -> None:
    whole = _checkpoint(tmp_path_factory)
    data = bytearray(whole.read_bytes())
    place = min(int(at * len(data)), len(data) - 1)
    if how == "flip":
        data[place] ^= byte
    elif how == "cut":
        del data[place:]
    elif how == "grow":
        data[place:place] = bytes([byte] * byte)
    else:
        data[place : place + byte] = bytes(len(data[place : place + byte]))
    damaged = tmp_path_factory.mktemp("damaged") / "checkpoint.safetensors"
    damaged.write_bytes(data)
    assert_refused_or_the_same(damaged, whole)
    shutil.rmtree(damaged.parent)


def test_what_says_the_same_in_other_letters_is_read_as_that(tmp_path_factory: Any) -> None:
    whole = _checkpoint(tmp_path_factory)
    other = tmp_path_factory.mktemp("other") / "checkpoint.safetensors"
    other.write_bytes(whole.read_bytes().replace(b"1e-05", b"1E-05"))
    assert other.read_bytes() != whole.read_bytes()
    assert_refused_or_the_same(other, whole)


def assert_refused_or_the_same(damaged: Path, whole: Path) -> None:
    resumed, undamaged = new_model(), new_model()
    refused = ""
    try:
        history = fit(resumed, epochs=2, resume=damaged)
    except CheckpointError as error:
        refused = str(error)
    if refused:
        assert str(damaged) in refused
    else:
        assert losses(history) == losses(fit(undamaged, epochs=2, resume=whole))
        assert_same(resumed, undamaged)


def _checkpoint(tmp_path_factory: Any) -> Path:
    if not hasattr(_checkpoint, "path"):
        folder = tmp_path_factory.mktemp("whole")
        fit(new_model(), epochs=2, checkpoints=KeepAll(folder, 5))
        _checkpoint.path = latest(folder)
    return _checkpoint.path


class TestEarlyStopping:
    def best_of(self, model: Model, history: list[dict[str, float]]) -> None:
        best = min(record["val_loss"] for record in history)
        assert model.evaluate(*VALIDATION)["loss"] == pytest.approx(best)

    def test_it_ends_when_nothing_improves_and_puts_the_best_weights_back(self) -> None:
        model = Model(NETWORKS["plain"](), MSELoss(), SGD(0.9, momentum=0.8), dtype="float64")
        stopping = EarlyStopping(patience=3)
        history = fit(model, epochs=500, callbacks=[stopping])
        assert len(history) < 500
        assert stopping.best_epoch == len(history) - 3
        self.best_of(model, history)

    def test_patience_begins_with_its_training(self) -> None:
        class Late(Callback):
            def on_epoch_end(self, model: Model, record: dict[str, float]) -> None:
                record["mine"] = np.nan if model.epoch < 6 else -model.epoch

        model = new_model()
        fit(model, epochs=4)
        history = fit(model, epochs=4, callbacks=[EarlyStopping("mine", patience=3, mode="min"), Late()])
        assert [record["epoch"] for record in history] == [5, 6, 7, 8]

    @pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
    def test_on_an_interrupt_and_an_error_too(self, error: type[BaseException]) -> None:
        class Fail(Callback):
            history: list[dict[str, float]]

            def on_epoch_end(self, model: Model, record: dict[str, float]) -> None:
                self.history = [*getattr(self, "history", []), record]
                if model.epoch == 12:
                    raise error

        fail = Fail()
        model = Model(NETWORKS["plain"](), MSELoss(), SGD(0.9, momentum=0.8), dtype="float64")
        with pytest.raises(error):
            fit(model, epochs=50, callbacks=[EarlyStopping(patience=50), fail])
        self.best_of(model, fail.history)

    def test_it_goes_on_from_a_checkpoint_with_what_it_knew(self, tmp_path: Path) -> None:
        def options() -> dict[str, Any]:
            return {"epochs": 60, "callbacks": [EarlyStopping(patience=4)]}

        def model() -> Model:
            return Model(NETWORKS["plain"](), MSELoss(), SGD(0.9, momentum=0.8), dtype="float64")

        reference, resumed = model(), model()
        expected = fit(reference, checkpoints=KeepAll(tmp_path, 5), **options())
        path = sorted(tmp_path.glob("*.safetensors"))[3]
        assert losses(fit(resumed, resume=path, **options())) == losses(expected)
        assert_same(resumed, reference)

    def test_a_measure_that_is_not_there_is_named(self) -> None:
        with pytest.raises(UsageError, match=r"unknown measure 'val_accuracy'.*known: loss, val_loss"):
            fit(new_model(), callbacks=[EarlyStopping("val_accuracy")])


class TestDivergence:
    def test_the_message_names_epoch_batch_layer_and_learning_rate(self, backend_name: str) -> None:
        model = Model(NETWORKS["plain"](), MSELoss(), SGD(1e200), backend=backend_name, dtype="float64")
        words = (
            r"not finite in batch \d of epoch 1, and so is [02]\.(weight|bias): .*smaller learning rate \(it is 1e\+200"
        )
        with pytest.raises(TrainingDiverged, match=words):
            fit(model, debug=True)

    def test_the_best_weights_are_kept(self) -> None:
        class Break(Callback):
            def on_batches_end(self, model: Model, samples: int) -> None:
                if model.epoch == 5:
                    model.state = model.state._replace(parameters=tuple(p * np.nan for p in model.state.parameters))

        model = new_model()
        with pytest.raises(TrainingDiverged):
            fit(model, epochs=10, callbacks=[EarlyStopping(), Break()])
        assert all(np.isfinite(array).all() for array in model.parameters.values())

    def test_a_weight_that_overflows_in_the_last_step_is_noticed(self) -> None:
        model = Model(Linear(1), MSELoss(), SGD(1e300), dtype="float64")
        with pytest.raises(TrainingDiverged, match="weight is not finite after epoch 1"):
            model.fit(np.full((4, 1), 1e5), np.full(4, -1e5), batch_size=4)


def test_eight_threads_training_eight_models_give_the_bytes_that_each_gives_alone() -> None:
    alone = [new_model(seed=seed) for seed in range(8)]
    together = [new_model(seed=seed) for seed in range(8)]
    for model in alone:
        fit(model)
    threads = [threading.Thread(target=fit, args=(model,)) for model in together]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone, together, strict=True):
        assert_same(one, other)
