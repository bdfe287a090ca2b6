"""What a backend compiles a step to computes what its operations do, one by one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anynet import nn
from anynet.backends import select
from anynet.backends.numpy import lowering, memory
from anynet.backends.numpy.step import CompiledStep
from anynet.checks import cases
from anynet.model import Model
from anynet.tracing import trace
from anynet.tracing.trees import leaves, rebuilt

compiling = pytest.mark.backends("numpy", "cupy")
ROWS = 7


def model_and_batch(
    network: Any,
    shape: Any,
    loss: Any = None,
    optimizer: Any = None,
    rows: int = ROWS,
    dtype: str = "float64",
    backend: str = "numpy",
) -> Any:
    loss = loss or nn.MSELoss()
    model = Model(network, loss, optimizer or nn.SGD(0.1), backend=backend, dtype=dtype)
    model.backend.pack_limit = np.inf  # type: ignore[misc]
    model.build(shape)
    generator = np.random.default_rng(1)
    x = generator.uniform(0.1, 0.9, (rows, *shape)).astype(dtype)
    target = cases.draw_target(generator, loss, (rows, *model.layout.out_shape))
    return model, (x, target, np.full(rows, 1 / rows, dtype))


@pytest.fixture(autouse=True)
def memory_is_full_of_nonsense(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which shows in whatever reads it before it is written."""
    if "cupy" in request.node.name:
        import cupy

        monkeypatch.setattr(
            cupy, "empty", lambda shape, dtype: cupy.full(shape, 1e30 if np.dtype(dtype).kind == "f" else 99, dtype)
        )
        return
    empty = memory.empty

    def filled(size: int) -> Any:
        room = empty(size)
        room[...] = 99
        return room

    monkeypatch.setattr(memory, "empty", filled)
    # So that small products are added where they lie, too.
    monkeypatch.setattr(lowering, "FEW_NUMBERS", 0)


def compiled(backend: Any, step: Any, state: Any, batch: Any) -> Callable[[Any, Any], Any]:
    """The step on one batch, as the backend makes it of its program."""
    program = trace(step, backend.xp, state, batch, backend.device)
    if backend.name == "numpy":
        calls = CompiledStep(program)
        return lambda state, batch: calls.run(state, tuple(x[None] for x in batch))
    from anynet.backends.cupy.step import FusedStep

    return functools.partial(FusedStep(program, backend._products), backend.xp)


def assert_compiled_is_the_step(
    backend_name: str, step: Any, state: Any, batch: Any, tolerance: float = 1e-12, reuse: int = 2
) -> None:
    """Compare so many steps with the plain ones, on the same arrays, whose rows change places after each."""
    backend = select(backend_name, "float64")
    own, plain = (rebuilt(state, (backend.xp.asarray(x, copy=True) for x in leaves(state))) for _ in range(2))
    arrays = tuple(map(backend.xp.asarray, batch))
    with backend.scope():
        one_step = compiled(backend, step, own, arrays)
        for _ in range(reuse):
            own, metrics = one_step(own, arrays)
            plain, expected = step(backend.xp, plain, arrays)
            assert metrics.keys() == expected.keys()
            found = [*leaves(own), *(backend.xp.reshape(metrics[name], x.shape) for name, x in expected.items())]
            for one, other in zip(found, [*leaves(plain), *expected.values()], strict=True):
                assert (one.shape, one.dtype) == (other.shape, other.dtype)
                np.testing.assert_allclose(
                    backend.to_numpy(one), backend.to_numpy(other), rtol=tolerance, atol=tolerance
                )
            arrays = tuple(backend.xp.asarray(x[::-1, ...] if x.ndim else x, copy=True) for x in arrays)


SIZES = [(1, "float64"), (ROWS, "float64"), (ROWS, "float32"), (200, "float64")]


