"""What the CuPy backend adds: steps that come again as a CUDA graph."""

from __future__ import annotations

import gc
import re
from collections import Counter
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from backends.on_gpu import X, Y, model_on, on_a_gpu

from anynet import Model
from anynet.backends import select
from anynet.backends.cupy.graph import Graph
from anynet.nn import SGD, Adam, CrossEntropyLoss, Linear, LinearDecay, ReLU, Rescale, Sequential


def model_on_numpy(other: Model) -> Model:
    return Model(other.network, other.loss, other.optimizer, backend="numpy", dtype="float64")


def assert_equal_weights(model: Model, reference: Model) -> None:
    for name, array in reference.parameters.items():
        np.testing.assert_allclose(model.parameters[name], array, rtol=1e-11, atol=1e-13)


uncompiled = pytest.mark.filterwarnings("ignore:this step cannot be compiled")


@on_a_gpu
class TestGraphs:
    @pytest.mark.parametrize("optimizer", [SGD(0.1), SGD(LinearDecay(0.1, 100), momentum=0.9), Adam(weight_decay=0.1)])
    def test_steps_that_come_again_are_launched_as_a_graph_and_train_as_one_by_one(
        self, gpu: Any, launches: list[Graph], optimizer: Any
    ) -> None:
        ours = model_on(gpu, optimizer)
        reference = model_on_numpy(ours)
        losses = [[r["loss"] for r in m.fit(X, Y, epochs=5, batch_size=16)] for m in (ours, reference)]
        np.testing.assert_allclose(*losses, rtol=1e-12)
        assert_equal_weights(ours, reference)
        # Whole batches and the shorter last one: one by one in the first epoch, proved and launched in the second.
        assert sorted(Counter(launches).values()) == [5, 5]

    def test_other_data_another_size_of_batch_and_two_models_each_have_their_graph(self, gpu: Any) -> None:
        for other in (model_on(gpu), model_on(gpu)):
            reference = model_on_numpy(other)
            for x, batch_size in ((X, 16), (X[:32], 16), (X, 35)):
                for model in (other, reference):
                    model.fit(x, Y[: len(x)], epochs=3, batch_size=batch_size)
            assert_equal_weights(other, reference)

    def test_a_graph_goes_when_its_model_goes(self, gpu: Any) -> None:
        model = model_on(gpu)
        model.fit(X, Y, epochs=3, batch_size=16)
        gc.collect()
        assert len(gpu._known) == 1
        del model
        gc.collect()
        assert len(gpu._known) == 0

    @pytest.mark.parametrize("layers", [1, 2, 3])
    @pytest.mark.parametrize("optimizer", [SGD(0.1), SGD(0.1, momentum=0.9), Adam()])
    def test_a_step_has_no_more_nodes_than_its_budget(self, launches: list[Graph], optimizer: Any, layers: int) -> None:
        hidden = [layer for _ in range(layers) for layer in (Linear(64), ReLU())]
        network = Sequential(Rescale(1 / 255), *hidden, Linear(10))
        model = Model(network, CrossEntropyLoss(), optimizer, backend="cupy")
        model.fit(np.zeros((32, 784), np.uint8), np.arange(32) % 10, batch_size=32, epochs=2)
        (graph,) = set(launches)
        assert 0 < nodes_of(graph) <= 5 + 5 * layers

    def test_a_step_of_more_than_eight_parameters_is_captured(self, launches: list[Graph]) -> None:
        layers = [layer for _ in range(5) for layer in (Linear(4), ReLU())]
        model = Model(Sequential(*layers, Linear(2)), CrossEntropyLoss(), SGD(0.1), backend="cupy")
        model.fit(X, Y, epochs=3, batch_size=35)
        assert launches

    def test_metrics_of_one_launch_outlive_the_next_and_keep_their_dtype(self, launches: list[Graph]) -> None:
        def step(xp: Any, state: Any, batch: Any) -> Any:
            return state, {"sum": state + batch[0]}

        gpu = select("cupy")
        state = gpu.asarray(np.float32(1))
        several = [(gpu.asarray(np.full(3, i, np.float32)),) for i in range(4)]
        metrics = [gpu.run(step, state, batches)[1]["sum"] for batches in several]
        assert launches
        assert [gpu.to_numpy(x).tolist() for x in metrics] == [[1.0 + i] * 3 for i in range(4)]
        assert {str(x.dtype) for x in metrics} == {"float32"}

    @uncompiled
    def test_a_step_that_cannot_be_captured_is_taken_one_by_one_and_that_is_said_once(self, gpu: Any) -> None:
        def step(xp: Any, state: Any, batch: Any) -> Any:
            return state + float(batch[0]), {"sum": state + batch[0]}

        batches = (gpu.asarray(np.arange(3.0)),)
        state, _ = gpu.run(step, gpu.asarray(np.asarray(0.0)), batches)
        with pytest.warns(UserWarning, match="one by one, since no CUDA graph can hold them"):
            state, _ = gpu.run(step, state, batches)
        state, metrics = gpu.run(step, state, batches)
        np.testing.assert_array_equal(gpu.to_numpy(metrics["sum"]), [6, 7, 9])

    @uncompiled
    def test_steps_that_give_other_numbers_each_time_are_not_captured(self, gpu: Any) -> None:
        def step(xp: Any, state: Any, batch: Any) -> Any:
            return state, {"noisy": state + batch[0] + np.random.default_rng().normal()}

        arguments = step, gpu.asarray(np.asarray(0.0)), (gpu.asarray(np.arange(3.0)),)
        gpu.run(*arguments)
        with pytest.warns(UserWarning, match="different numbers each time, as when a layer draws with numpy.random"):
            gpu.run(*arguments)

    @uncompiled
    @pytest.mark.parametrize("is_followed", [True, False])
    def test_a_state_that_changes_places_is_captured_where_the_step_can_be_followed(
        self, gpu: Any, launches: list[Graph], is_followed: bool
    ) -> None:
        def step(xp: Any, state: Any, batch: Any) -> Any:
            first = state[0] + batch[0]
            return (state[1], state[0]), {"first": first if is_followed else first.copy()}

        state = tuple(gpu.asarray(np.asarray(x)) for x in (1.0, 2.0))
        batches = (gpu.asarray(np.zeros(3)),)
        state, _ = gpu.run(step, state, batches)
        with nullcontext() if is_followed else pytest.warns(UserWarning, match="changes places"):
            _, metrics = gpu.run(step, state, batches)
        np.testing.assert_array_equal(gpu.to_numpy(metrics["first"]), [2, 1, 2])
        assert bool(launches) == is_followed

    @uncompiled
    def test_a_step_that_cannot_be_followed_is_captured_as_it_is(self, gpu: Any, launches: list[Graph]) -> None:
        def step(xp: Any, state: Any, batch: Any) -> Any:
            total = state + batch[0].copy()
            return total, {"total": total}

        state, batches = gpu.asarray(np.asarray(0.0)), (gpu.asarray(np.arange(3.0)),)
        for _ in range(3):
            state, metrics = gpu.run(step, state, batches)
        np.testing.assert_array_equal(gpu.to_numpy(metrics["total"]), [6, 7, 9])
        assert launches

    def test_a_state_that_was_read_is_left_as_it_is_when_another_is_read(self, gpu: Any) -> None:
        def step(xp: Any, state: Any, batch: Any) -> Any:
            return state, {"sum": state + batch[0]}

        first, second = (gpu.asarray(np.full(2, number)) for number in (1.0, 5.0))
        batches = (gpu.asarray(np.zeros((3, 2))),)
        for state in (first, first, second):
            _, metrics = gpu.run(step, state, batches, donate=False)
        np.testing.assert_array_equal(gpu.to_numpy(metrics["sum"]), 5.0)
        np.testing.assert_array_equal(gpu.to_numpy(first), 1.0)

    @uncompiled
    def test_an_interrupt_while_capturing_leaves_no_stream_capturing(self, gpu: Any) -> None:
        import cupy

        def step(xp: Any, state: Any, batch: Any) -> Any:
            if cupy.cuda.get_current_stream().is_capturing():
                raise KeyboardInterrupt
            return state, {"sum": (state + batch[0]).copy()}

        arguments = step, gpu.asarray(np.asarray(0.0)), (gpu.asarray(np.zeros(3)),)
        gpu.run(*arguments)
        with pytest.raises(KeyboardInterrupt):
            gpu.run(*arguments)
        _, metrics = gpu.run(*arguments)
        np.testing.assert_array_equal(gpu.to_numpy(metrics["sum"]), [0, 0, 0])


def nodes_of(graph: Graph) -> int:
    """Of a graph as CUDA draws it: a line with a label for each."""
    return len(re.findall(r'node_\d+"?\s*\[', graph._graph.debug_dot_str()))
