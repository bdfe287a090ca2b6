"""What a model file promises: the same model everywhere, all of it or nothing, and no trust in what it says."""

from __future__ import annotations

import errno
import json
import os
import stat
import tracemalloc
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from anynet import nn
from anynet.checks import cases
from anynet.errors import BackendError, DataError, ModelFileError, UsageError, WriteError
from anynet.model import Model, model_file

ROWS = np.random.default_rng(5).normal(size=(6, 2))
LABELS = np.asarray([0, 1, 0, 1, 1, 0])
INITIALIZERS = (
    nn.HeNormal(),
    nn.HeUniform(),
    nn.GlorotNormal(),
    nn.GlorotUniform(),
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
)


def small_model(**named: Any) -> Model:
    network = nn.Sequential(nn.Linear(3), nn.LeakyReLU(0.1), nn.Linear(2))
    return Model(network, nn.CrossEntropyLoss(), nn.SGD(0.1), **named).build((2,))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A good model file."""
    small_model().save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def complaint(path: Path, **named: Any) -> str:
    """What a reader sees of an error, after the name of the file."""
    with pytest.raises(ModelFileError) as caught:
        Model.load(path, **named)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message.replace(str(path), "FILE")


@pytest.mark.parametrize("part", PARTS, ids=repr)
def test_every_part_is_built_as_it_was_described(part: Any) -> None:
    assert model_file.build(json.loads(json.dumps(model_file.describe(part)))) == part


def test_no_part_was_forgotten() -> None:
    assert {type(part) for part in PARTS} == {*nn.LAYERS, *nn.LOSSES, *nn.INITIALIZERS, *nn.OPTIMIZERS}


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


def test_every_flipped_cut_or_added_byte_is_noticed(path: Path) -> None:
    good = path.read_bytes()
    flips = (good[:i] + bytes([good[i] ^ 1 << i % 8]) + good[i + 1 :] for i in range(len(good)))
    cuts = (good[:end] for end in range(len(good)))
    for damaged in (*flips, *cuts, good + b"\0", good + good):
        path.write_bytes(damaged)
        complaint(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path, tmp_path / "nul\0", tmp_path / ("long" * 99)):
        assert complaint(path) == "there is no model file FILE"


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_the_weights_of_other_programs_are_refused_unread(path: Path, metadata: Any) -> None:
    path.write_bytes(safetensors.numpy.save({"weight": np.zeros(1 << 20)}, metadata=metadata))
    tracemalloc.start()
    message = complaint(path)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert message == "FILE cannot be loaded: it is a safetensors file, but no model that anynet saved"
    assert most < 1 << 20


def forge(path: Path, arrays: Any = None, lacking: str = "", **changes: Any) -> None:
    """The same file with another content and a right checksum."""
    held, description = model_file.read(path)
    description = {name: value for name, value in {**description, **changes}.items() if name != lacking}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_file, "_check_header", lambda header: None)
        model_file.write(path, held if arrays is None else arrays, description)


def layer(**fields: Any) -> dict[str, Any]:
    return {"network": {"is": "Sequential", "layers": [{"is": "Linear", **fields}]}}


DAMAGED = "its description is damaged: "
FORGERIES = [
    (layer(**{"is": "Liner"}), "unknown layer, loss, optimizer or metric 'Liner': did you mean 'Linear'? (known: "),
    (layer(**{"is": "os.system"}), "unknown layer, loss, optimizer or metric 'os.system' (known: "),
    (layer(out_features=0), "Linear: out_features must be a whole number, 1 or more, but is 0"),
    (layer(out_features="3"), "Linear: out_features must be a whole number, 1 or more, but is '3'"),
    (layer(out_features=10**12), "it holds 0.bias of shape (3,), but its network needs 0.bias of shape (10000000"),
    (layer(inputs=3), DAMAGED + "TypeError: Linear.__init__() got an unexpected keyword argument 'inputs'"),
    ({"network": {"is": "Sequential", "layers": [3]}}, "layer 0 of Sequential is 3, which is no layer: expected one"),
    ({"network": {"is": "Sequential", "layers": []}}, "it holds 0.bias of shape (3,), but its network needs no 0.bias"),
    ({"network": {"is": "Sequential"}}, DAMAGED + "KeyError: 'layers'"),
    ({"network": None}, "its network is None: expected names with values"),
    ({"network": {"is": "MSELoss"}}, "its network cannot be MSELoss"),
    ({"loss": {"is": "ReLU"}}, "its loss cannot be ReLU"),
    ({"optimizer": {"is": "Zeros"}}, "its optimizer cannot be Zeros"),
    ({"optimizer": {"is": "SGD", "lr": -1}}, "SGD: lr must be above 0 and finite, or a schedule"),
    ({"optimizer": {"is": "SGD", "lr": "fast"}}, "SGD: lr must be above 0 and finite, or a schedule"),
    ({"input_shape": [3]}, "it holds 0.weight of shape (2, 3), but its network needs 0.weight of shape (3, 3)"),
    *(({"input_shape": shape}, "its input_shape is [") for shape in ([0], [-2], [2.0], [True], [1] * 64)),
    *(
        ({"input_shape": shape}, f"its input_shape is {shape}: expected a list of at most 63 whole numbers, 1")
        for shape in (2, None)
    ),
    *(({"seed": seed}, f"its seed is {seed}: ") for seed in (-1, 0.5, True, None)),
    *(({"epoch": epoch}, f"its epoch is {epoch}: ") for epoch in (-1, 0.5, None)),
    ({"dtype": "float16"}, "its dtype is 'float16': expected float32 or float64"),
    ({"dtype": "float64"}, "it is a model of float64, but holds 0.bias as float32"),
    ({"metadata": [1]}, "its metadata is [1]: expected names with values"),
]


@pytest.mark.parametrize(("changes", "message"), FORGERIES)
def test_a_description_with_a_right_checksum_and_absurd_content_is_refused(
    path: Path, changes: dict[str, Any], message: str
) -> None:
    forge(path, **changes)
    assert complaint(path).startswith(f"FILE cannot be loaded: {message}")


@pytest.mark.parametrize("name", ["network", "loss", "optimizer", "input_shape", "dtype", "seed", "epoch", "metadata"])
def test_a_description_that_lacks_something_is_refused(path: Path, name: str) -> None:
    forge(path, lacking=name)
    assert complaint(path) == f"FILE cannot be loaded: it has no {name}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", DAMAGED + "JSONDecodeError: "),
        ("[]", DAMAGED + "TypeError: "),
        ("{}", DAMAGED + "KeyError: 'format'"),
        ("[" * 99_999, DAMAGED + "RecursionError: "),
        ('{"format": 4}', "its format is 4, not one of (1, 2, 3); a newer anynet may have written it"),
        ('{"format": 1, "sha256": ""}', "its checksum does not fit its content"),
    ],
    ids=lambda text: text[:30],
)
def test_a_description_that_is_none_is_refused(path: Path, text: str, message: str) -> None:
    path.write_bytes(safetensors.numpy.save({"weight": np.zeros(1)}, metadata={"anynet": text}))
    assert complaint(path).startswith(f"FILE cannot be loaded: {message}")


WEIGHTS = {
    "it holds 0.weight of shape (3, 2), but its network needs 0.weight of shape (2, 3)": lambda w: {"0.weight": w.T},
    "it holds no 0.weight, but its network needs 0.weight of shape (2, 3)": lambda w: {"0.weight": None},
    "it holds 9.bias of shape (2,), but its network needs no 9.bias": lambda w: {"9.bias": w[:, 0]},
    "it is a model of float32, but holds 0.weight as int32": lambda w: {"0.weight": w.astype(np.int32)},
}


@pytest.mark.parametrize("message", WEIGHTS)
def test_weights_of_another_network_are_refused(path: Path, message: str) -> None:
    arrays, _ = model_file.read(path)
    arrays |= WEIGHTS[message](arrays["0.weight"])
    forge(path, {name: array for name, array in arrays.items() if array is not None})
    assert complaint(path) == f"FILE cannot be loaded: {message}"


def test_an_unknown_backend_is_not_blamed_on_the_file(path: Path) -> None:
    with pytest.raises(BackendError, match="unknown backend 'cuppy'"):
        Model.load(path, backend="cuppy")


def test_a_model_without_weights_has_nothing_to_save(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the model has no weights yet"):
        Model(nn.Linear(2), nn.MSELoss(), nn.SGD(0.1)).save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()], ids=repr)
def test_a_failing_write_leaves_the_old_file_alone(path: Path, call: str, error: Any, monkeypatch: Any) -> None:
    before = path.read_bytes()

    def fail(*arguments: Any) -> None:
        raise error

    monkeypatch.setattr(os, call, fail)
    with pytest.raises((WriteError, KeyboardInterrupt)) as caught:
        small_model(seed=1).save(path)
    monkeypatch.undo()
    if isinstance(error, OSError):
        assert str(caught.value) == f"cannot write {path}: No space left on device"
    assert list(path.parent.iterdir()) == [path]
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_synced_is_no_failure(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def only_files(descriptor: int) -> None:
        is_folder.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
        if is_folder[-1]:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    is_folder: list[bool] = []
    monkeypatch.setattr(os, "fsync", only_files)
    small_model(seed=1).save(path)
    assert is_folder == [False, True]
    assert Model.load(path).seed == 1


def test_a_place_that_cannot_be_written_is_refused(path: Path) -> None:
    for place in (path.parent, path.parent / "missing" / "model", path / "model", path.parent / "nul\0"):
        with pytest.raises(WriteError) as caught:
            small_model().save(place)
        assert str(caught.value).startswith(f"cannot write {place}: ")
    assert list(path.parent.iterdir()) == [path]


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
