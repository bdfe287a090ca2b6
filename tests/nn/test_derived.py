"""Layers of one's own that state forward alone, and losses that state their value alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import anynet
from anynet import Model, nn
from anynet.errors import UsageError
from anynet.nn import Context, derived
from anynet.nn.activations import sigmoid, softplus
from anynet.nn.dropout import random_bits

X = np.random.default_rng(0).normal(1.0, 2.0, (30, 4))
Y = X[:, :1] * X[:, 1:2]


@dataclass(frozen=True)
class Bent(nn.Layer):
    """Two parameters, one of them in a dict, and a setting."""

    power: float = 3.0

    def parameters(self, shape: Any) -> Any:
        width = shape[-1:]
        inner = {"scale": nn.Parameter(width, nn.Ones()), "fixed": nn.Parameter(width, nn.Ones(), trainable=False)}
        return {"shift": nn.Parameter(width, nn.Zeros()), "inner": inner}, shape

    def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
        return xp.tanh(x * p["inner"]["scale"] + p["inner"]["fixed"] * p["shift"]) ** self.power


@dataclass(frozen=True)
class Centred(nn.Layer):
    """It subtracts the mean of the batch in training, and the running one after it."""

    def parameters(self, shape: Any) -> Any:
        return {"mean": nn.Parameter(shape[-1:], nn.Zeros(), trainable=False)}, shape

    def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
        mean = xp.mean(x, axis=0) if ctx.training else p["mean"]
        return x - mean, {"mean": mean, "note": "kept"}

    def update_buffers(self, xp: Any, p: Any, saved: Any) -> Any:
        assert saved["note"] == "kept"
        return {"mean": 0.5 * p["mean"] + 0.5 * saved["mean"]}


@dataclass(frozen=True)
class Dropped(nn.Layer):
    """Dropout, by forward alone."""

    stochastic = True
    p: float = 0.5

    def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
        if not ctx.training:
            return x
        kept = random_bits(xp, x, ctx) >= int(self.p * 2**31)
        return x * xp.astype(kept, x.dtype) * (1 / (1 - self.p))


@dataclass(frozen=True)
class Polynomial(nn.Layer):
    """Its settings are a list, so it has no hash."""

    coefficients: list[float]

    def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
        total = x * 0.0
        for coefficient in self.coefficients:
            total = total * x + coefficient
        return total


@dataclass(frozen=True)
class Quartic:
    """A loss that states its value alone."""

    target_kind = "value"

    def __call__(self, xp: Any, prediction: Any, target: Any, weight: Any) -> Any:
        return xp.sum(weight[:, None] * (prediction - target) ** 4)


@dataclass(frozen=True)
class SquaredAlone:
    target_kind = "value"

    def __call__(self, xp: Any, prediction: Any, target: Any, weight: Any) -> Any:
        return xp.sum(weight[:, None] * (prediction - target) ** 2)


OWN = [Bent(2.0), Centred(), Dropped(0.3), Polynomial([0.1, -1.0, 0.5])]
CLASSES = [Bent, Centred, Dropped, Polynomial, Quartic]


def network(*own: Any) -> Any:
    return nn.Sequential(nn.Linear(6), *own, nn.Linear(1))


def model(layers: Any, backend: str = "numpy", loss: Any = nn.MSELoss(), **named: Any) -> Model:  # noqa: B008
    return Model(layers, loss, nn.Adam(0.01), backend=backend, dtype="float64", **named)


def losses(trained: Model, epochs: int = 3) -> list[float]:
    return [record["loss"] for record in trained.fit(X, Y, epochs=epochs, batch_size=8)]


@pytest.mark.parametrize("layer", OWN, ids=repr)
def test_the_derived_gradient_agrees_with_differences(backend_name: str, layer: Any) -> None:
    assert anynet.gradcheck(layer, (3,), backend=backend_name).error < 1e-7
    assert anynet.gradcheck(nn.Sequential(nn.Linear(4), layer, nn.Tanh()), (3,), backend=backend_name).error < 1e-7


@pytest.mark.parametrize("layer", OWN, ids=repr)
def test_every_backend_trains_it_to_the_same_numbers(backend_name: str, layer: Any) -> None:
    models = [model(network(layer), name) for name in ("numpy", backend_name)]
    np.testing.assert_allclose(losses(models[1]), losses(models[0]), rtol=1e-9)
    np.testing.assert_allclose(models[1].predict(X), models[0].predict(X), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    ("own", "written"),
    [(Dropped(0.4), nn.Dropout(0.4)), (Polynomial([1.0, 0.0]), nn.Sequential())],
    ids=["Dropout", "identity"],
)
def test_it_trains_as_the_layer_with_a_written_backward(backend_name: str, own: Any, written: Any) -> None:
    found, expected = (losses(model(network(layer), backend_name)) for layer in (own, written))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_float32_stays_float32(library: Any) -> None:
    for layer in OWN:
        shapes = nn.Layout(layer, (3,), pack_limit=0)
        arrays = {
            name: library.given(a.astype(library.dtype))
            for name, a in shapes.initial(np, np.random.default_rng(0)).items()
        }
        p = shapes.unpack(library.xp, *shapes.blocks(library.xp, arrays))

        def both(x: Any, layer: Any = layer, p: Any = p) -> Any:
            y, saved = layer.forward(library.xp, p, x, Context(training=True))
            return y, layer.backward(library.xp, p, saved, y)[0]

        x = np.ones((2, 3), library.dtype)
        for array in library.call(both, library.given(x)):
            assert str(array.dtype).rpartition(".")[2] == library.dtype


def test_what_forward_returns_beside_its_output_updates_the_buffers(backend_name: str) -> None:
    trained = model(nn.Sequential(Centred(), nn.Linear(1)), backend_name)
    trained.fit(X, Y, batch_size=len(X), epochs=2)
    np.testing.assert_allclose(trained.parameters["0.mean"], 0.75 * X.mean(axis=0))


@pytest.mark.parametrize("layer", OWN, ids=repr)
def test_it_is_saved_and_loaded_by_its_class(tmp_path: Path, layer: Any) -> None:
    trained = model(network(layer), loss=Quartic())
    trained.fit(X, Y)
    trained.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model", known=CLASSES)
    # A step that is compiled later may round otherwise.
    np.testing.assert_allclose(loaded.predict(X), trained.predict(X), rtol=1e-12)
    assert loaded.evaluate(X, Y) == pytest.approx(trained.evaluate(X, Y), rel=1e-12)


def test_nested_parameters_have_names_and_gradients_in_their_order() -> None:
    built = model(network(Bent())).build((4,))
    names = ["0.weight", "0.bias", "1.shift", "1.inner.scale", "2.weight", "2.bias"]
    assert list(built.gradients(X, Y)) == names
    assert built.parameters.keys() == {*names, "1.inner.fixed"}


def test_other_settings_shapes_or_modes_give_another_derivation() -> None:
    for layer, power in ((Bent(2.0), 2), (Bent(3.0), 3)):
        for rows in (2, 3):
            p = {"shift": np.zeros(4), "inner": {"scale": np.ones(4), "fixed": np.ones(4)}}
            y, saved = layer.forward(np, p, X[:rows], Context())
            np.testing.assert_allclose(y, np.tanh(X[:rows]) ** power)
            dx, _ = layer.backward(np, p, saved, np.ones_like(y))
            np.testing.assert_allclose(dx, power * np.tanh(X[:rows]) ** (power - 1) / np.cosh(X[:rows]) ** 2)
    assert (Dropped().forward(np, {}, X, Context())[0] == X).all()
    assert not (Dropped().forward(np, {}, X, Context(training=True))[0] == X).all()


class Scaled(nn.Layer):
    """Equal to itself alone, although its settings may change."""

    def __init__(self, scale: Any) -> None:
        self.scale = scale

    def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
        return x * (self.scale.scale if isinstance(self.scale, Scaled) else self.scale)


def test_a_setting_that_is_changed_between_calls_gives_another_derivation() -> None:
    inner = Scaled(2.0)
    for layer in (inner, Scaled(inner), Scaled(inner)):
        for scale in (2.0, 3.0):
            inner.scale = scale
            y, saved = layer.forward(np, {}, X, Context())
            np.testing.assert_array_equal(y, X * scale)
            np.testing.assert_array_equal(layer.backward(np, {}, saved, np.ones_like(y))[0], np.full(X.shape, scale))


def test_so_many_derivations_are_kept_and_no_more() -> None:
    for seed in range(derived.MOST_KEPT + 10):
        Dropped().forward(np, {}, np.ones((1, 1)), Context(training=True, seed=seed))
    assert len(derived._derived) == derived.MOST_KEPT


def test_a_layer_is_derived_once_for_all_steps_that_run_operation_by_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    derive = derived._derive
    monkeypatch.setattr(derived, "_derive", lambda layer, *given: made.append(layer) or derive(layer, *given))
    layer = Bent(power=2.0)
    Model(nn.Sequential(layer, nn.Linear(1)), nn.L1Loss(), nn.SGD(0.01), backend="strict").fit(X, Y, epochs=4)
    assert made == [layer]


def test_many_threads_train_at_once_as_each_would_alone() -> None:
    def trained(seed: int) -> list[float]:
        return losses(model(network(*OWN), seed=seed, loss=SquaredAlone()))

    expected = [trained(seed) for seed in range(4)]
    derived._derived.clear()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(trained, range(4)))
    np.testing.assert_array_equal(found, expected)


def test_a_loss_that_states_its_value_alone_trains_as_the_written_one(backend_name: str) -> None:
    assert anynet.gradcheck(Quartic(), (1,), backend=backend_name).error < 1e-7
    alone, written = (model(network(), backend_name, loss) for loss in (SquaredAlone(), nn.MSELoss()))
    np.testing.assert_allclose(losses(alone), losses(written), rtol=1e-12)
    assert alone.evaluate(X, Y)["loss"] == pytest.approx(written.evaluate(X, Y)["loss"], rel=1e-12)


class Faulty(nn.Layer):
    def __init__(self, formula: Any) -> None:
        self.formula = formula

    def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
        return self.formula(xp, x)


def changed_in_place(xp: Any, x: Any) -> Any:
    x *= 2.0
    return x


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        (lambda xp, x: x if xp.sum(x) > 0 else -x, "an array's value, as bool, float, int or iteration reads it"),
        (lambda xp, x: x * float(xp.max(x)), "an array's value, as bool, float, int or iteration reads it"),
        (lambda xp, x: x * max(row for row in x), "an array's value, as bool, float, int or iteration reads it"),
        (changed_in_place, "changes an argument in place; copy it first"),
        (lambda xp, x: xp.svd(x), "svd, which cannot be recorded"),
        (lambda xp, x: xp.cumulative_prod(x, axis=0), "cumulative_prod has no derivative here: use exp"),
    ],
)
def test_what_cannot_be_derived_is_said_in_words(backend_name: str, formula: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        model(network(Faulty(formula)), backend_name).fit(X, Y)


@pytest.mark.parametrize(("function", "slope"), [(sigmoid, 0.25), (softplus, 0.5)])
def test_a_formula_that_never_overflows_has_the_right_slope_where_it_changes(function: Any, slope: float) -> None:
    assert float(anynet.grad(lambda x: function(x.__array_namespace__(), x))(0.0)) == slope


class Doubled(nn.Layer):
    """Its gradient, and that of its parameter, are views of one array that it did not make."""

    def parameters(self, shape: Any) -> Any:
        return {"shift": nn.Parameter(shape, nn.Zeros())}, (*shape, 2)

    def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
        both = x + p["shift"]
        return xp.stack([both, both], axis=-1)


@dataclass(frozen=True)
class Total:
    """A loss whose gradient is the same number everywhere."""

    target_kind = "value"

    def __call__(self, xp: Any, prediction: Any, target: Any, weight: Any) -> Any:
        return xp.sum(prediction) + 0.0 * xp.sum(target)


def test_gradients_are_arrays_that_others_may_change(backend_name: str) -> None:
    own = nn.Sequential(nn.Linear(3), nn.Tanh(), Doubled(), nn.Flatten(), nn.Tanh())
    found = anynet.gradcheck(own, (4,), loss=Total(), backend=backend_name)
    assert found.error < 1e-7
    trained = Model(own, Total(), nn.SGD(0.1), backend=backend_name, dtype="float64", clip_norm=0.1)
    trained.fit(X, np.zeros((len(X), 6)), epochs=2)
    assert np.isfinite(trained.predict(X)).all()
