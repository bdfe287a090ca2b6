"""Runs that were stopped, and go on from the command line."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli.commands import TRAIN, anynet, records, started, weights

from anynet import Model
from anynet.model import atomic_files


def stopped_by(number: int, run: str, *arguments: str) -> tuple[int, str]:
    """A run that is sent a signal once it has written another checkpoint; its exit code and what it said."""
    before = checkpoints(run)
    process = started(*arguments, "--checkpoint-seconds", "0")
    until = time.monotonic() + 60
    while checkpoints(run) <= before:
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


def checkpoints(run: str) -> set[Path]:
    return set(Path(run, "checkpoints").glob("*.safetensors"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_that_was_stopped_by_a_signal_goes_on_from_its_checkpoint(number: int, code: int) -> None:
    assert stopped_by(number, "run", *TRAIN, "--epochs", "100000", "--out", "run")[0] == code
    returned, said = stopped_by(signal.SIGINT, "run", "train", "--resume", "run")
    assert returned == 130
    assert "begins anew" not in said


def test_the_resumed_run_ends_as_the_one_that_was_never_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    assert anynet(*TRAIN, "--out", "whole") == 0
    from anynet.cli.run_folder import RunFolder

    usual = RunFolder.on_epoch_end

    def interrupted(self: Any, model: Any, record: Any) -> None:
        usual(self, model, record)
        if model.epoch == 17:
            signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "on_epoch_end", interrupted)
        assert anynet(*TRAIN, "--out", "stopped", "--json") == 130
    assert len(records("stopped")) == 17
    assert anynet("train", "--resume", "stopped") == 0
    assert weights("stopped") == weights("whole")
    assert records("stopped") == records("whole")
    assert not Path("stopped/checkpoints").exists()


def test_a_run_that_is_finished_or_is_none_has_nothing_to_go_on_with(capsys: Any) -> None:
    anynet(*TRAIN, "--epochs", "1", "--out", "run")
    for arguments, words in (
        (("--resume", "run"), "run is finished: there is nothing to go on with"),
        (("--resume", "elsewhere"), "elsewhere is no run folder: it has no config.toml"),
    ):
        assert anynet("train", *arguments) == 2
        assert words in capsys.readouterr().err
    Path("run/model.safetensors").unlink()
    assert anynet("train", "--resume", "run", "--lr", "0.1") == 2
    assert "a run that is resumed has its settings; leave out lr" in capsys.readouterr().err


def test_of_two_processes_in_one_folder_the_second_is_refused(capsys: Any) -> None:
    anynet(*TRAIN, "--epochs", "1", "--out", "run")
    Path("run/model.safetensors").unlink()
    with atomic_files.locked(Path("run")):
        for options in (("train", "--resume", "run"), (*TRAIN, "--out", "run", "--overwrite")):
            assert anynet(*options) == 2
            assert "another process is training in run" in capsys.readouterr().err
    assert anynet("train", "--resume", "run") == 0


def test_patience_ends_a_run_and_keeps_the_best_weights(capsys: Any) -> None:
    options = ("--validation", "0.3", "--patience", "3", "--lr", "1.0", "--epochs", "500", "--out", "run", "--json")
    assert anynet(*TRAIN, *options) == 0
    losses = [record["val_loss"] for record in records("run")]
    assert len(losses) < 500
    assert json.loads(capsys.readouterr().out)["validation_loss"] == pytest.approx(min(losses))
    assert np.argmin(losses) == len(losses) - 4
    assert anynet(*TRAIN, "--validation", "0", "--patience", "3") == 2
    assert "patience needs a part of the data to measure" in capsys.readouterr().err


SAMPLES = Path(__file__).parents[1] / "samples"


def test_a_model_and_a_checkpoint_of_the_first_format_are_read() -> None:
    """Written by version 0.1.0: circles, --hidden 4 --batch-size 100 --epochs 3; one after the first epoch."""
    model = Model.load(SAMPLES / "model-1.safetensors")
    assert (model.epoch, model.input_shape) == (3, (2,))
    Path("run/checkpoints").mkdir(parents=True)
    shutil.copy(SAMPLES / "config.toml", "run/config.toml")
    shutil.copy(SAMPLES / "checkpoint-1.safetensors", "run/checkpoints/checkpoint-000000001.safetensors")
    assert anynet("train", "--resume", "run") == 0
    for name, array in model.parameters.items():
        resumed = Model.load("run/model.safetensors").parameters[name]
        np.testing.assert_allclose(resumed, array, rtol=1e-5, atol=1e-6)
