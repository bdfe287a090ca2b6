"""What a model file promises: the same model everywhere, with everything that was in it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model.saved_model import complaint, small_model

from anynet import nn
from anynet.checks import cases
from anynet.errors import BackendError, DataError, UsageError
from anynet.model import Model, model_file

ROWS = np.random.default_rng(5).normal(size=(6, 2))
LABELS = np.asarray([0, 1, 0, 1, 1, 0])
INITIALIZERS = (
    nn.HeNormal(),
    nn.HeUniform(),
    nn.GlorotNormal(),
    nn.GlorotUniform(),
    nn.LeCunNormal(),
    nn.LeCunUniform(),
    nn.Normal(0.5),
    nn.TruncatedNormal(0.5),
    nn.Orthogonal(2.0),
    nn.Zeros(),
    nn.Ones(),
    nn.Values([[1, 0.5]]),
)
PARTS = (
    *(case.layer for case in cases.LAYERS),
    *(case.loss for case in cases.LOSSES),
    *(case.optimizer for case in cases.OPTIMIZERS),
    *(nn.Linear(2, weight=initializer) for initializer in INITIALIZERS),
    *INITIALIZERS,
    nn.BCELoss(epsilon=1e-6),
    nn.Inputs(table=nn.Linear(2), image=nn.Flatten()),
)


@pytest.mark.parametrize("part", PARTS, ids=repr)
def test_every_part_is_built_as_it_was_described(part: Any) -> None:
    assert model_file.build(json.loads(json.dumps(model_file.describe(part)))) == part


def test_no_part_was_forgotten() -> None:
    assert {type(part) for part in PARTS} == {*nn.LAYERS, *nn.LOSSES, *nn.INITIALIZERS, *nn.OPTIMIZERS}
    rates = [case.optimizer.lr for case in cases.OPTIMIZERS]
    assert {type(rate) for rate in rates} == {*nn.SCHEDULES, float}


@pytest.mark.parametrize("case", cases.LAYERS, ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_loaded_model_is_the_saved_one(tmp_path: Path, case: cases.LayerCase, dtype: str) -> None:
    model = Model(case.layer, nn.MSELoss(), nn.SGD(0.1), dtype=dtype, seed=7).build(case.shape)
    model.metadata = {"classes": ["a", "é"], "mean": 0.1}
    model.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model")
    assert (loaded.network, loaded.loss, loaded.optimizer) == (model.network, model.loss, model.optimizer)
    assert (loaded.seed, loaded.epoch, loaded.metadata) == (7, 0, model.metadata)
    assert loaded.input_shape == case.shape
    assert loaded.parameters.keys() == model.parameters.keys()
    for name, array in model.parameters.items():
        assert (loaded.parameters[name].dtype, loaded.parameters[name].tobytes()) == (np.dtype(dtype), array.tobytes())
    x = np.random.default_rng(0).normal(size=(5, *case.shape))
    assert loaded.predict(x).tobytes() == model.predict(x).tobytes()


def test_a_model_of_one_backend_loads_on_another(path: Path, backend_name: str) -> None:
    model = Model.load(path, backend=backend_name)
    assert model.backend.name == backend_name
    np.testing.assert_allclose(model.predict(ROWS), Model.load(path).predict(ROWS), rtol=1e-5)
    model.save(path.with_name("again"))
    assert path.with_name("again").read_bytes() == path.read_bytes()


def test_training_goes_on_where_it_stopped(tmp_path: Path) -> None:
    whole, half = small_model(), small_model()
    whole.fit(ROWS, LABELS, epochs=4, batch_size=4)
    half.fit(ROWS, LABELS, epochs=2, batch_size=4)
    half.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model")
    loaded.fit(ROWS, LABELS, epochs=2, batch_size=4)
    assert loaded.epoch == 4
    assert loaded.predict(ROWS).tobytes() == whole.predict(ROWS).tobytes()


def test_a_model_written_twice_is_the_same_bytes(path: Path) -> None:
    small_model().save(path.with_name("again"))
    assert path.with_name("again").read_bytes() == path.read_bytes()


SQUARE = np.arange(16, dtype=np.float32).reshape(4, 4)
VIEWS = {
    "transposed": SQUARE.T,
    "every second column": SQUARE[:, ::2],
    "reversed": SQUARE[::-1],
    "Fortran order": np.asfortranarray(SQUARE),
    "broadcast": np.broadcast_to(SQUARE[0], (4, 4)),
    "a single number": SQUARE[1, 2, ...],
}


@pytest.mark.parametrize("kind", VIEWS)
def test_arrays_of_any_order_are_written_as_they_read(path: Path, kind: str) -> None:
    _, description = model_file.read(path)
    model_file.write(path, {"array": VIEWS[kind]}, description)
    found = model_file.read(path)[0]["array"]
    assert found.shape == VIEWS[kind].shape
    np.testing.assert_array_equal(found, VIEWS[kind])


@dataclass(frozen=True)
class Shift(nn.Layer):
    """A layer of one's own, with a field that is no argument."""

    by: float
    halved: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "halved", self.by / 2)

    def parameters(self, shape: Any) -> Any:
        return {}, shape

    def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
        return x + self.by, None

    def backward(self, xp: Any, p: Any, saved: Any, dy: Any, need_dx: bool = True) -> Any:
        return dy, {}


