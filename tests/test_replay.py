"""What is played back is what the step would have computed, to the last bit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from anynet import nn
from anynet.backends import select
from anynet.backends.base import Backend
from anynet.backends.blas import one_thread
from anynet.backends.replay import Replay, leaves
from anynet.training import Model, cases

BATCH = 7
STEPS = 5


def both_ways(step: Any, state: Any, batches: Any) -> tuple[Any, Any]:
    """State and metrics after the plain loop, and after playing back, from the same start."""
    backend = select("numpy", "float64")
    copies = iter([np.array(leaf) for leaf in leaves(state)])
    from anynet.backends.replay import rebuilt

    own = rebuilt(state, copies)
    # A thread more would cut a product in two, and round it differently.
    with one_thread():
        expected = Backend.run(backend, step, state, batches)
        actual = backend.run(step, own, batches)
    assert any(isinstance(replay, Replay) for replay in backend._replays.values())
    return expected, actual


def assert_same_bytes(expected: Any, actual: Any) -> None:
    for one, other in zip(leaves(expected), leaves(actual), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def model_and_batches(layer: Any, shape: Any, loss: Any = None, optimizer: Any = None, batch: int = BATCH) -> Any:
    loss = loss or nn.MSELoss()
    model = Model(layer, loss, optimizer or nn.SGD(0.1), dtype="float64").build(shape)
    generator = np.random.default_rng(1)
    x = generator.uniform(0.1, 0.9, (STEPS, batch, *shape))
    target = np.stack([cases.draw_target(generator, loss, (batch, *model.layout.out_shape)) for _ in range(STEPS)])
    return model, (x, target, np.full((STEPS, batch), 1 / batch))


@pytest.mark.parametrize("batch", [1, BATCH, 200])
@pytest.mark.parametrize("case", cases.LAYERS, ids=lambda case: case.name)
def test_training_any_layer_is_played_back_to_the_last_bit(case: Any, batch: int) -> None:
    network = nn.Sequential(nn.Linear(case.shape[-1]), case.layer, nn.Linear(2))
    model, batches = model_and_batches(network, case.shape, batch=batch)
    assert_same_bytes(*both_ways(model._train, model.state, batches))


@pytest.mark.parametrize("case", cases.LOSSES, ids=lambda case: case.name)
def test_training_with_any_loss_is_played_back_to_the_last_bit(case: Any) -> None:
    layers = [nn.Linear(case.shape[-1]), *([nn.Sigmoid()] if isinstance(case.loss, nn.BCELoss) else [])]
    model, batches = model_and_batches(nn.Sequential(*layers), (3,), case.loss)
    assert_same_bytes(*both_ways(model._train, model.state, batches))


@pytest.mark.parametrize("case", cases.OPTIMIZERS, ids=lambda case: case.name)
@pytest.mark.parametrize("piece_bytes", [96 << 10, 64])
def test_training_with_any_optimizer_is_played_back_whole_and_in_pieces(
    case: Any, piece_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anynet.backends.pieces.PIECE_BYTES", piece_bytes)
    network = nn.Sequential(nn.Linear(20), nn.ReLU(), nn.Linear(3))
    model, batches = model_and_batches(network, (5,), optimizer=case.optimizer)
    assert_same_bytes(*both_ways(model._train, model.state, batches))


def test_measuring_and_predicting_are_played_back_too() -> None:
    model, batches = model_and_batches(nn.Linear(3), (5,), nn.CrossEntropyLoss())
    assert_same_bytes(*both_ways(model._evaluate, model.state, batches))
    assert_same_bytes(*both_ways(model._predict, model.state, batches[:1]))


def running_sum(state: Any, batch: Any) -> Any:
    total = state["total"]
    total += batch[0]
    return {"total": total}, {"total": total * 1.0}


def test_a_state_is_updated_where_it_lies() -> None:
    backend = select("numpy")
    total = np.zeros(2)
    state, metrics = backend.run(running_sum, {"total": total}, (np.ones((3, 2)),))
    assert state["total"] is total
    np.testing.assert_array_equal(metrics["total"][:, 0], [1, 2, 3])


def test_an_array_that_the_step_changes_later_is_noted_as_it_was() -> None:
    def step(state: Any, batch: Any) -> Any:
        constant = np.ones(2)
        first = batch[0] * constant
        constant *= 2
        return state, {"sum": first + batch[0] * constant}

    expected, actual = both_ways(step, (), (np.ones((3, 2)),))
    assert_same_bytes(expected, actual)
    np.testing.assert_array_equal(actual[1]["sum"][2], [3, 3])


def test_room_is_given_again_only_when_nothing_can_ask_for_it() -> None:
    def step(state: Any, batch: Any) -> Any:
        (x,) = batch
        view = (x + 1.0)[1:]
        for _ in range(3):
            x = np.reshape(np.exp(x), (2, 2)) - 0.5
            x = np.reshape(x, (4,))
        return state, {"view": view * 1.0, "x": x}

    assert_same_bytes(*both_ways(step, (), (np.random.default_rng(0).normal(size=(4, 4)),)))


@pytest.mark.parametrize(
    "step",
    [
        lambda state, batch: (state, {"x": batch[0] * float(batch[0][0] > 0)}),
        lambda state, batch: ((state[1], state[0]), {"x": batch[0]}),
        lambda state, batch: (state, {"x": np.full(2, len(np.flatnonzero(np.asarray(batch[0]))))}),
    ],
    ids=["reads a value", "swaps its state", "is no array mathematics"],
)
def test_a_step_that_cannot_be_followed_runs_as_it_is(step: Any) -> None:
    backend = select("numpy")
    batches = (np.asarray([[1.0, 2.0], [-1.0, 3.0]]),)
    expected = Backend.run(backend, step, (np.zeros(1), np.ones(1)), batches)
    for _ in range(2):
        actual = backend.run(step, (np.zeros(1), np.ones(1)), batches)
        assert_same_bytes(expected, actual)
    assert not any(backend._replays.values())


def test_memory_is_kept_for_a_few_shapes_only() -> None:
    model = Model(nn.Linear(2), nn.MSELoss(), nn.SGD(0.1)).build((3,))
    for rows in range(1, 30):
        for _ in range(2):
            model.predict(np.zeros((rows, 3)))
    assert len(model.backend._replays) <= 8  # type: ignore[attr-defined]


def test_threads_that_predict_with_one_model_do_not_disturb_each_other() -> None:
    model = Model(nn.Sequential(nn.Linear(50), nn.Tanh(), nn.Linear(2)), nn.MSELoss(), nn.SGD(0.1)).build((3,))
    inputs = [np.full((100, 3), float(i)) for i in range(8)]
    expected = [model.predict(x) for x in inputs]
    with ThreadPoolExecutor(8) as threads:
        for _ in range(20):
            for one, other in zip(expected, threads.map(model.predict, inputs), strict=True):
                np.testing.assert_array_equal(one, other)
