"""A program becomes few kernels, which CuPy launches on any batch and state."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from backends.compiled import model_and_batch, of
from backends.on_gpu import on_a_gpu

from anynet import nn
from anynet.backends import select
from anynet.backends.compiling import NotCompilable
from anynet.backends.cupy.fusion import Kernel, Plan
from anynet.backends.cupy.fusion_rules import ONE_BLOCK
from anynet.checks import cases
from anynet.tracing import trace_step


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


def calls(plan: Plan) -> list[str]:
    """What is left to the library."""
    return [node.op for node in plan.nodes if not isinstance(node, Kernel)]


def plan_of(layers: Any, optimizer: Any = None, rows: int = 128) -> Plan:
    model, batch = model_and_batch(
        nn.Sequential(nn.Rescale(1 / 255), *layers), (784,), nn.CrossEntropyLoss(), optimizer, rows, "float32"
    )
    x, target, weight = batch
    bytes_of_x = x.astype(np.uint8)
    return Plan(trace_step(model._train.whole, np, model.state, (bytes_of_x, target, weight)))


def dense(*between: Any, width: int = 128, hidden: int = 2) -> list[Any]:
    layers = [layer for _ in range(hidden) for layer in (nn.Linear(width), *between)]
    return [*layers, nn.Linear(10)]


# The others look up rows, join arrays side by side, take a step for each time, or need samples of their own shape.
BY_THE_LIBRARY = nn.Embedding, nn.SinusoidalPositions, nn.MultiHeadAttention, nn.GRU, nn.LSTM, nn.Concat
OF_IMAGES = nn.RandomTranslation, nn.RandomCrop, nn.RandomErasing
OF_OTHER_SHAPES = nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d
LEFT_OUT = *BY_THE_LIBRARY, *OF_IMAGES, *OF_OTHER_SHAPES, nn.GlobalAvgPool, nn.Upsample, nn.Reshape
FUSED = [case for case in cases.LAYERS if not isinstance(case.layer, LEFT_OUT) and not case.name.startswith("Masking")]


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

    @pytest.mark.parametrize("case", FUSED, ids=lambda case: case.name)
    def test_a_hidden_layer_more_is_five_nodes_more(self, case: Any) -> None:
        def counts(hidden: int) -> Any:
            layers = [layer for _ in range(hidden) for layer in (nn.Linear(case.shape[-1]), case.layer)]
            model, batch = model_and_batch(nn.Sequential(*layers, nn.Linear(2)), case.shape, rows=64)
            plan = Plan(trace_step(model._train.whole, np, model.state, batch))
            assert set(calls(plan)) == {"matmul"}
            return np.asarray([len(plan.nodes), len(calls(plan))])

        nodes, products = counts(3) - counts(1)
        # Three products are a layer: forward, and backward for x and for the weights.
        assert nodes <= 5 * products / 3


def test_arrays_of_no_numbers_are_refused() -> None:
    with pytest.raises(NotCompilable, match="empty"):
        Plan(trace_step(of(lambda xp, s, x: ()), np, (), (np.ones((0, 3)),)))


@pytest.mark.parametrize("size", [ONE_BLOCK, ONE_BLOCK + 1, 100_352])
def test_what_is_too_large_for_one_block_is_not_summed_up_by_it(size: int) -> None:
    plan = Plan(trace_step(of(lambda xp, s, x: (xp.sum(x) + s[0],)), np, (np.zeros(3),), (np.ones(size),)))
    largest = max((value.inputs[0].size // value.size for value in plan.program.values if value.op == "sum"), default=0)
    assert largest <= ONE_BLOCK
    assert calls(plan) == []


def test_no_loop_counts_further_than_its_type() -> None:
    large = np.broadcast_to(np.uint8(1), (3 * 10**8, 2))
    plan = Plan(trace_step(of(lambda xp, s, x: (xp.max(x, axis=0) + s[0],)), np, (np.zeros(2),), (large,)))
    spread = Plan(trace_step(lambda xp, s, b: (s, {"m": b[0] - xp.max(b[0], axis=0)}), np, (), (large,)))
    ends = re.findall(r"for \(int \w+ = \w+; \w+ < (\d+);", plan.source + spread.source)
    assert ends
    assert max(map(int, ends)) < 2**31


def test_a_size_that_nothing_divides_is_the_library_s() -> None:
    plan = Plan(trace_step(of(lambda xp, s, x: (xp.sum(x) + s[0],)), np, (np.zeros(3),), (np.ones(10_007),)))
    assert calls(plan) == ["sum"]
