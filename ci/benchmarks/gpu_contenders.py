"""Who is compared on a CUDA GPU: data on the device before time is taken, float32 products as they are."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from contenders import AnynetCuPy, Contender, JAXByHand, TorchEager
from workloads import Data, Workload


class TorchEagerOnGpu(TorchEager):
    name = "PyTorch eager"
    device = "cuda"

    def __init__(self, workload: Workload, data: Data) -> None:
        super().__init__(workload, data)
        self.torch.set_float32_matmul_precision("high" if workload.precision == "tf32" else "highest")

    def train(self, turn: int) -> float:
        """The order goes to the device once, and the rows of each batch are a slice of it."""
        order = self.torch.from_numpy(self.workload.order(turn)).to(self.device)
        total = self.torch.zeros((), device=self.device)
        for rows in order.split(self.workload.batch_size):
            total += self.step(self.x[rows], self.y[rows]) * len(rows)
        return float(total) / self.workload.rows

    def step(self, x: Any, y: Any) -> Any:
        loss = self.loss(x, y)
        self.optimizer.zero_grad()
        loss.backward()
        self.update()
        return loss.detach()


class TorchReduceOverhead(TorchEagerOnGpu):
    """PyTorch's compiler, which puts what it compiles into CUDA graphs."""

    name = "PyTorch compiled, reduce-overhead"

    def __init__(self, workload: Workload, data: Data) -> None:
        super().__init__(workload, data)
        self.loss = self.torch.compile(super().loss, mode="reduce-overhead")
        self.update = self.torch.compile(super().update)

    def step(self, x: Any, y: Any) -> Any:
        self.torch.compiler.cudagraph_mark_step_begin()
        return super().step(x, y).clone()


class TorchGraph(TorchEagerOnGpu):
    """The whole step as one CUDA graph, as PyTorch's notes on CUDA semantics write it."""

    name = "PyTorch CUDA graph"

    def __init__(self, workload: Workload, data: Data) -> None:
        super().__init__(workload, data)
        if workload.optimizer == "adam":
            self.optimizer = self.torch.optim.Adam(self.network.parameters(), workload.lr, capturable=True)
        self.graphs: dict[int, Any] = {}

    def step(self, x: Any, y: Any) -> Any:
        if len(x) not in self.graphs:
            return self._captured_after_this_one(x, y)
        graph, static_x, static_y, loss = self.graphs[len(x)]
        static_x.copy_(x)
        static_y.copy_(y)
        graph.replay()
        return loss.clone()

    def _captured_after_this_one(self, x: Any, y: Any) -> Any:
        cuda = self.torch.cuda
        aside = cuda.Stream()
        aside.wait_stream(cuda.current_stream())
        with cuda.stream(aside):
            loss = super().step(x, y)
        cuda.current_stream().wait_stream(aside)
        graph, static_x, static_y = cuda.CUDAGraph(), x.clone(), y.clone()
        self.optimizer.zero_grad(set_to_none=True)
        with cuda.graph(graph):
            captured = self.loss(static_x, static_y)
            captured.backward()
            self.update()
        self.graphs[len(x)] = graph, static_x, static_y, captured.detach()
        return loss


class JAXScan(JAXByHand):
    name = "JAX scan"

    def __init__(self, workload: Workload, data: Data) -> None:
        # Of its own accord it takes three quarters of the memory, and leaves the others too little.
        os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.2")
        import jax

        if jax.default_backend() != "gpu":
            raise RuntimeError(f"JAX computes on {jax.default_backend()} here")
        precision = "tensorfloat32" if workload.precision == "tf32" else "highest"
        jax.config.update("jax_default_matmul_precision", precision)
        super().__init__(workload, data)


class JAXPerStep(JAXScan):
    """One compiled step, called for each batch."""

    name = "JAX jit per step"

    def train(self, turn: int) -> float:
        total = 0.0
        for rows in self.batches(turn):
            self.weights, self.state, loss = self.epoch(self.weights, self.state, self.x, self.y, rows[None])
            total += loss
        return float(total) / self.workload.rows


class BareProducts(Contender):
    """The matrix products of each step alone, through CuPy."""

    name = "floor"

    def __init__(self, workload: Workload, data: Data) -> None:
        super().__init__(workload, data)
        # CuPy reads it at its first product.
        os.environ["CUPY_TF32"] = str(int(workload.precision == "tf32"))
        import cupy

        self.cupy = cupy
        self.weights = [cupy.asarray(weight) for weight, _ in data.weights]
        generator = np.random.default_rng(0)
        sizes = ((workload.batch_size, size) for size in workload.sizes)
        self.activations = [cupy.asarray(generator.standard_normal(size, np.float32)) for size in sizes]

    def train(self, turn: int) -> None:
        matmul, activations = self.cupy.matmul, self.activations
        for _ in self.batches(turn):
            for x, weight in zip(activations, self.weights, strict=False):
                matmul(x, weight)
            for layer in reversed(range(len(self.weights))):
                matmul(activations[layer].T, activations[layer + 1])
                if layer:
                    matmul(activations[layer + 1], self.weights[layer].T)
        self.cupy.cuda.Device().synchronize()


GPU_CONTENDERS: dict[str, type[Contender]] = {
    cls.name: cls
    for cls in (AnynetCuPy, TorchEagerOnGpu, TorchReduceOverhead, TorchGraph, JAXPerStep, JAXScan, BareProducts)
}
