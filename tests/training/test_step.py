"""The training step against the same worked out by hand: clipping, decay, the rate of the step, and the rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from anynet import Model, nn
from anynet.nn import SGD, BatchNorm, Context, Layout, Linear, LinearDecay, MSELoss, Rescale, Sequential
from anynet.nn.optimizers import Optimizer
from anynet.training.state import state_of
from anynet.training.step import as_floats, loss_and_gradient, prediction_step, training_step

NETWORK = Sequential(Linear(2), BatchNorm())
SHAPE = (3,)
GENERATOR = np.random.default_rng(4)
WEIGHT, BIAS = GENERATOR.normal(size=(3, 2)), GENERATOR.normal(size=2)
ARRAYS = {
    "0.weight": WEIGHT,
    "0.bias": BIAS,
    "1.weight": np.asarray([2.0, 3.0]),
    "1.bias": np.asarray([0.5, -0.5]),
    "1.running_mean": np.zeros(2),
    "1.running_var": np.ones(2),
}
PARAMETERS = [name for name in ARRAYS if "running" not in name]
X, Y = GENERATOR.normal(size=(5, 3)), GENERATOR.normal(size=(5, 2))
SHARES = np.asarray([0.1, 0.2, 0.3, 0.4, 0.0])


def gradients_by_hand() -> dict[str, Any]:
    p = {layer: {n.partition(".")[2]: a for n, a in ARRAYS.items() if n.startswith(layer)} for layer in "01"}
    y, saved = NETWORK.forward(np, p, X, Context(training=True))
    _, dy = MSELoss()(np, y, Y, SHARES)
    return nn.layout.by_name(NETWORK.backward(np, p, saved, dy)[1])


def after_a_step(library: Any, optimizer: Any, number: int = 0, pack_limit: float = 6, **options: Any) -> Any:
    """All arrays by name after one step, the loss, and the state."""
    layout = Layout(NETWORK, SHAPE, pack_limit)
    backend = library.backend
    if optimizer.weight_decay:
        options["decays"] = tuple(backend.asarray(marks) for marks in layout.decays(np))
    differentiate = loss_and_gradient(backend, NETWORK, MSELoss(), layout)
    step = training_step(backend, differentiate, optimizer, layout, **options)
    state = state_of(backend, layout, optimizer, ARRAYS, step=number)
    with backend.scope():
        after, measured = step(backend.xp, state, tuple(map(library.given, (X, Y, SHARES))))
    blocks = tuple(map(backend.to_numpy, after.parameters)), tuple(map(backend.to_numpy, after.buffers))
    return nn.layout.by_name(layout.unpack(np, *blocks)), measured, after


@pytest.fixture
def close(library: Any) -> Any:
    tolerance = 1e-10 if library.dtype == "float64" else 1e-4
    return lambda found, expected: np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_weights_go_down_the_gradient_and_buffers_become_those_of_the_batch(library: Any, close: Any) -> None:
    arrays, measured, state = after_a_step(library, SGD(0.25))
    for name, gradient in gradients_by_hand().items():
        close(arrays[name], ARRAYS[name] - 0.25 * gradient)
    before = X @ WEIGHT + BIAS
    close(arrays["1.running_mean"], 0.1 * before.mean(axis=0))
    close(arrays["1.running_var"], 0.9 + 0.1 * before.var(axis=0, ddof=1))
    normal = (before - before.mean(axis=0)) / np.sqrt(before.var(axis=0) + 1e-5) * [2, 3] + [0.5, -0.5]
    assert measured.keys() == {"loss"}
    close(library.backend.to_numpy(measured["loss"]), (SHARES @ (normal - Y) ** 2).mean())
    assert int(library.backend.to_numpy(state.step)) == 1
    close(library.backend.to_numpy(state.learning_rate), 0.25)


def test_the_gradient_is_clipped_as_a_whole_where_it_is_asked_for(library: Any, close: Any) -> None:
    gradients = gradients_by_hand()
    norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients.values()))
    arrays, _, _ = after_a_step(library, SGD(1.0), clip_norm=0.5)
    for name, gradient in gradients.items():
        close(arrays[name], ARRAYS[name] - gradient * 0.5 / (norm + 1e-6))


def test_weights_decay_before_the_step_by_rate_and_decay(library: Any, close: Any) -> None:
    arrays, _, _ = after_a_step(library, SGD(0.25, weight_decay=0.5))
    for name, gradient in gradients_by_hand().items():
        kept = 1 - 0.25 * 0.5 if name == "0.weight" else 1
        close(arrays[name], ARRAYS[name] * kept - 0.25 * gradient)


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_a_schedule_is_asked_for_the_rate_of_the_step(library: Any, close: Any, decay: float) -> None:
    arrays, _, state = after_a_step(library, SGD(LinearDecay(1.0, steps=8), weight_decay=decay), number=6)
    for name, gradient in gradients_by_hand().items():
        kept = 1 - 0.25 * decay if name == "0.weight" else 1
        close(arrays[name], ARRAYS[name] * kept - 0.25 * gradient)
    assert int(library.backend.to_numpy(state.step)) == 7
    # The rate in the state stays as it was, and unused.
    assert float(library.backend.to_numpy(state.learning_rate)) == 0


@dataclass(frozen=True)
class ByNorm(Optimizer):
    """Each parameter goes by its rate against its gradient's direction, and counts its numbers."""

    lr: float = 0.25
    weight_decay: float = 0.0
    elementwise = False

    def init(self, xp: Any, block: Any) -> Any:
        return {"numbers": xp.zeros((1,), dtype=block.dtype, device=getattr(block, "device", None))}

    def update(self, xp: Any, block: Any, gradient: Any, slots: Any, learning_rate: Any) -> Any:
        norm = xp.sqrt(xp.sum(gradient * gradient))
        return block - learning_rate * gradient / norm, {"numbers": slots["numbers"] + xp.sum(xp.ones_like(block))}


