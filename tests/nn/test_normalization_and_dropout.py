"""Layers that are one thing in training and another after it: their statistics, and what they draw."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from anynet import Model
from anynet.backends import select
from anynet.errors import ShapeError, UsageError
from anynet.nn import SGD, Adam, BatchNorm, Context, Dropout, LayerNorm, Layout, Linear, MSELoss, ReLU, Sequential
from anynet.nn.dropout import random_bits

X = np.random.default_rng(0).normal(2.0, 3.0, (64, 4))
Y = X.sum(axis=1, keepdims=True)


def model_on(backend: Any, *layers: Any, seed: int = 0) -> Model:
    return Model(Sequential(*layers), MSELoss(), SGD(0.01, momentum=0.9), backend=backend, dtype="float64", seed=seed)


@pytest.mark.needs("torch")
def test_running_statistics_are_those_of_pytorch(backend_name: str) -> None:
    import torch

    model = model_on(backend_name, BatchNorm(), Linear(1))
    model.fit(X, Y, batch_size=64, epochs=3)
    module = torch.nn.BatchNorm1d(4).double()
    for _ in range(3):
        module(torch.asarray(X))
    for name in ("running_mean", "running_var"):
        np.testing.assert_allclose(model.parameters[f"0.{name}"], getattr(module, name), rtol=1e-9)


def test_what_has_been_trained_normalises_by_its_running_statistics(backend_name: str) -> None:
    model = model_on(backend_name, BatchNorm(momentum=1.0))
    model.build((4,))
    model.fit(X, X, batch_size=64)
    p = {name.removeprefix("0."): array for name, array in model.parameters.items()}
    expected = (X - X.mean(axis=0)) / np.sqrt(X.var(axis=0, ddof=1) + 1e-5) * p["weight"] + p["bias"]
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-9)
    np.testing.assert_allclose(model.predict(X[:1]), expected[:1], rtol=1e-9)


LAYERS = (Linear(16), BatchNorm(), ReLU(), Dropout(0.3), Sequential(Linear(8), LayerNorm(), Dropout(0.2)), Linear(1))


def test_every_backend_drops_the_same_and_trains_to_the_same_numbers(backend_name: str) -> None:
    histories = [model_on(name, *LAYERS).fit(X, Y, epochs=5, batch_size=20) for name in ("numpy", backend_name)]
    losses = [[record["loss"] for record in history] for history in histories]
    np.testing.assert_allclose(*losses, rtol=1e-9)


def test_another_seed_drops_others(backend_name: str) -> None:
    first, second = (model_on(backend_name, Dropout(0.5), Linear(1), seed=seed) for seed in (0, 1))
    arrays = first.build((4,)).parameters
    losses = [m.build((4,), arrays).fit(X, Y, batch_size=64)[0]["loss"] for m in (first, second)]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_so_many_are_dropped_each_step_others_and_the_mean_stays(p: float) -> None:
    x = np.ones((1000, 100))
    dropped = [
        Dropout(p).forward(np, {}, x, Context(training=True, seed=3, step=np.asarray(step, np.int32)))[0]
        for step in (1, 2)
    ]
    for y in dropped:
        assert (y == 0).mean() == pytest.approx(p, abs=0.01)
        assert y.mean() == pytest.approx(1, abs=0.05)
    assert np.mean((dropped[0] == 0) & (dropped[1] == 0)) == pytest.approx(p * p, abs=0.01)


def test_the_bits_drawn_are_the_same_on_every_library_and_evenly_spread(backend_name: str) -> None:
    backend = select(backend_name)
    like = backend.asarray(np.zeros((300, 100), np.float32))
    step = backend.asarray(np.asarray(2**31 - 1, np.int32))
    with backend.scope():
        bits = backend.to_numpy(random_bits(backend.xp, like, Context(seed=123456789, step=step)))
    step = np.asarray(2**31 - 1, np.int32)
    expected = random_bits(np, np.zeros((300, 100), np.float32), Context(seed=123456789, step=step))
    np.testing.assert_array_equal(bits, expected)
    counts, _ = np.histogram(expected, bins=64, range=(0, 2**31))
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 110
    for bit in range(31):
        assert ((expected >> bit) & 1).mean() == pytest.approx(0.5, abs=0.012)


def test_a_pickled_model_trains_on_as_if_it_had_never_been_put_away(backend_name: str) -> None:
    model = Model(Sequential(*LAYERS), MSELoss(), Adam(0.01), backend=backend_name, dtype="float64", seed=5)
    model.fit(X, Y, epochs=2)
    again = pickle.loads(pickle.dumps(model))
    assert again.backend.name == "numpy"
    losses = [[record["loss"] for record in m.fit(X, Y, epochs=2)] for m in (model, again)]
    np.testing.assert_allclose(*losses, rtol=1e-9)


def lowbias32(number: int) -> int:
    """Of "Prospecting for hash functions", as C has it, with Python's numbers."""
    number ^= number >> 16
    number = number * 0x7FEB352D % 2**32
    number ^= number >> 15
    number = number * 0x846CA68B % 2**32
    return number ^ number >> 16


