"""What a model begins anew when it is built again, and what it hands on to a copy."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model.small_model import X, Y, contents, new_model

from anynet import Model, nn
from anynet.backends import select
from anynet.errors import UsageError
from anynet.model import Checkpoints
from anynet.model.checkpoints import latest
from anynet.training import Accuracy


def test_a_model_that_is_built_again_begins_with_the_first_epoch_and_its_first_weights() -> None:
    model, fresh = new_model().build((6,)), new_model().build((6,))
    model.fit(X, Y, epochs=2)
    assert model.build((6,)) is model
    assert model.epoch == 0
    assert contents(model) == contents(fresh)
    assert [record["epoch"] for record in model.fit(X, Y, epochs=2)] == [1, 2]


def test_an_epoch_that_is_set_before_the_weights_are_made_stays() -> None:
    model = new_model()
    model.epoch = 4
    assert [record["epoch"] for record in model.fit(X, Y)] == [5]


def test_what_is_put_holds_for_buffers_too(backend_name: str) -> None:
    model = new_model(backend_name).build((6,))
    arrays = {name: array + 0.5 for name, array in model.parameters.items()}
    model.put(arrays)
    assert contents(model) == {name: array.tobytes() for name, array in arrays.items()}
    assert any("mean" in name for name in arrays)


@pytest.mark.parametrize("built", [False, True])
@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model)), lambda model: model.on(model.backend)],
    ids=["copy", "deepcopy", "pickle", "on"],
)
def test_a_copy_has_all_that_its_model_has_and_shares_no_metadata(copied: Any, built: bool) -> None:
    model = Model(
        nn.Linear(2),
        nn.CrossEntropyLoss(),
        nn.Adam(0.1),
        metrics=(),
        clip_norm=0.5,
        clip_value=2.0,
        dtype="float64",
        seed=7,
    )
    model.epoch, model.metadata = 3, {"names": ["a", "b"]}
    if built:
        model.build((6,))
    again = copied(model)
    for name in (
        "network",
        "loss",
        "optimizer",
        "metrics",
        "clip_norm",
        "clip_value",
        "seed",
        "epoch",
        "metadata",
        "input_shape",
    ):
        assert getattr(again, name) == getattr(model, name), name
    assert again.backend.dtype_name == "float64"
    again.metadata["names"].append("c")
    assert model.metadata == {"names": ["a", "b"]}


def test_a_large_matrix_is_a_block_of_its_own_however_the_model_was_made(tmp_path: Path) -> None:
    model = Model(nn.Linear(150), nn.MSELoss(), nn.SGD(0.1), backend="numpy").build((150,))
    model.save(tmp_path / "model.safetensors")
    loaded = Model.load(tmp_path / "model.safetensors", backend="numpy")
    for one in (model, loaded, copy.deepcopy(model), model.on(select("numpy", "float64"))):
        assert sorted(block.shape for block in one.state.parameters) == [(150,), (150, 150)]


def test_a_training_that_goes_on_takes_seed_and_metadata_of_its_checkpoint(tmp_path: Path) -> None:
    first, resumed = new_model(), new_model()
    first.seed, first.metadata = 5, {"name": "first"}
    first.fit(X, Y, epochs=2, checkpoints=Checkpoints(tmp_path, every_seconds=0))
    resumed.fit(X, Y, epochs=2, resume=latest(tmp_path))
    assert (resumed.seed, resumed.metadata, resumed.epoch) == (5, {"name": "first"}, 2)
    np.testing.assert_array_equal(resumed.predict(X), first.predict(X))


def test_a_network_or_backend_that_is_the_same_may_be_assigned_to_a_model_with_weights() -> None:
    model = new_model().build((6,))
    before = contents(model)
    model.network, model.backend = copy.deepcopy(model.network), model.backend
    assert contents(model) == before
    for name, other in (("network", nn.Linear(2)), ("backend", select("numpy", "float64"))):
        with pytest.raises(UsageError, match=f"the model has weights, so its {name} stays: "):
            setattr(model, name, other)


def test_a_loss_that_the_metrics_do_not_fit_is_refused_and_another_is_taken() -> None:
    model = Model(nn.Linear(2), nn.CrossEntropyLoss(), nn.SGD(0.1), metrics=[Accuracy()])
    with pytest.raises(UsageError, match=r"Accuracy\(\) measures a target of class or probability, but MSELoss\(\)"):
        model.loss = nn.MSELoss()
    assert model.loss == nn.CrossEntropyLoss()
    model.loss = nn.BCEWithLogitsLoss()
    assert model.measured == (Accuracy(),)


def test_the_learning_rate_of_another_optimizer_counts_from_the_next_step_on(backend_name: str) -> None:
    model, reference = (new_model(backend_name, nn.SGD(rate)).build((6,)) for rate in (0.1, 0.5))
    model.optimizer = nn.SGD(0.5)
    assert float(model.backend.to_numpy(model.state.learning_rate)) == 0.5
    assert model.snapshot()["numbers"] == reference.snapshot()["numbers"]