@pytest.mark.parametrize("pack_limit", [0, 6, 100])
def test_an_optimizer_that_is_not_elementwise_sees_each_parameter_by_itself(
    library: Any, close: Any, pack_limit: float
) -> None:
    arrays, _, state = after_a_step(library, ByNorm(weight_decay=0.5), pack_limit=pack_limit)
    for name, gradient in gradients_by_hand().items():
        kept = 1 - 0.25 * 0.5 if name == "0.weight" else 1
        # What comes before a normalisation has no gradient but that of rounding.
        if name != "0.bias":
            close(arrays[name], ARRAYS[name] * kept - 0.25 * gradient / np.sqrt((gradient**2).sum()))
    counted = [int(library.backend.to_numpy(slots["numbers"])[0]) for slots in state.slots]
    assert counted == [ARRAYS[name].size for name in PARAMETERS]


def test_an_optimizer_that_is_not_elementwise_needs_no_weight_decay() -> None:
    Model(NETWORK, MSELoss(), ByNorm()).fit(X, Y)


def test_dropout_is_given_the_seed_of_the_model_and_the_number_of_the_step(library: Any) -> None:
    seen: list[Context] = []

    class Seeing(nn.Flatten):
        def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
            seen.append(ctx)
            return super().forward(xp, p, x, ctx)

    backend, layout = library.backend, Layout(Seeing(), SHAPE)
    state = state_of(backend, layout, SGD(0.1), {}, step=5)
    batch = tuple(map(library.given, (X, X, SHARES)))
    with backend.scope():
        for options in ({}, {"seed": 9}):
            loss_and_gradient(backend, Seeing(), MSELoss(), layout, **options)(backend.xp, state, batch)
        prediction_step(backend, Seeing(), layout)(backend.xp, state, batch[:1])
    assert [(ctx.training, ctx.seed) for ctx in seen] == [(True, 0), (True, 9), (False, 0)]
    assert [ctx.step is state.step for ctx in seen] == [True, True, False]


def test_a_prediction_is_the_output_of_the_network_in_evaluation(library: Any, close: Any) -> None:
    backend, layout = library.backend, Layout(NETWORK, SHAPE)
    state = state_of(backend, layout, SGD(0.1), ARRAYS)
    with backend.scope():
        after, given = prediction_step(backend, NETWORK, layout)(backend.xp, state, (library.given(X),))
    assert after is state
    assert given.keys() == {"prediction"}
    expected = (X @ WEIGHT + BIAS) / np.sqrt(1 + 1e-5) * [2, 3] + [0.5, -0.5]
    close(backend.to_numpy(given["prediction"]), expected)


def test_numbers_become_floats_in_the_step_unless_the_network_takes_bytes(library: Any) -> None:
    backend = library.backend
    with backend.scope():
        whole = backend.asarray(np.asarray([[1, 2]], np.uint8))
        floats = library.given(np.asarray([[1.0, 2.0]]))
        for network in (Linear(1), Rescale(2.0)):
            assert as_floats(backend, network)(backend.xp, floats) is floats
        assert as_floats(backend, Rescale(2.0))(backend.xp, whole) is whole
        library.assert_equal(as_floats(backend, Linear(1))(backend.xp, whole), np.asarray([[1.0, 2.0]]))


def test_measuring_uses_the_statistics_that_predicting_uses() -> None:
    model = Model(NETWORK, MSELoss(), SGD(0.1), dtype="float64")
    model.fit(X, Y, epochs=2)
    expected = ((model.predict(X) - Y) ** 2).mean()
    assert model.evaluate(X, Y)["loss"] == pytest.approx(expected, rel=1e-12)
    assert model.evaluate(X, Y, SHARES)["loss"] == pytest.approx(
        (SHARES @ (model.predict(X) - Y) ** 2).mean(), rel=1e-12
    )


def test_bytes_are_measured_as_the_numbers_that_they_are() -> None:
    model = Model(NETWORK, MSELoss(), SGD(0.1), dtype="float64").build(SHAPE)
    whole = np.arange(15, dtype=np.uint8).reshape(5, 3)
    assert model.evaluate(whole, Y) == pytest.approx(model.evaluate(whole.astype(float), Y), rel=1e-12)
    np.testing.assert_allclose(model.predict(whole), model.predict(whole.astype(float)), rtol=1e-12)


def test_buffers_that_a_step_does_not_change_stay() -> None:
    model = Model(Sequential(Rescale(2.0, 1.0), BatchNorm()), MSELoss(), SGD(0.1), dtype="float64")
    model.fit(X, X, batch_size=5)
    assert (float(model.parameters["0.scale"]), float(model.parameters["0.shift"])) == (2.0, 1.0)
    np.testing.assert_allclose(model.parameters["1.running_mean"], 0.1 * (2 * (X - 1)).mean(axis=0), rtol=1e-9)


def test_no_gradient_of_the_data_is_computed() -> None:
    asked: list[Any] = []

    class Asked(Linear):
        def backward(self, xp: Any, p: Any, saved: Any, dy: Any, need_dx: bool = True) -> Any:
            asked.append(need_dx)
            return super().backward(xp, p, saved, dy, need_dx)

    Model(Asked(2), MSELoss(), SGD(0.1)).fit(X, Y)
    assert set(asked) == {False}
