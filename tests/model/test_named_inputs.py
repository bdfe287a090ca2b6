"""Networks that take a dict of arrays, each with a layer of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import anynet
from anynet import Model, nn
from anynet.distributed import run_threads
from anynet.errors import CheckpointError, DataError, ShapeError, UsageError
from anynet.model.checkpoints import Checkpoints, latest
from anynet.nn import Conv2d, Embedding, Flatten, Frozen, Inputs, Linear, ReLU, Rescale, Sequential, Shared

DRAWN = np.random.default_rng(0)
X = {
    "table": DRAWN.normal(size=(30, 3)),
    "image": DRAWN.integers(0, 256, (30, 4, 4, 1)).astype(np.uint8),
    "word": DRAWN.integers(0, 7, (30, 1)),
}
Y = DRAWN.integers(0, 3, 30)
SHAPE = {"table": (3,), "image": (4, 4, 1), "word": (1,)}
NETWORK = Sequential(
    Inputs(
        image=Sequential(Rescale(1 / 255), Conv2d(2, 3), nn.BatchNorm(), Flatten()),
        table=Linear(4),
        word=Sequential(Embedding(7, 2), Flatten()),
    ),
    nn.Tanh(),
    Linear(3),
)


def model(network: Any = NETWORK, **options: Any) -> Model:
    return Model(network, nn.CrossEntropyLoss(), nn.Adam(0.01), **{"dtype": "float64"} | options)


def part(rows: Any, x: Any = X) -> dict[str, Any]:
    return {name: array[rows] for name, array in x.items()}


def test_every_backend_trains_on_them_to_the_same_numbers(backend_name: str) -> None:
    models = [model(backend=name) for name in ("numpy", backend_name)]
    options: Any = {"epochs": 3, "batch_size": 8, "validation_data": (part(slice(9)), Y[:9])}
    records = [[(record["loss"], record["val_loss"]) for record in one.fit(X, Y, **options)] for one in models]
    np.testing.assert_allclose(*records, rtol=1e-9)
    np.testing.assert_allclose(*(one.predict(X) for one in models), rtol=1e-7)
    np.testing.assert_allclose(*(list(one.evaluate(X, Y).values()) for one in models), rtol=1e-7)


@pytest.mark.needs("torch")
def test_output_and_gradients_are_those_of_pytorch() -> None:
    import torch

    network = Sequential(Inputs(a=Linear(2), b=nn.Tanh()), Linear(3))
    x = {"a": X["table"], "b": X["table"][:, :2]}
    one = model(network).build({"a": (3,), "b": (2,)})
    p = {name: torch.asarray(array, requires_grad=True) for name, array in one.parameters.items()}
    a, b = (torch.asarray(array) for array in x.values())
    joined = torch.cat([a @ p["0.a.weight"] + p["0.a.bias"], torch.tanh(b)], dim=1)
    output = joined @ p["1.weight"] + p["1.bias"]
    torch.nn.functional.cross_entropy(output, torch.asarray(Y)).backward()
    np.testing.assert_allclose(one.predict(x), output.detach().numpy(), rtol=1e-10)
    for name, gradient in one.gradients(x, Y).items():
        found = p[name].grad
        assert found is not None
        np.testing.assert_allclose(gradient, found.numpy(), rtol=1e-9, atol=1e-12)


def test_bytes_stay_bytes_until_they_are_inside_the_step() -> None:
    one, as_floats = model(), model()
    assert one.fit(X, Y)[0]["loss"] == as_floats.fit(X | {"image": X["image"].astype(np.float64)}, Y)[0]["loss"]


def test_gradients_agree_with_differences(backend_name: str) -> None:
    assert anynet.gradcheck(NETWORK, SHAPE, backend=backend_name).error < 1e-7
    checked = anynet.gradcheck(Inputs(a=Frozen(Linear(2)), b=Linear(2)), {"a": (3,), "b": X["table"][:3]}, elements=2)
    assert checked.error < 1e-7
    both = Inputs(a=Shared(Linear(2), "one"), b=Shared(Linear(2), "one"))
    assert anynet.gradcheck(both, {"a": (3,), "b": (3,)}).error < 1e-7
    assert len(Model(both, nn.MSELoss(), nn.SGD(0.1)).build({"a": (3,), "b": (3,)}).parameters) == 2


def test_they_may_be_nested_and_frozen() -> None:
    network = Frozen(Sequential(Inputs(a=Inputs(b=Linear(2), c=ReLU()), d=ReLU()), Linear(2)))
    x = {"a": {"b": X["table"], "c": X["table"]}, "d": X["table"]}
    one = Model(network, nn.MSELoss(), nn.SGD(0.1)).build({"a": {"b": (3,), "c": (3,)}, "d": (3,)})
    assert one.predict(x).shape == (30, 2)
    assert list(one.activations(x)) == ["0.a.b", "0.a.c", "0.a", "0.d", "0", "1"]
    with pytest.raises(ShapeError, match=r"x\['a'\] has no 'c': the network takes a dict with b, c"):
        one.predict({"a": {"b": X["table"]}, "d": X["table"]})


def test_what_it_makes_of_each_can_be_seen() -> None:
    one = model().build(SHAPE)
    rows = {row.name: row.output for row in one.summary().rows}
    assert (rows["0.image.0"], rows["0.table"], rows["0"], rows["1"]) == ((4, 4, 1), (4,), (14,), (14,))
    assert repr(model().summary(SHAPE)) == repr(one.summary())
    assert [row.output for row in model().summary().rows] == [None] * len(rows)
    assert "'table': (3,)" in repr(one)
    found = one.activations(X)
    assert {name: found[name].shape for name in ("0.word.0", "0")} == {"0.word.0": (30, 1, 2), "0": (30, 14)}
    np.testing.assert_array_equal(found["2"], one.predict(X))


def test_a_saved_model_takes_the_same(tmp_path: Path) -> None:
    one = model()
    one.fit(X, Y)
    one.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model")
    assert loaded.network == NETWORK
    assert loaded.input_shape == SHAPE
    np.testing.assert_array_equal(loaded.predict(X), one.predict(X))


def test_a_training_on_them_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    whole, first, second = model(), model(), model()
    whole.fit(X, Y, epochs=3, batch_size=8)
    checkpoints = Checkpoints(tmp_path, every_steps=3, keep=9)
    first.fit(X, Y, epochs=3, batch_size=8, checkpoints=checkpoints)
    path = sorted(tmp_path.glob("checkpoint-*"))[1]
    second.fit(X, Y, epochs=3, batch_size=8, resume=path)
    np.testing.assert_array_equal(second.predict(X), whole.predict(X))
    flat = X | {"image": X["image"][:, :, :3]}
    with pytest.raises(CheckpointError, match=r"its samples have shape \{.*\(4, 4, 1\).*, not \{.*\(4, 3, 1\)"):
        model().fit(flat, Y, epochs=3, batch_size=8, resume=latest(tmp_path))


def test_each_may_be_a_file(tmp_path: Path) -> None:
    for name, array in X.items():
        np.save(tmp_path / f"{name}.npy", array)
    one, other = model(), model()
    one.fit(X, Y, batch_size=8)
    files = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in X}
    other.fit(files | {"table": [tmp_path / "table.npy"]}, Y, batch_size=8)
    np.testing.assert_allclose(other.predict(files), one.predict(X), rtol=1e-12)
    other.fit(X | {"word": files["word"]}, Y)


# On CuPy both are on one GPU, where NCCL cannot link them.
@pytest.mark.filterwarnings("ignore:ranks sum through the host")
def test_ranks_share_every_batch_of_them() -> None:
    def trained(comm: Any) -> Any:
        one = model(comm=comm)
        one.fit(X, Y, epochs=2, batch_size=8, accumulate=2, validation_data=(X, Y))
        return one.predict(X)

    alone = trained(None)
    for found in run_threads(2, trained):
        np.testing.assert_allclose(found, alone, rtol=1e-9, atol=1e-9)


def test_ranks_that_are_given_other_rows_of_one_are_told() -> None:
    def train(comm: Any) -> None:
        model(comm=comm).fit(X | {"table": X["table"] + comm.rank}, Y, batch_size=8)

    with pytest.raises(UsageError, match="rank 1 differs from rank 0 in data"):
        run_threads(2, train)


def test_a_layer_of_ones_own_may_take_a_dict(backend_name: str) -> None:
    class Dot(nn.Layer):
        trainable = False
        indices = {"one": None, "other": None}  # noqa: RUF012

        def parameters(self, shape: Any) -> Any:
            return {}, (1,)

        def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
            return xp.sum(x["one"] * x["other"], axis=-1, keepdims=True)

    assert anynet.gradcheck(Dot(), {"one": (3,), "other": (3,)}, backend=backend_name).error < 1e-7
    network = Sequential(Dot(), Linear(1))
    one = Model(network, nn.MSELoss(), nn.Adam(0.1), backend=backend_name)
    x = {"other": X["table"], "one": X["table"]}
    losses = [record["loss"] for record in one.fit(x, Y[:, None], epochs=5)]
    assert losses[-1] < losses[0]


@pytest.mark.host
@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (X["table"], ShapeError, "x is of type ndarray, but the network takes a dict with image, table, word"),
        (X | {"tabel": Y}, ShapeError, "x has 'tabel', but the network takes a dict with image, table, word"),
        ({"image": X["image"], "word": X["word"]}, ShapeError, "x has no 'table': the network takes a dict with"),
        (
            X | {"table": X["table"][:7]},
            ShapeError,
            "all inputs must have one row for each sample, but image has 30, table has 7, word has 30",
        ),
        (X | {"table": X["table"] * np.nan}, DataError, r"x\['table'\] holds nan in row 0"),
        (X | {"table": X["image"]}, ShapeError, r"takes samples of shape \(3,\), but x\['table'\] has .* \(4, 4, 1\)"),
        (X | {"word": X["word"] + 7}, DataError, r"x\['word'\] must hold indices from 0 to 6, but row 0 has"),
        (X | {"table": {"inner": X["table"]}}, ShapeError, r"x\['table'\] is a dict, but the network takes one array"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(x: Any, error: Any, words: str) -> None:
    one = model().build(SHAPE)
    for call in (one.predict, one.activations, lambda x: one.fit(x, Y), lambda x: one.evaluate(x, Y)):
        with pytest.raises(error, match=words):
            call(x)


@pytest.mark.host
@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (Inputs, UsageError, r"Inputs needs a layer for each input by name, such as Inputs\(image=Flatten"),
        (lambda: Inputs(a=3), UsageError, "layer 0 of Inputs is 3, which is no layer"),  # type: ignore[arg-type]
        (lambda: Inputs(**{"a.b": ReLU()}), UsageError, "a text without '.' and '/', but is 'a.b'"),
        (
            lambda: model(Linear(3)).fit(X, Y),
            ShapeError,
            r"x is a dict, .* one array: begin it with Inputs\(table=\.\.",
        ),
        (
            lambda: model().build((3,)),
            ShapeError,
            "the shape of a sample is of type tuple, but the network takes a dict",
        ),
        (
            lambda: model(Linear(3)).build(SHAPE),
            ShapeError,
            "the shape of a sample is a dict, but the network takes one",
        ),
        (lambda: model().build(SHAPE | {"word": 3}), ShapeError, "must be a tuple of whole numbers"),
        (
            lambda: model(Sequential(ReLU(), NETWORK)).build((3,)),
            ShapeError,
            r"layer 1 .* Inputs takes a dict with image, table, word, as a network's first",
        ),
        (
            lambda: model().build(SHAPE | {"image": (2, 2, 1)}),
            ShapeError,
            r"layer 0 \(Inputs\): the image \(Sequential\): layer 1 \(Conv2d\): ",
        ),
        (lambda: model(nn.Concat(Inputs(a=ReLU()))).fit({"a": Y}, Y), ShapeError, "the network takes one array"),
    ],
)
def test_what_cannot_be_is_refused(make: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        make()


def test_a_damaged_shape_in_a_file_is_refused() -> None:
    from anynet.model import schema

    for shape in ([3], {"a": [3], "b": {"c": []}}):
        schema.check(shape, schema.INPUT_SHAPE)
    for shape in ({"a": [0]}, {"a": 3}, {"a": {"b": None}}):
        with pytest.raises(DataError, match="or names with such lists"):
            schema.check(shape, schema.INPUT_SHAPE)


def test_an_estimator_takes_one_array() -> None:
    from anynet.estimators import NetClassifier

    with pytest.raises(
        ShapeError, match="Inputs takes a dict with image, table, word, as a network's first layer, but"
    ):
        NetClassifier(NETWORK).fit(X["table"], Y)