def test_a_layer_of_ones_own_is_loaded_when_its_class_is_given(tmp_path: Path) -> None:
    path = tmp_path / "model"
    Model(nn.Sequential(Shift(np.float32(0.5)), nn.Linear(2)), nn.MSELoss(), nn.SGD(0.1)).build((2,)).save(path)
    assert Model.load(path, known=[Shift]).network.layers[0] == Shift(0.5)
    assert "unknown layer, loss, optimizer or metric 'Shift'" in complaint(path)
    assert complaint(path).endswith("; give your own as known=[...]")
    assert "known must hold classes, but holds Shift(" in complaint(path, known=[Shift(1)])


Linear = dataclass(frozen=True)(type("Linear", (Shift,), {}))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (lambda generator, shape: 0.0, "must be a dataclass of numbers, text and dataclasses"),
        (nn.ReLU, "<class 'anynet.nn.activations.ReLU'> cannot be written to a file: it must be a dataclass"),
        ({"a": 1}, "{'a': 1} cannot be written to a file: it must be a dataclass of numbers, text and dataclasses"),
        (Linear(1.0), "anynet has another Linear, so rename this one"),
    ],
)
def test_what_cannot_be_described_is_refused(part: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        model_file.describe(part)
    assert message in str(caught.value)


def test_an_unknown_backend_is_not_blamed_on_the_file(path: Path) -> None:
    with pytest.raises(BackendError, match="unknown backend 'cuppy'"):
        Model.load(path, backend="cuppy")


def test_a_model_without_weights_has_nothing_to_save(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the model has no weights yet"):
        Model(nn.Linear(2), nn.MSELoss(), nn.SGD(0.1)).save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_metadata_comes_back_as_json_has_it(path: Path) -> None:
    model = small_model()
    model.metadata = {10: "é\0", 2: (1, None)}
    model.save(path)
    assert Model.load(path).metadata == {"10": "é\0", "2": [1, None]}


@pytest.mark.parametrize("metadata", [{"a": np.zeros(2)}, {"a": {1}}, {"a": b"bytes"}, None, ["a"]])
def test_metadata_that_could_not_be_read_again_is_refused(path: Path, metadata: Any) -> None:
    before, model = path.read_bytes(), small_model()
    model.metadata = metadata
    with pytest.raises((UsageError, DataError), match=r"metadata (must be values that JSON can hold: |is )"):
        model.save(path)
    assert path.read_bytes() == before