@compiling
class TestTraining:
    @pytest.mark.parametrize(("rows", "dtype"), SIZES)
    @pytest.mark.parametrize("case", cases.LAYERS, ids=lambda case: case.name)
    def test_any_layer(self, backend_name: str, case: Any, rows: int, dtype: str) -> None:
        network = nn.Sequential(nn.Linear(case.shape[-1]), case.layer, nn.Linear(2))
        model, batch = model_and_batch(network, case.shape, rows=rows, dtype=dtype, backend=backend_name)
        assert_compiled_is_the_step(
            backend_name, model._train, model.state, batch, 1e-12 if dtype == "float64" else 1e-5
        )

    @pytest.mark.parametrize("case", cases.LOSSES, ids=lambda case: case.name)
    def test_with_any_loss(self, backend_name: str, case: Any) -> None:
        layers = [nn.Linear(case.shape[-1]), *([nn.Sigmoid()] if isinstance(case.loss, nn.BCELoss) else [])]
        model, batch = model_and_batch(nn.Sequential(*layers), (3,), case.loss, backend=backend_name)
        assert_compiled_is_the_step(backend_name, model._train, model.state, batch)

    @pytest.mark.parametrize("case", cases.OPTIMIZERS, ids=lambda case: case.name)
    def test_with_any_optimizer(self, backend_name: str, case: Any) -> None:
        network = nn.Sequential(nn.Linear(20), nn.ReLU(), nn.Linear(3))
        model, batch = model_and_batch(network, (5,), optimizer=case.optimizer, backend=backend_name)
        assert_compiled_is_the_step(backend_name, model._train, model.state, batch, reuse=3)

    def test_measuring_and_predicting(self, backend_name: str) -> None:
        model, batch = model_and_batch(nn.Linear(3), (5,), nn.CrossEntropyLoss(), backend=backend_name)
        assert_compiled_is_the_step(backend_name, model._evaluate, model.state, batch)
        assert_compiled_is_the_step(backend_name, model._predict, model.state, batch[:1])


A, B = np.arange(1.0, 13.0).reshape(3, 4), np.arange(12.0).reshape(3, 4) - 5
LARGE = np.random.default_rng(0).normal(size=(200, 60))
SQUARE = np.random.default_rng(1).normal(size=(300, 300)) / 300


def of(change: Callable[[Any, Any, Any], Any]) -> Any:
    return lambda xp, state, batch: (change(xp, state, batch[0]), {"m": batch[0] * 1.0})


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