@pytest.mark.parametrize("seed", [0, 1, 123456789, 2**31, 2**40 + 7])
@pytest.mark.parametrize("step", [None, 0, 1, 2**31 - 1])
def test_the_bits_drawn_are_the_hash_of_the_paper(backend_name: str, seed: int, step: int | None) -> None:
    backend, golden_ratio = select(backend_name), 0x9E3779B1
    expected = [lowbias32((place + seed * golden_ratio) % 2**32) for place in range(24)]
    if step is not None:
        expected = [lowbias32((bits + step * golden_ratio) % 2**32) for bits in expected]
    like = backend.asarray(np.zeros((2, 3, 4), np.float32))
    number = None if step is None else backend.asarray(np.asarray(step, np.int32))
    with backend.scope():
        bits = backend.to_numpy(random_bits(backend.xp, like, Context(seed=seed, step=number)))
    assert bits.dtype == np.int32
    np.testing.assert_array_equal(bits, np.reshape([bits % 2**31 for bits in expected], (2, 3, 4)))


def test_each_layer_and_each_layer_within_a_layer_draws_bits_of_its_own() -> None:
    x, context = np.ones((20, 20)), Context(training=True, seed=4, step=np.asarray(1, np.int32))
    seeds = [context.at(place).seed for place in (0, 1, 2)]
    seeds += [context.at(0).at(place).seed for place in (0, 1, 2)]
    # Files of trained models rely on these numbers: who goes on with one draws what would have been drawn.
    assert seeds[:3] == [4_000_013, 4_000_014, 4_000_015]
    assert len({context.seed, *seeds}) == 7
    dropped = [Dropout(0.5).forward(np, {}, x, context.at(place))[0] == 0 for place in (0, 1)]
    assert (dropped[0] & dropped[1]).mean() == pytest.approx(0.25, abs=0.1)
    both = Sequential(Dropout(0.5), Dropout(0.5)).forward(np, {"0": {}, "1": {}}, x, context)[0]
    np.testing.assert_array_equal(both == 0, dropped[0] | dropped[1])


def test_what_is_kept_is_divided_by_the_share_that_is_kept_and_so_is_its_gradient(library: Any) -> None:
    def forward_and_backward(x: Any, dy: Any) -> Any:
        y, saved = Dropout(0.75).forward(library.xp, {}, x, Context(training=True, seed=1))
        return y, Dropout(0.75).backward(library.xp, {}, saved, dy)[0]

    x = np.arange(1.0, 101.0)
    found = library.call(forward_and_backward, library.given(x), library.owned(np.ones(100)))
    y, dx = map(library.backend.to_numpy, found)
    assert set(dx) == {0.0, 4.0}
    np.testing.assert_array_equal(y, x * dx)


