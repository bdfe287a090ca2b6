"""A batch that NumPy computes in pieces, on several threads, gives what it gives as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from backends.compiled import ROWS, assert_compiled_is_the_step, model_and_batch
from backends.test_compiled_steps import STATES, of

from anynet import nn
from anynet.backends.numpy import cuts, pieces, step
from anynet.backends.numpy.pieces import in_pieces
from anynet.checks import cases
from anynet.tracing import StepProgram, trace_step

pytestmark = [pytest.mark.host, pytest.mark.usefixtures("memory_is_full_of_nonsense", "pieces_of_few_rows")]


@pytest.fixture(params=[1, 3], ids=["one thread", "three threads"])
def pieces_of_few_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "FITTING", 100)
    monkeypatch.setattr(pieces, "BYTES_PER_CALL", 0)
    monkeypatch.setattr(step, "usual_threads", lambda: request.param)


@pytest.mark.parametrize("case", cases.LAYERS, ids=lambda case: case.name)
@pytest.mark.parametrize("large", [0, 1 << 17], ids=["all matrices are large", "none is"])
def test_any_layer(case: Any, large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "FEW_BYTES", large)
    network = nn.Sequential(nn.Linear(case.shape[-1]), case.layer, nn.Linear(2))
    model, batch = model_and_batch(network, case.shape, rows=11)
    assert_compiled_is_the_step("numpy", model._train.whole, model.state, batch, reuse=3)


@pytest.mark.parametrize("case", cases.LOSSES, ids=lambda case: case.name)
def test_any_loss(case: Any) -> None:
    layers = [nn.Linear(case.shape[-1]), *([nn.Sigmoid()] if isinstance(case.loss, nn.BCELoss) else [])]
    model, batch = model_and_batch(nn.Sequential(*layers), (3,), case.loss, rows=31)
    assert_compiled_is_the_step("numpy", model._train.whole, model.state, batch)


def test_measuring_and_predicting() -> None:
    model, batch = model_and_batch(nn.Sequential(nn.Linear(30), nn.Linear(3)), (5,), nn.CrossEntropyLoss())
    assert_compiled_is_the_step("numpy", model._evaluation[0], model.state, batch)
    assert_compiled_is_the_step("numpy", model._predict, model.state, batch[:1])


@pytest.mark.parametrize("name", STATES)
def test_any_change_of_state(name: str) -> None:
    change, state = STATES[name]
    assert_compiled_is_the_step("numpy", of(change), tuple(map(np.asarray, state)), (np.ones((3, 4)),), reuse=3)


X, W = np.random.default_rng(0).normal(size=(12, 20)), np.random.default_rng(1).normal(size=(20, 20))
# Each crosses the rows of the batch in its own way.
ACROSS = {
    "each row beside all others": lambda xp, w, x: xp.matmul(x, xp.matrix_transpose(x)),
    "in the order of the rows": lambda xp, w, x: xp.cumulative_sum(xp.exp(x), axis=0),
    "backwards": lambda xp, w, x: xp.exp(x)[::-1] + 1.0,
    "beside their sum": lambda xp, w, x: xp.exp(x - xp.sum(xp.exp(x), axis=0)) * xp.max(x),
    "the largest of each column": lambda xp, w, x: xp.exp(x) * xp.astype(xp.argmax(xp.exp(x), axis=0), x.dtype),
    "all of them": lambda xp, w, x: xp.where(xp.all(xp.exp(x) > 0.1, axis=0), xp.any(x > 2), x < xp.prod(x, axis=0)),
    "as columns": lambda xp, w, x: xp.matmul(w, xp.matrix_transpose(xp.tanh(x))),
    "in another shape": lambda xp, w, x: xp.reshape(xp.reshape(xp.exp(x), (24, 10)) + 1.0, (6, 40)),
    "after others": lambda xp, w, x: xp.concat([xp.exp(x), xp.matmul(x, w)]) * 2.0,
    "as indices": lambda xp, w, x: xp.take(w, xp.astype(xp.abs(x), xp.int64) % 20, axis=0),
    "by number": lambda xp, w, x: xp.take(xp.exp(x), xp.asarray([3, 1]), axis=0),
    "sums of sums": lambda xp, w, x: xp.matmul(x / xp.sum(x * x), xp.matmul(xp.matrix_transpose(xp.tanh(x)), x)),
}


@pytest.mark.parametrize("name", ACROSS)
def test_what_crosses_the_batch(name: str) -> None:
    def step(xp: Any, state: Any, batch: Any) -> Any:
        y = ACROSS[name](xp, state[0], batch[0])
        return (state[0] + xp.sum(xp.astype(y, xp.float64)),), {"m": y}

    assert_compiled_is_the_step("numpy", step, (W,), (X,), reuse=3)


def test_what_is_the_same_for_all_times_of_one_row_is_not_written_over() -> None:
    network = nn.Sequential(nn.GRU(3, return_sequences=True), nn.GRU(3, return_sequences=True), nn.GlobalAvgPool())
    for rows in (1, 7):
        model, batch = model_and_batch(network, (4, 3), rows=rows)
        assert_compiled_is_the_step("numpy", model._train.whole, model.state, batch)


def traced(network: Any, rows: int = 12) -> StepProgram:
    model, batch = model_and_batch(network, (20,), rows=rows)
    return trace_step(model._train.whole, np, model.state, batch)


def products(program: StepProgram) -> list[Any]:
    return [x.shape for x in program.values if x.op == "matmul"]


def test_a_small_step_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "FITTING", 1 << 20)
    program = traced(nn.Linear(40))
    assert in_pieces(program, 2) == (program, {})


def test_a_step_of_many_small_operations_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "BYTES_PER_CALL", 1000)
    program = traced(nn.Sequential(nn.Linear(40), *[nn.Tanh()] * 20))
    assert in_pieces(program, 2) == (program, {})


def test_pieces_fit_and_are_shared_out_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "FITTING", 40 * 8 * 5)
    found, lanes = in_pieces(traced(nn.Linear(40)), 2)
    # Three pieces of at most five rows would leave one thread with nothing to do.
    assert products(found) == [(3, 40), (20, 40)] * 4
    assert {*lanes.values()} == {(0, 0), (0, 1)}


def test_a_huge_batch_has_no_more_pieces_than_can_be_planned_in_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "MOST_PIECES", 3)
    found, _ = in_pieces(traced(nn.Linear(40)), 1)
    assert products(found) == [(4, 40), (20, 40)] * 3


def test_a_product_of_few_rows_with_a_large_matrix_is_computed_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "FEW_BYTES", 10)
    found, _ = in_pieces(traced(nn.Sequential(nn.Linear(40), nn.ReLU())), 1)
    assert (12, 40) in products(found)


def test_statistics_of_a_batch_are_those_of_the_whole_batch() -> None:
    network = nn.Sequential(nn.Linear(20), nn.BatchNorm(), nn.Linear(2))
    _, lanes = in_pieces(traced(network), 1)
    # The mean, the variance, the output; and of the gradient two sums.
    assert len({loop for loop, _ in lanes.values()}) >= 3


def test_the_same_each_time() -> None:
    model, batch = model_and_batch(nn.Sequential(nn.Linear(60), nn.Tanh(), nn.Linear(2)), (20,), rows=ROWS)
    run = model.backend.run
    batches = tuple(x[None] for x in batch)
    (first, _), (second, _) = (run(model._train.whole, model.state, batches, donate=False) for _ in range(2))
    for one, other in zip(first.parameters, second.parameters, strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_error_in_a_thread_is_raised() -> None:
    from anynet.backends.numpy.lanes import side_by_side

    def fails() -> None:
        raise ValueError("here")

    with side_by_side(2) as run, pytest.raises(ValueError, match="here"):
        run([[], [fails]])