EXPRESSIONS: dict[str, Callable[[Any, Any], Any]] = {
    "integers that overflow": lambda xp, x: (
        (xp.astype(x, xp.int32) * 2**30 + (2**31 - 1)) * 3 - (xp.astype(x, xp.int32) << 30)
    ),
    "unsigned bytes": lambda xp, x: xp.astype(xp.abs(x), xp.uint8) * 200 + ~xp.astype(xp.abs(x), xp.uint8),
    "conditions": lambda xp, x: ~(x > 0) & (x < 3) | (x == 3) ^ (x != 2),
    "what is not finite": lambda xp, x: xp.where(
        xp.isfinite(1 / x), xp.log(x), xp.astype(xp.isnan(xp.sqrt(x)), x.dtype)
    ),
    "infinite and no number": lambda xp, x: xp.maximum(xp.where(x > 0, -xp.inf, xp.nan), x) + xp.minimum(x, xp.inf),
    "signs": lambda xp, x: xp.sign(x) + xp.sign(0 / x) + xp.abs(-x) + xp.round(x / 2),
    "functions": lambda xp, x: xp.tanh(xp.expm1(x) + xp.log1p(xp.abs(x)) ** 1.5) + xp.atan2(x, x + 1),
    "largest and smallest of integers": lambda xp, x: (
        xp.max(xp.astype(x, xp.int32)) - xp.min(xp.astype(x, xp.int64), axis=0)
    ),
    "any and all": lambda xp, x: xp.any(x > 3, axis=1) & ~xp.all(x > -9, axis=1),
    "the index of the largest": lambda xp, x: xp.argmax(x, axis=1) + xp.sum(xp.astype(x, xp.int32), axis=1),
    "axes at both ends": lambda xp, x: xp.sum(xp.reshape(x, (3, 2, 2)), axis=(0, 2)),
    "joined by columns": lambda xp, x: xp.concat([x, x * 2, x[:, :1]], axis=1) + 1,
    "constants that are joined": lambda xp, x: xp.concat(
        [xp.ones(3) * 2.5 * xp.ones(3), x[0], xp.sum(xp.ones((2, 3)), axis=1)]
    ),
    "constants that are multiplied": lambda xp, x: xp.matmul(xp.ones((3, 3)), xp.ones((3, 4))) + 1.0 + x,
    "joined rows of few numbers": lambda xp, x: xp.concat([xp.reshape(x, (6, 2)) * k for k in range(8)]) + 1,
    "joined within what is joined": lambda xp, x: xp.concat(
        [xp.concat([x[0] * 2, x[1]]), x[2], xp.concat([x[0] * 2, x[0] + x[1]])]
    ),
    "joined, and a piece read when that is no more": lambda xp, x: joined_and_read(xp, x[0] * 2, x[1]),
    "joined and read again": lambda xp, x: xp.sum(xp.concat([x * 2, x * 2, x])[1:], axis=0),
    "rows": lambda xp, x: xp.take(x, xp.astype(x[:, 0] > 0, xp.int64), axis=0) * 2,
    "batched products": lambda xp, x: xp.matmul(x[:, None, :], x[:, :, None]),
    "a product of views": lambda xp, x: xp.matmul(
        xp.matrix_transpose(x[::2, 1:]), xp.broadcast_to(x[:1, ::-1], (2, 4))
    ),
    "a product of a view that is an output too": lambda xp, x: {"m": x[::2, 1:], "p": xp.matmul(x[::2, 1:], x[:, :2])},
    "a product of a view that is a piece too": lambda xp, x: {
        "m": xp.concat([x[::2, 1:] * 2, x[::2, 1:]]),
        "p": xp.matmul(x[::2, 1:], x[:, :2]),
    },
    "a product of a product": lambda xp, x: xp.matmul(xp.matmul(x, xp.matrix_transpose(x)) * 0.1, x) + 1,
    "multiples that are added": lambda xp, x: (x * 2 + 3 * xp.exp(x)) - (x[0, 0] * (x + 0.5 * x) - 0.25 * x),
    "multiples that lie in another order": lambda xp, x: xp.exp(x) + 2 * xp.matrix_transpose(xp.reshape(x, (4, 3)) * 3),
    "a product and a row": lambda xp, x: xp.matmul(x, xp.matrix_transpose(x)) * 2 + x[0, :3],
    "a product from which another is taken": lambda xp, x: xp.matmul(x[:, :3], x) - 3 * xp.matmul(x[:, 1:], x),
    "products of no rows in order": lambda xp, x: x[:, :2] - xp.matmul(x[:, ::2], x[::2, ::2]) * x[:1, :1],
    "a product that is a row for all": lambda xp, x: x + xp.matmul(x[:1, :3], x),
    "a product of one row many times": lambda xp, x: x + xp.matmul(xp.broadcast_to(x[:1, :3], (3, 3)), x),
    "a product that is read twice": lambda xp, x: twice(x, xp.matmul(x, xp.matrix_transpose(x))),
    "products of integers": lambda xp, x: (
        xp.astype(x, xp.int32)[:, :3] + xp.matmul(xp.astype(x, xp.int32), xp.astype(xp.matrix_transpose(x), xp.int32))
    ),
    "a long chain": lambda xp, x: functools.reduce(lambda y, _: y * 0.99 + 0.01, range(500), x),
    "many chains": lambda xp, x: chain(xp, x, 40),
    "counted": lambda xp, x: xp.arange(2, 10, 2) * x + xp.reshape(xp.arange(12), (3, 4)),
    "constant": lambda xp, x: xp.zeros((2, 2)) + 1,
}


def joined_and_read(xp: Any, piece: Any, other: Any) -> Any:
    changed = xp.tanh(xp.concat([piece, other]))
    return {"changed": changed, "piece": piece + changed[:4]}


def twice(x: Any, product: Any) -> Any:
    return (x[:, :3] + product) * product


def chain(xp: Any, x: Any, length: int) -> Any:
    for _ in range(length):
        x = xp.tanh(x) * x + xp.exp(-x * x)
    return x


@compiling
@pytest.mark.parametrize("name", EXPRESSIONS)
def test_whatever_the_standard_has(backend_name: str, name: str) -> None:
    def step(xp: Any, state: Any, batch: Any) -> Any:
        found = EXPRESSIONS[name](xp, batch[0])
        return state, {"x": batch[0], **(found if isinstance(found, dict) else {"m": found})}

    assert_compiled_is_the_step(backend_name, step, (), (B,))


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
@pytest.mark.filterwarnings("ignore:this step runs operation by operation")
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


