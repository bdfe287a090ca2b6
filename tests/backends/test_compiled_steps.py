"""What a backend compiles a step to trains as the step does, and keeps its state as the step does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from backends.compiled import ROWS, A, B, assert_compiled_is_the_step, compiling, model_and_batch, of

from anynet import nn
from anynet.backends import select
from anynet.checks import cases

pytestmark = pytest.mark.usefixtures("memory_is_full_of_nonsense")

SIZES = [(1, "float64"), (ROWS, "float64"), (ROWS, "float32"), (200, "float64")]


@compiling
class TestTraining:
    @pytest.mark.parametrize(("rows", "dtype"), SIZES)
    @pytest.mark.parametrize("case", cases.LAYERS, ids=lambda case: case.name)
    def test_any_layer(self, backend_name: str, case: Any, rows: int, dtype: str) -> None:
        network = nn.Sequential(nn.Linear(case.shape[-1]), case.layer, nn.Linear(2))
        model, batch = model_and_batch(network, case.shape, rows=rows, dtype=dtype, backend=backend_name)
        assert_compiled_is_the_step(
            backend_name, model._train.whole, model.state, batch, 1e-12 if dtype == "float64" else 1e-5
        )

    @pytest.mark.parametrize("case", cases.LOSSES, ids=lambda case: case.name)
    def test_with_any_loss(self, backend_name: str, case: Any) -> None:
        layers = [nn.Linear(case.shape[-1]), *([nn.Sigmoid()] if isinstance(case.loss, nn.BCELoss) else [])]
        model, batch = model_and_batch(nn.Sequential(*layers), (3,), case.loss, backend=backend_name)
        assert_compiled_is_the_step(backend_name, model._train.whole, model.state, batch)

    @pytest.mark.parametrize("case", cases.OPTIMIZERS, ids=lambda case: case.name)
    def test_with_any_optimizer(self, backend_name: str, case: Any) -> None:
        network = nn.Sequential(nn.Linear(20), nn.ReLU(), nn.Linear(3))
        model, batch = model_and_batch(network, (5,), optimizer=case.optimizer, backend=backend_name)
        assert_compiled_is_the_step(backend_name, model._train.whole, model.state, batch, reuse=3)

    def test_measuring_and_predicting(self, backend_name: str) -> None:
        model, batch = model_and_batch(nn.Linear(3), (5,), nn.CrossEntropyLoss(), backend=backend_name)
        assert_compiled_is_the_step(backend_name, model._evaluation[0], model.state, batch)
        assert_compiled_is_the_step(backend_name, model._predict, model.state, batch[:1])


LARGE = np.random.default_rng(0).normal(size=(200, 60))
SQUARE = np.random.default_rng(1).normal(size=(300, 300)) / 300


def with_itself(xp: Any, x: Any) -> Any:
    return x - xp.matmul(x, x)


# Each reads of the old state what another kernel, or another thread, has reason to overwrite first.
STATES: dict[str, tuple[Any, Any]] = {
    "each is changed by the other": (lambda xp, s, x: (s[0] + s[1], s[0] * s[1]), (A, B)),
    "they change places": (lambda xp, s, x: (s[1], s[0]), (A, B)),
    "they change places in other shapes": (
        lambda xp, s, x: (xp.reshape(s[1], (3, 4)), xp.reshape(s[0], (2, 6))),
        (A, B.reshape(2, 6)),
    ),
    "one becomes the other, which changes, in another shape": (
        lambda xp, s, x: (xp.reshape(s[1], (3, 4)), s[1] * 2),
        (A, B.reshape(2, 6)),
    ),
    "one becomes the other": (lambda xp, s, x: (s[1], s[1]), (A, B)),
    "backwards": (lambda xp, s, x: (s[0][::-1, ::-1],), (A,)),
    "transposed": (lambda xp, s, x: (xp.matrix_transpose(s[0]) + s[0],), (A[:, :3].copy(),)),
    "a row for all": (lambda xp, s, x: (s[0] - s[0][:1], s[1] + s[0]), (A, B)),
    "a sum of what changes": (lambda xp, s, x: (s[0] / xp.sum(s[0]), xp.sum(s[0], axis=1)), (A, B[:, 0].copy())),
    "means that run": (
        lambda xp, s, x: (s[0] * 0.9 + 0.1 * x, s[1] * 0.5 + 0.5 * (x * x), s[0] - s[1] * s[2][0, 0]),
        (A, B, A * 0.1),
    ),
    "a bound that moves": (lambda xp, s, x: (xp.maximum(s[0], s[1]), s[1] + 2 + x[0, 0]), (A, np.asarray(3.0))),
    "a count": (lambda xp, s, x: (s[0] * s[1], s[1] + 1), (A, np.asarray(3.0))),
    "a count, for two shapes": (lambda xp, s, x: (s[0] * s[2], s[1] + s[2], s[2] + 1), (A, B[0].copy(), np.asarray(3))),
    "a product": (lambda xp, s, x: (xp.matmul(s[0], s[1]), s[1] * 2), (A[:, :3].copy(), B[:, :3].copy())),
    "a circle of three": (lambda xp, s, x: (s[1][:, 0], xp.stack([s[0]] * 4, axis=1)), (A[:, 0].copy(), B)),
    "a product that is added": (
        lambda xp, s, x: (s[0] * s[2] + xp.matmul(s[1], x) * s[2], s[1] - s[2], s[2] + 1),
        (A, B[:, :3].copy(), np.asarray(0.5)),
    ),
    "a product with itself that is taken away": (lambda xp, s, x: (s[0] - xp.matmul(s[0], s[0]) * 0.1,), (SQUARE,)),
    "a product with itself, transposed": (
        lambda xp, s, x: (xp.matmul(xp.matrix_transpose(s[0]), s[0]) + s[0],),
        (SQUARE,),
    ),
    "a product with itself, changed, that is taken away": (
        lambda xp, s, x: (with_itself(xp, xp.tanh(s[0])), with_itself(xp, s[1] + s[1])),
        (SQUARE, SQUARE.T.copy()),
    ),
    "a product that is multiplied by it": (lambda xp, s, x: (s[0] * xp.matmul(s[0], s[0]),), (SQUARE,)),
    "a batch": (lambda xp, s, x: (xp.sum(x) + s[0], s[1]), (A, B)),
    "all that is large": (lambda xp, s, x: (s[0] - s[0] / xp.sqrt(xp.sum(s[0] * s[0])),), (LARGE,)),
    "rows that are large": (
        lambda xp, s, x: (s[0] - xp.max(s[0], axis=1, keepdims=True) * s[1], s[1] + 1),
        (LARGE, A[0, 0]),
    ),
    "columns that are large": (lambda xp, s, x: (s[0] - xp.sum(xp.exp(s[0]), axis=0),), (LARGE,)),
}


@compiling
@pytest.mark.parametrize("name", STATES)
def test_the_old_state_is_read_before_it_is_overwritten(backend_name: str, name: str) -> None:
    change, state = STATES[name]
    assert_compiled_is_the_step(backend_name, of(change), tuple(map(np.asarray, state)), (B.copy(),), reuse=3)


@compiling
def test_a_state_of_names_keeps_each_under_its_own(backend_name: str) -> None:
    backend = select(backend_name, "float64")

    def step(xp: Any, state: Any, batch: Any) -> Any:
        return {"b": state["b"] + batch[0], "a": state["a"] * 2.0}, {"m": state["a"] - state["b"]}

    for names in ("ab", "ba"):
        state = {name: backend.asarray(A * (name == "a")) for name in names}
        state, metrics = backend.run(step, state, (backend.asarray(np.ones((3, 3, 4))),))
        np.testing.assert_array_equal(backend.to_numpy(state["a"]), A * 8)
        np.testing.assert_array_equal(backend.to_numpy(state["b"]), 0 * A + 3)
        np.testing.assert_array_equal(backend.to_numpy(metrics["m"][2, ...]), A * 4 - 2)


@compiling
@pytest.mark.filterwarnings("ignore:this step cannot be compiled")
def test_a_batch_that_the_step_changes_is_changed_for_it_alone(backend_name: str) -> None:
    backend = select(backend_name, "float64")

    def step(xp: Any, state: Any, batch: Any) -> Any:
        (x,) = batch
        x *= 2
        return state, {"m": xp.sum(x)}

    batches = backend.asarray(np.ones((4, 3)))
    _, metrics = backend.run(step, (), (batches,))
    assert backend.to_numpy(metrics["m"]).tolist() == [6, 6, 6, 6]


@compiling
def test_what_is_only_read_is_left_as_it_is(backend_name: str) -> None:
    backend = select(backend_name, "float64")
    elsewhere = backend.asarray(A)

    def step(xp: Any, state: Any, batch: Any) -> Any:
        return state, {"m": xp.exp(state[0] * 2) + elsewhere * batch[0], "n": xp.exp(elsewhere)}

    state = (backend.asarray(B),)
    for donate in (True, False):
        for _ in range(3):
            backend.run(step, state, (backend.asarray(np.ones((2, 3, 4))),), donate=donate)
    np.testing.assert_array_equal(backend.to_numpy(state[0]), B)
    np.testing.assert_array_equal(backend.to_numpy(elsewhere), A)
