"""A program's few kernels compute what its operations do, one by one."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anynet import nn
from anynet.backends import select
from anynet.backends.cuda_fusion import Kernel, NotFusable, Plan
from anynet.backends.cuda_lowering import ONE_BLOCK
from anynet.tracing import trace
from anynet.tracing.trees import leaves, rebuilt
from anynet.training import Model, cases

on_a_gpu = pytest.mark.needs("cupy")
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


def full_of_nonsense(shape: Any, dtype: Any) -> Any:
    """Memory that nobody has written yet, which shows in whatever reads it."""
    import cupy

    return cupy.full(shape, 1e30 if np.dtype(dtype).kind == "f" else 99, dtype)


def assert_fused_is_the_step(step: Any, state: Any, batch: Any, tolerance: float = 1e-12, reuse: int = 2) -> Any:
    """Compare so many steps with the plain ones, on the same arrays."""
    from anynet.backends.cuda_step import FusedStep

    gpu = select("cupy", "float64")
    own, plain = (rebuilt(state, (gpu.xp.asarray(x, copy=True) for x in leaves(state))) for _ in range(2))
    arrays = tuple(map(gpu.xp.asarray, batch))
    with gpu.scope():
        fused = FusedStep(trace(step, gpu.xp, own, arrays), gpu._products)  # type: ignore[attr-defined]
        for _ in range(reuse):
            with patch("cupy.empty", full_of_nonsense):
                own, found = fused(gpu.xp, own, arrays)
            plain, expected = step(gpu.xp, plain, arrays)
            assert found.keys() == expected.keys()
            for one, other in zip([*leaves(own), *found.values()], [*leaves(plain), *expected.values()], strict=True):
                assert (one.shape, one.dtype) == (other.shape, other.dtype)
                np.testing.assert_allclose(gpu.to_numpy(one), gpu.to_numpy(other), rtol=tolerance, atol=tolerance)
    return fused.plan


SIZES = [(1, "float64"), (ROWS, "float64"), (ROWS, "float32"), (200, "float64")]


@on_a_gpu
class TestTraining:
    @pytest.mark.parametrize(
        ("rows", "dtype"), [(1, "float64"), (ROWS, "float64"), (ROWS, "float32"), (200, "float64")]
    )
    @pytest.mark.parametrize("case", cases.LAYERS, ids=lambda case: case.name)
    def test_any_layer(self, case: Any, rows: int, dtype: str) -> None:
        network = nn.Sequential(nn.Linear(case.shape[-1]), case.layer, nn.Linear(2))
        model, batch = model_and_batch(network, case.shape, rows=rows, dtype=dtype, backend="cupy")
        plan = assert_fused_is_the_step(model._train, model.state, batch, 1e-12 if dtype == "float64" else 1e-5)
        assert calls(plan) == ["matmul"] * len(calls(plan))

    @pytest.mark.parametrize("case", cases.LOSSES, ids=lambda case: case.name)
    def test_with_any_loss(self, case: Any) -> None:
        layers = [nn.Linear(case.shape[-1]), *([nn.Sigmoid()] if isinstance(case.loss, nn.BCELoss) else [])]
        model, batch = model_and_batch(nn.Sequential(*layers), (3,), case.loss, backend="cupy")
        assert_fused_is_the_step(model._train, model.state, batch)

    @pytest.mark.parametrize("case", cases.OPTIMIZERS, ids=lambda case: case.name)
    def test_with_any_optimizer(self, case: Any) -> None:
        network = nn.Sequential(nn.Linear(20), nn.ReLU(), nn.Linear(3))
        model, batch = model_and_batch(network, (5,), optimizer=case.optimizer, backend="cupy")
        assert_fused_is_the_step(model._train, model.state, batch, reuse=3)

    def test_measuring_and_predicting(self) -> None:
        model, batch = model_and_batch(nn.Linear(3), (5,), nn.CrossEntropyLoss(), backend="cupy")
        assert_fused_is_the_step(model._evaluate, model.state, batch)
        assert_fused_is_the_step(model._predict, model.state, batch[:1])


def calls(plan: Plan) -> list[str]:
    """What is left to the library."""
    return [node.op for node in plan.nodes if not isinstance(node, Kernel)]


A, B = np.arange(1.0, 13.0).reshape(3, 4), np.arange(12.0).reshape(3, 4) - 5
LARGE = np.random.default_rng(0).normal(size=(200, 60))


def of(change: Callable[[Any, Any, Any], Any]) -> Any:
    return lambda xp, state, batch: (change(xp, state, batch[0]), {"m": batch[0] * 1.0})


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
    "a count": (lambda xp, s, x: (s[0] * s[1], s[1] + 1), (A, np.asarray(3.0))),
    "a count, for two shapes": (lambda xp, s, x: (s[0] * s[2], s[1] + s[2], s[2] + 1), (A, B[0].copy(), np.asarray(3))),
    "a product": (lambda xp, s, x: (xp.matmul(s[0], s[1]), s[1] * 2), (A[:, :3].copy(), B[:, :3].copy())),
    "a circle of three": (lambda xp, s, x: (s[1][:, 0], xp.stack([s[0]] * 4, axis=1)), (A[:, 0].copy(), B)),
    "a batch": (lambda xp, s, x: (xp.sum(x) + s[0], s[1]), (A, B)),
    "all that is large": (lambda xp, s, x: (s[0] - s[0] / xp.sqrt(xp.sum(s[0] * s[0])),), (LARGE,)),
    "rows that are large": (
        lambda xp, s, x: (s[0] - xp.max(s[0], axis=1, keepdims=True) * s[1], s[1] + 1),
        (LARGE, A[0, 0]),
    ),
    "columns that are large": (lambda xp, s, x: (s[0] - xp.sum(xp.exp(s[0]), axis=0),), (LARGE,)),
}


@on_a_gpu
@pytest.mark.parametrize("name", STATES)
def test_the_old_state_is_read_before_it_is_overwritten(name: str) -> None:
    change, state = STATES[name]
    assert_fused_is_the_step(of(change), tuple(map(np.asarray, state)), (B.copy(),), reuse=3)


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
    "joined within what is joined": lambda xp, x: xp.concat(
        [xp.concat([x[0] * 2, x[1]]), x[2], xp.concat([x[0] * 2, x[0] + x[1]])]
    ),
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
    "a long chain": lambda xp, x: functools.reduce(lambda y, _: y * 0.99 + 0.01, range(500), x),
    "many chains": lambda xp, x: chain(xp, x, 40),
    "counted": lambda xp, x: xp.arange(2, 10, 2) * x + xp.reshape(xp.arange(12), (3, 4)),
    "constant": lambda xp, x: xp.zeros((2, 2)) + 1,
}


def chain(xp: Any, x: Any, length: int) -> Any:
    for _ in range(length):
        x = xp.tanh(x) * x + xp.exp(-x * x)
    return x


@on_a_gpu
@pytest.mark.parametrize("name", EXPRESSIONS)
def test_whatever_the_standard_has(name: str) -> None:
    def step(xp: Any, state: Any, batch: Any) -> Any:
        found = EXPRESSIONS[name](xp, batch[0])
        return state, {"x": batch[0], **(found if isinstance(found, dict) else {"m": found})}

    assert_fused_is_the_step(step, (), (B,))


@on_a_gpu
@pytest.mark.parametrize("shape", [(3, 4), (70, 90), (1, 5000), (600, 1), (5, 7, 130), (60, 3, 30)])
def test_reductions_of_any_size_along_any_axes(shape: Any) -> None:
    def step(xp: Any, state: Any, batch: Any) -> Any:
        (x,) = batch
        metrics = {}
        for axis in (*range(x.ndim), None):
            centred = x - xp.max(x, axis=axis, keepdims=True)
            spread = xp.sum(xp.exp(centred), axis=axis, keepdims=True)
            metrics[f"softmax {axis}"] = xp.exp(centred) / spread
            metrics[f"smallest {axis}"] = xp.min(centred, axis=axis)
        return state, metrics

    assert_fused_is_the_step(step, (), (np.random.default_rng(0).normal(size=shape),), 1e-10)


@on_a_gpu
def test_rows_that_are_joined_are_no_rows_of_the_blocks_that_wrote_them() -> None:
    def step(xp: Any, state: Any, batch: Any) -> Any:
        # Four blocks write the pieces, one for each row of (2, 2), and four rows are joined of them.
        pieces = [xp.max(x, axis=2, keepdims=True) - x[:, :, :700] for x in (batch[0], -batch[0])]
        return state, {"sums": xp.sum(xp.concat(pieces), axis=(1, 2))}

    assert_fused_is_the_step(step, (), (np.random.default_rng(0).normal(size=(2, 2, 2000)),))


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
]


@on_a_gpu
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    sizes=st.sampled_from([(4, 6), (60, 80)]),
    steps=st.lists(st.tuples(st.integers(0, 13), st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=12),
    states=st.lists(st.integers(0, 9), min_size=2, max_size=2),
    read=st.lists(st.integers(0, 9), min_size=1, max_size=3),
)
def test_programs_made_at_random(sizes: Any, steps: Any, states: Any, read: Any) -> None:
    def step(xp: Any, state: Any, batch: Any) -> Any:
        known = [*state, *batch]
        for which, first, second in steps:
            x, y = known[first % len(known)], known[second % len(known)]
            known.append(UNARY[which](xp, x) if which < len(UNARY) else BINARY[which - len(UNARY)](xp, x, y))
        new = [xp.tanh(xp.reshape(known[-1 - i % len(known)], sizes)) for i in states]
        return tuple(new), {str(i): known[-1 - n % len(known)] * 1.0 for i, n in enumerate(read)}

    generator = np.random.default_rng(0)
    state = tuple(generator.normal(size=sizes) for _ in range(2))
    assert_fused_is_the_step(step, state, (generator.normal(size=sizes),), 1e-9, reuse=1)


def added_up(xp: Any, state: Any, batch: Any) -> Any:
    return (state[0] + xp.sum(batch[0]), state[1] - batch[0][0, 0]), {"m": state[0] - state[1]}


@on_a_gpu
def test_batches_need_not_lie_in_order() -> None:
    gpu = select("cupy", "float64")
    rows = gpu.xp.reshape(gpu.xp.arange(18.0), (2, 3, 3))
    for batches in (rows, rows.mT, rows.mT):
        state = (gpu.xp.zeros(()), gpu.xp.zeros(()))
        (total, _), _ = gpu.run(added_up, state, (batches,))
        assert float(total) == float(gpu.xp.sum(batches))


@on_a_gpu
def test_an_array_that_a_state_holds_twice_is_changed_once_for_each() -> None:
    gpu = select("cupy", "float64")
    zero = gpu.xp.zeros(())
    state, metrics = gpu.run(added_up, (zero, zero), (gpu.xp.ones((2, 3, 4)),))
    assert list(map(float, state)) == [24, -2]
    assert gpu.to_numpy(metrics["m"]).tolist() == [0, 13]


def plan_of(layers: Any, optimizer: Any = None, rows: int = 128) -> Plan:
    model, batch = model_and_batch(
        nn.Sequential(nn.Rescale(1 / 255), *layers), (784,), nn.CrossEntropyLoss(), optimizer, rows, "float32"
    )
    x, target, weight = batch
    bytes_of_x = x.astype(np.uint8)
    return Plan(trace(model._train, np, model.state, (bytes_of_x, target, weight)))


def dense(*between: Any, width: int = 128, hidden: int = 2) -> list[Any]:
    layers = [layer for _ in range(hidden) for layer in (nn.Linear(width), *between)]
    return [*layers, nn.Linear(10)]


class TestNodes:
    """What a GPU is given to do in a step, counted without one."""

    @pytest.mark.parametrize("width", [128, 4096])
    @pytest.mark.parametrize("rows", [32, 128, 1024])
    @pytest.mark.parametrize(
        ("between", "optimizer", "most"),
        [
            ((nn.ReLU(),), nn.SGD(0.1), 15),
            ((nn.ReLU(),), nn.SGD(0.1, momentum=0.9), 15),
            ((nn.ReLU(),), nn.Adam(), 15),
            ((nn.ReLU(), nn.Dropout(0.2)), nn.SGD(0.1, momentum=0.9), 15),
            ((nn.BatchNorm(), nn.ReLU()), nn.SGD(0.1), 18),
            ((nn.LayerNorm(), nn.ReLU()), nn.Adam(weight_decay=0.01), 18),
        ],
    )
    def test_a_step_of_three_layers(self, width: int, rows: int, between: Any, optimizer: Any, most: int) -> None:
        if width == 4096 and rows != 128:
            rows //= 2
        assert len(plan_of(dense(*between, width=width), optimizer, rows).nodes) <= most

    @pytest.mark.parametrize("case", cases.LAYERS, ids=lambda case: case.name)
    def test_a_hidden_layer_more_is_five_nodes_more(self, case: Any) -> None:
        def counts(hidden: int) -> Any:
            layers = [layer for _ in range(hidden) for layer in (nn.Linear(case.shape[-1]), case.layer)]
            model, batch = model_and_batch(nn.Sequential(*layers, nn.Linear(2)), case.shape, rows=64)
            plan = Plan(trace(model._train, np, model.state, batch))
            return np.asarray([len(plan.nodes), len(calls(plan))])

        nodes, products = counts(3) - counts(1)
        # Three products are a layer: forward, and backward for x and for the weights.
        assert nodes <= 5 * products / 3


def test_arrays_of_no_numbers_are_refused() -> None:
    with pytest.raises(NotFusable, match="no numbers"):
        Plan(trace(of(lambda xp, s, x: ()), np, (), (np.ones((0, 3)),)))


@pytest.mark.parametrize("size", [ONE_BLOCK, ONE_BLOCK + 1, 100_352])
def test_what_is_too_large_for_one_block_is_not_summed_up_by_it(size: int) -> None:
    plan = Plan(trace(of(lambda xp, s, x: (xp.sum(x) + s[0],)), np, (np.zeros(3),), (np.ones(size),)))
    largest = max((value.inputs[0].size // value.size for value in plan.program.values if value.op == "sum"), default=0)
    assert largest <= ONE_BLOCK
    assert calls(plan) == []


def test_no_loop_counts_further_than_its_type() -> None:
    large = np.broadcast_to(np.uint8(1), (3 * 10**8, 2))
    plan = Plan(trace(of(lambda xp, s, x: (xp.max(x, axis=0) + s[0],)), np, (np.zeros(2),), (large,)))
    spread = Plan(trace(lambda xp, s, b: (s, {"m": b[0] - xp.max(b[0], axis=0)}), np, (), (large,)))
    ends = re.findall(r"for \(int \w+ = \w+; \w+ < (\d+);", plan.source + spread.source)
    assert ends
    assert max(map(int, ends)) < 2**31


def test_a_size_that_nothing_divides_is_the_library_s() -> None:
    plan = Plan(trace(of(lambda xp, s, x: (xp.sum(x) + s[0],)), np, (np.zeros(3),), (np.ones(10_007),)))
    assert calls(plan) == ["sum"]