@pytest.mark.parametrize("layer", [Dropout(0.5), Dropout(0), Dropout(0.0)], ids=repr)
def test_nothing_is_dropped_after_training_or_where_nothing_is_to_be(layer: Any) -> None:
    x = np.ones((3, 4))
    y, saved = layer.forward(np, {}, x, Context(training=layer.p == 0))
    assert y is x
    dy = np.full((3, 4), 2.0)
    np.testing.assert_array_equal(layer.backward(np, {}, saved, dy.copy())[0], dy)


def test_what_is_drawn_exactly_at_the_bound_is_kept() -> None:
    context = Context(training=True, seed=6, step=np.asarray(2, np.int32))
    bits = random_bits(np, np.ones(50), context)
    for place in range(50):
        y = Dropout(int(bits[place]) / 2**31).forward(np, {}, np.ones(50), context)[0]
        np.testing.assert_array_equal(y != 0, bits >= bits[place])


def test_a_share_of_nothing_can_be_dropped() -> None:
    assert Dropout(0).p == 0


P = {"weight": np.asarray([2.0, -0.5, 3.0]), "bias": np.asarray([1.0, 0.0, -1.0])}
RUNNING = {"running_mean": np.asarray([1.0, 2.0, 3.0]), "running_var": np.asarray([4.0, 0.25, 1.0])}


def differences(function: Any, x: Any, dy: Any) -> Any:
    """The gradient of sum(function(x) * dy), by differences."""
    gradient = np.empty(x.shape)
    for at in np.ndindex(x.shape):
        near = [x.copy(), x.copy()]
        near[0][at] += 1e-5
        near[1][at] -= 1e-5
        gradient[at] = sum(sign * (function(x) * dy).sum() for sign, x in zip((1, -1), near, strict=True)) / 2e-5
    return gradient


@pytest.mark.parametrize("eps", [1e-5, 0.5])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", [LayerNorm, BatchNorm], ids=lambda kind: kind.__name__)
def test_output_and_gradients_are_those_of_the_formula_for_any_weight(kind: Any, training: bool, eps: float) -> None:
    generator = np.random.default_rng(8)
    x, dy = generator.normal(2.0, 3.0, (4, 2, 3)), generator.normal(size=(4, 2, 3))
    axes: Any = -1 if kind is LayerNorm else (0, 1)

    def formula(x: Any) -> Any:
        if kind is BatchNorm and not training:
            mean, variance = RUNNING["running_mean"], RUNNING["running_var"]
        else:
            mean, variance = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
        return (x - mean) / np.sqrt(variance + eps)

    layer, p = kind(eps=eps), {**P, **RUNNING}
    y, saved = layer.forward(np, p, x, Context(training=training))
    np.testing.assert_allclose(y, formula(x) * P["weight"] + P["bias"], rtol=1e-12)
    dx, gradients = layer.backward(np, p, saved, dy.copy())
    np.testing.assert_allclose(dx, differences(lambda x: formula(x) * P["weight"] + P["bias"], x, dy), atol=1e-8)
    assert gradients.keys() == P.keys()
    np.testing.assert_allclose(gradients["weight"], (dy * formula(x)).sum(axis=(0, 1)), rtol=1e-12)
    np.testing.assert_allclose(gradients["bias"], dy.sum(axis=(0, 1)), rtol=1e-12)


@pytest.mark.parametrize("momentum", [0.25, 1.0])
def test_running_statistics_take_the_share_of_the_newest_batch_that_momentum_says(
    library: Any, momentum: float
) -> None:
    x = np.random.default_rng(8).normal(2.0, 3.0, (4, 2, 3))
    layer = BatchNorm(momentum=momentum)

    def updated(x: Any, p: Any) -> Any:
        _, saved = layer.forward(library.xp, p, x, Context(training=True))
        return layer.update_buffers(library.xp, p, saved)

    p = {name: library.given(array) for name, array in {**P, **RUNNING}.items()}
    new = library.call(updated, library.given(x), p)
    of_batch = {"running_mean": x.mean(axis=(0, 1)), "running_var": x.var(axis=(0, 1), ddof=1)}
    assert new.keys() == RUNNING.keys()
    for name, array in RUNNING.items():
        library.assert_equal(new[name], (1 - momentum) * array + momentum * of_batch[name])


