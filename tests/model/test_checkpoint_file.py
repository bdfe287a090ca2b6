"""What a checkpoint says when it does not fit, and how the states of callbacks come back from one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model.small_model import X, Y, contents, new_model

from anynet.errors import CheckpointError
from anynet.model import Checkpoints, model_file
from anynet.model.checkpoints import latest
from anynet.training import Callback


class Keeper(Callback):
    """Keeps a number and an array in checkpoints."""

    def __init__(self, number: int, refuses: bool = False) -> None:
        self.state: dict[str, Any] = {"number": number, "arrays": {"number": np.full(2, number, np.float32)}}
        self.refuses = refuses

    def state_dict(self) -> dict[str, Any]:
        return dict(self.state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.refuses:
            raise ValueError("nothing is good enough")
        self.state = state


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    callbacks = [Keeper(5), Keeper(6)]
    new_model().fit(X, Y, epochs=2, callbacks=callbacks, checkpoints=Checkpoints(tmp_path, every_seconds=0))
    path = latest(tmp_path)
    assert path is not None
    return path


def resumed(path: Path, *callbacks: Callback) -> Any:
    model = new_model()
    model.fit(X, Y, epochs=2, callbacks=callbacks, resume=path)
    return model


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        (200, {}, "256 samples, not 200"),
        (256, {"batch_size": 16}, "32 rows a batch, not 16"),
        (256, {"epochs": 3}, "2 epochs, not 3"),
    ],
)
def test_a_training_that_was_asked_for_otherwise_is_told_how(
    checkpoint: Path, rows: int, options: dict[str, int], words: str
) -> None:
    with pytest.raises(CheckpointError) as caught:
        new_model().fit(X[:rows], Y[:rows], **{"epochs": 2, **options}, resume=checkpoint)
    assert str(caught.value) == f"{checkpoint} was written in training with {words}"


def test_the_state_that_comes_back_has_the_dtypes_of_a_new_one(checkpoint: Path) -> None:
    model, fresh = resumed(checkpoint), new_model().build((6,))
    for name in ("step", "learning_rate"):
        assert getattr(model.state, name).dtype == getattr(fresh.state, name).dtype
    assert int(model.backend.to_numpy(model.state.step)) == 16


def test_a_callback_that_refuses_its_state_names_the_file(checkpoint: Path) -> None:
    model = new_model().build((6,))
    before = contents(model)
    words = re.escape(f"{checkpoint} cannot be resumed: nothing is good enough")
    with pytest.raises(CheckpointError, match=f"^{words}$"):
        model.fit(X, Y, epochs=2, callbacks=[Keeper(0), Keeper(0, refuses=True)], resume=checkpoint)
    assert contents(model) == before


def as_a_list(checkpoint: Path) -> None:
    """Write the states as the first format did: in the order of the callbacks, without their names."""
    arrays, description = model_file.read(checkpoint)
    for i, name in enumerate(("Keeper", "Keeper#2")):
        arrays[f"callbacks/{i}/number"] = arrays.pop(f"callbacks/{name}/number")
    description["callbacks"] = list(description["callbacks"].values())
    model_file.write(checkpoint, arrays, description)


@pytest.mark.parametrize("listed", [False, True])
def test_states_come_back_with_their_arrays_by_name_or_by_place(checkpoint: Path, listed: bool) -> None:
    if listed:
        as_a_list(checkpoint)
    keepers = [Keeper(0), Keeper(0)]
    resumed(checkpoint, *keepers)
    for keeper, number in zip(keepers, (5, 6), strict=True):
        assert keeper.state["number"] == number
        assert keeper.state["arrays"].keys() == {"number"}
        np.testing.assert_array_equal(keeper.state["arrays"]["number"], [number, number])


@pytest.mark.parametrize("count", [1, 3])
def test_states_without_names_stay_where_there_are_more_or_fewer_callbacks(checkpoint: Path, count: int) -> None:
    as_a_list(checkpoint)
    keepers = [Keeper(0) for _ in range(count)]
    resumed(checkpoint, *keepers)
    assert [keeper.state["number"] for keeper in keepers] == [0] * count
