"""Which checkpoints are kept, and which are refused or passed over."""

from __future__ import annotations

from pathlib import Path

import pytest
from model.interrupted import NETWORKS, KeepAll, X, Y, fit, new_model

from anynet import Model
from anynet.errors import CheckpointError, UsageError
from anynet.model import Checkpoints, model_file
from anynet.model.checkpoints import latest, read
from anynet.nn import SGD, MSELoss


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
