"""Training that is stopped at any moment goes on as if it had never been."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model.interrupted import NETWORKS, OPTIMIZERS, ROWS, KeepAll, assert_same, fit, losses, new_model

from anynet import Model
from anynet.model import Checkpoints
from anynet.model.checkpoints import latest
from anynet.training import Callback


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


def test_a_folder_without_checkpoints_has_no_latest_so_that_resuming_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for _ in range(2):
        model = new_model()
        fit(model, checkpoints=Checkpoints(folder, every_seconds=0), resume=latest(folder))
        assert model.epoch == 3