def test_a_batch_of_one_row_leaves_the_running_statistics_and_is_normalised_by_them() -> None:
    x, layer = np.asarray([[3.0, 2.0, 1.0]]), BatchNorm()
    y, saved = layer.forward(np, {**P, **RUNNING}, x, Context(training=True))
    new = layer.update_buffers(np, {**P, **RUNNING}, saved)
    assert new.keys() == RUNNING.keys()
    for name, array in RUNNING.items():
        np.testing.assert_array_equal(new[name], array)
    np.testing.assert_allclose(y, [[3.0, 0.0, -7.0]], rtol=1e-4)


def test_two_rows_have_a_variance() -> None:
    y, saved = BatchNorm().forward(np, {**P, **RUNNING}, np.asarray([[3.0, 2.0, 1.0], [1.0, 4.0, 7.0]]), Context(True))
    np.testing.assert_allclose(y, [[3.0, 0.5, -4.0], [-1.0, -0.5, 2.0]], rtol=1e-4)
    new = BatchNorm().update_buffers(np, {**P, **RUNNING}, saved)
    np.testing.assert_allclose(
        new["running_var"], [0.9 * 4 + 0.1 * 2, 0.9 * 0.25 + 0.1 * 2, 0.9 + 0.1 * 18], rtol=1e-12
    )


def test_layers_that_normalise_have_a_weight_a_bias_and_what_runs_for_each_feature() -> None:
    for layer, names in ((LayerNorm(), [*P]), (BatchNorm(), [*P, *RUNNING])):
        specs, shape = layer.parameters((2, 3))
        assert shape == (2, 3)
        assert list(specs) == names
        drawn = Layout(layer, (2, 3)).initial(np, np.random.default_rng(0))
        for name in names:
            np.testing.assert_array_equal(drawn[name], np.full(3, float(name in ("weight", "running_var"))))
            assert specs[name].trainable == (name in P)
            assert specs[name].decay == (name not in P)


def test_one_feature_and_no_feature_can_be_normalised_too() -> None:
    for layer in (LayerNorm(), BatchNorm()):
        for features in (0, 1):
            p = {name: np.ones(features) for name in (*P, *RUNNING)}
            y, saved = layer.forward(np, p, np.full((3, features), 5.0), Context(training=True))
            np.testing.assert_array_equal(y, np.ones((3, features)))
            dx, _ = layer.backward(np, p, saved, np.ones((3, features)))
            np.testing.assert_allclose(dx, np.zeros((3, features)), atol=1e-9)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Dropout(1.0), "Dropout: p must be at least 0 and below 1, but is 1.0"),
        (lambda: Dropout(1.5), "Dropout: p must be at least 0 and below 1"),
        (lambda: Dropout(-1e-9), "Dropout: p must be at least 0 and below 1"),
        (lambda: LayerNorm(0.0), "LayerNorm: eps must be above 0 and finite, but is 0.0"),
        (lambda: LayerNorm(float("inf")), "LayerNorm: eps must be above 0 and finite"),
        (lambda: BatchNorm(eps=0), "BatchNorm: eps must be above 0 and finite, but is 0"),
        (lambda: BatchNorm(0.0), "BatchNorm: momentum must be above 0 and at most 1, but is 0.0"),
        (lambda: BatchNorm(1.001), "BatchNorm: momentum must be above 0 and at most 1"),
        (lambda: BatchNorm("0.1"), "BatchNorm: momentum must be above 0 and at most 1, but is '0.1'"),
    ],
)
def test_settings_that_cannot_be_are_refused(make: Any, words: str) -> None:
    with pytest.raises(UsageError, match=f"^{words}"):
        make()


@pytest.mark.parametrize("kind", [LayerNorm, BatchNorm], ids=lambda kind: kind.__name__)
def test_samples_that_are_single_numbers_cannot_be_normalised(kind: Any) -> None:
    with pytest.raises(
        ShapeError, match=f"^{kind.__name__} needs samples with at least one axis, but each is a single"
    ):
        kind().parameters(())