@compiling
@pytest.mark.parametrize("shape", [(3, 4), (70, 90), (1, 5000), (600, 1), (5, 7, 130), (60, 3, 30)])
def test_reductions_of_any_size_along_any_axes(backend_name: str, shape: Any) -> None:
    def step(xp: Any, state: Any, batch: Any) -> Any:
        (x,) = batch
        metrics = {}
        for axis in (*range(x.ndim), None):
            centred = x - xp.max(x, axis=axis, keepdims=True)
            spread = xp.sum(xp.exp(centred), axis=axis, keepdims=True)
            metrics[f"softmax {axis}"] = xp.exp(centred) / spread
            metrics[f"smallest {axis}"] = xp.min(centred, axis=axis)
        return state, metrics

    assert_compiled_is_the_step(backend_name, step, (), (np.random.default_rng(0).normal(size=shape),), 1e-10)


@compiling
def test_rows_that_are_joined_are_no_rows_of_the_blocks_that_wrote_them(backend_name: str) -> None:
    def step(xp: Any, state: Any, batch: Any) -> Any:
        # Four blocks write the pieces, one for each row of (2, 2), and four rows are joined of them.
        pieces = [xp.max(x, axis=2, keepdims=True) - x[:, :, :700] for x in (batch[0], -batch[0])]
        return state, {"sums": xp.sum(xp.concat(pieces), axis=(1, 2))}

    assert_compiled_is_the_step(backend_name, step, (), (np.random.default_rng(0).normal(size=(2, 2, 2000)),))


UNARY: list[Callable[[Any, Any], Any]] = [
    lambda xp, x: xp.tanh(x),
    lambda xp, x: xp.where(x > 0, x, 0.1 * x),
    lambda xp, x: x - xp.max(x, axis=-1, keepdims=True),
    lambda xp, x: x / (1 + xp.sum(x * x, axis=0, keepdims=True)),
    lambda xp, x: xp.matrix_transpose(x) + xp.sum(x),
    lambda xp, x: xp.reshape(x, (x.shape[1], x.shape[0])) * 0.5,
    lambda xp, x: x[::-1],
    lambda xp, x: xp.concat([x[:2] * 0.5, x[2:]]),
    lambda xp, x: xp.concat([x[:, 1:], x[:, :1]], axis=1),
    lambda xp, x: xp.astype(xp.astype(10 * xp.tanh(x), xp.int32), x.dtype) * 0.1,
]
BINARY: list[Callable[[Any, Any, Any], Any]] = [
    lambda xp, x, y: x + y[:1, :1],
    lambda xp, x, y: x * xp.sum(y),
    lambda xp, x, y: xp.tanh(xp.matmul(x, xp.reshape(y, (x.shape[1], -1)))[:, :1]) + x,
    lambda xp, x, y: xp.maximum(x, xp.reshape(y, x.shape)) if x.size == y.size else x,
    lambda xp, x, y: 0.5 * x - xp.matmul(xp.matmul(x, xp.matrix_transpose(x)), xp.tanh(x)) * (0.01 * y[0, 0]),
]


@compiling
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    sizes=st.sampled_from([(4, 6), (60, 80)]),
    steps=st.lists(
        st.tuples(st.integers(0, len(UNARY) + len(BINARY) - 1), st.integers(0, 9), st.integers(0, 9)),
        min_size=3,
        max_size=12,
    ),
    states=st.lists(st.integers(0, 9), min_size=2, max_size=2),
    read=st.lists(st.integers(0, 9), min_size=1, max_size=3),
)
def test_programs_made_at_random(backend_name: str, sizes: Any, steps: Any, states: Any, read: Any) -> None:
    def step(xp: Any, state: Any, batch: Any) -> Any:
        known = [*state, *batch]
        for which, first, second in steps:
            x, y = known[first % len(known)], known[second % len(known)]
            known.append(UNARY[which](xp, x) if which < len(UNARY) else BINARY[which - len(UNARY)](xp, x, y))
        new = [xp.tanh(xp.reshape(known[-1 - i % len(known)], sizes)) for i in states]
        return tuple(new), {str(i): known[-1 - n % len(known)] * 1.0 for i, n in enumerate(read)}

    generator = np.random.default_rng(0)
    state = tuple(generator.normal(size=sizes) for _ in range(2))
    assert_compiled_is_the_step(backend_name, step, state, (generator.normal(size=sizes),), 1e-9, reuse=1)
