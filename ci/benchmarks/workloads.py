"""What is trained: networks, data, batch sizes and update rules, the same for every contender."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from networks import NETWORKS, SEQUENCES, sequences

import anynet
from anynet import nn
from anynet.backends import select
from anynet.training.rng import generator


@dataclass(frozen=True)
class Workload:
    """One network on one data set: `sizes` from input to output, ReLU between, softmax cross-entropy at the end."""

    name: str
    data: str
    sizes: tuple[int, ...]
    batch_size: int
    rows: int
    optimizer: str = "sgd"
    lr: float = 0.1
    seed: int = 0
    device: str = "cpu"
    precision: str = "float32"
    # One of `NETWORKS`, in place of what `sizes` say.
    layers: str = ""

    @property
    def network(self) -> nn.Sequential:
        if self.layers:
            return NETWORKS[self.layers]
        inputs = (nn.Rescale(1 / 255), nn.Flatten()) if self.data == "mnist" else ()
        hidden = [layer for size in self.sizes[1:-1] for layer in (nn.Linear(size), nn.ReLU())]
        return nn.Sequential(*inputs, *hidden, nn.Linear(self.sizes[-1]))

    @property
    def rule(self) -> nn.Optimizer:
        rules = {"sgd": nn.SGD(self.lr), "momentum": nn.SGD(self.lr, momentum=0.9), "adam": nn.Adam(self.lr)}
        return rules[self.optimizer]

    def model(self, backend: str = "numpy", comm: Any = None) -> anynet.Model:
        chosen = select(backend, precision=self.precision if backend == "cupy" else "float32")
        return anynet.Model(self.network, nn.CrossEntropyLoss(), self.rule, backend=chosen, seed=self.seed, comm=comm)

    def order(self, turn: int) -> Any:
        """The rows of a turn, in the order in which anynet trains on them."""
        return generator(self.seed, "order", turn).permutation(self.rows)


@dataclass(frozen=True)
class Data:
    """The rows of a workload: as they are stored, and as the float32 matrix that every peer wants."""

    workload: Workload

    @cached_property
    def _whole(self) -> anynet.datasets.Dataset:
        if self.workload.layers in SEQUENCES:
            return anynet.datasets.Dataset("sequences", *sequences(self.workload.layers, self.workload.rows))
        return anynet.datasets.mnist() if self.workload.data == "mnist" else table(self.workload)

    @property
    def x(self) -> Any:
        return self._whole.x[: self.workload.rows]

    @property
    def y(self) -> Any:
        return self._whole.y[: self.workload.rows]

    @cached_property
    def floats(self) -> Any:
        return as_floats(self.x)

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """The parameters by name from which everyone starts, without what is never trained."""
        model = self.workload.model().build(self.x.shape[1:])
        return {entry.name: model.parameters[entry.name] for entry in model.layout.parameters}

    @cached_property
    def weights(self) -> list[tuple[Any, Any]]:
        """The (weight, bias) of each layer from which everyone starts."""
        first = self.parameters
        names = [name.removesuffix(".weight") for name in first if name.endswith(".weight")]
        return [(first[f"{name}.weight"], first[f"{name}.bias"]) for name in names]


def as_floats(x: Any) -> Any:
    """Rows of numbers from 0 to 1 where they were bytes, made without a larger copy on the way."""
    scale = 1 / 255 if x.dtype == np.uint8 else 1.0
    return np.multiply(x.reshape(len(x), -1), scale, dtype=np.float32)


def table(workload: Workload) -> anynet.datasets.Dataset:
    """A table of standardised columns whose class is drawn from a random network of one hidden layer."""
    generator = np.random.default_rng(workload.seed)
    columns, classes = workload.sizes[0], workload.sizes[-1]
    x = generator.standard_normal((workload.rows, columns))
    scores = np.tanh(x @ generator.standard_normal((columns, 20))) @ generator.standard_normal((20, classes))
    return anynet.datasets.Dataset("table", x.astype(np.float32), scores.argmax(axis=1))


DIGITS = (784, 128, 64, 10)
TRAINING = (
    Workload("digits, batch 32", "mnist", DIGITS, 32, 60_000),
    Workload("digits, batch 128", "mnist", DIGITS, 128, 60_000),
    Workload("digits, batch 1024", "mnist", DIGITS, 1024, 60_000),
    Workload("digits, batch 128, momentum", "mnist", DIGITS, 128, 60_000, "momentum", 0.01),
    Workload("digits, batch 128, Adam", "mnist", DIGITS, 128, 60_000, "adam", 0.001),
    Workload("1024-wide, batch 256", "mnist", (784, 1024, 1024, 10), 256, 7_680, lr=0.01),
    Workload("table, batch 200, Adam", "table", (20, 100, 100, 3), 200, 160_000, "adam", 0.001),
)
OTHER_NETWORKS = (
    Workload("convolutions, batch 64", "mnist", (), 64, 7_680, "momentum", 0.01, layers="convolutions"),
    Workload("LSTM, 50 steps, batch 64", "sequences", (), 64, 2_560, "momentum", 0.01, layers="LSTM"),
    Workload(
        "Transformer block, 64 tokens, batch 16",
        "sequences",
        (),
        16,
        640,
        "momentum",
        0.001,
        layers="Transformer block",
    ),
)
WIDE = (784, 4096, 4096, 10)
ON_GPU = (
    *(Workload(f"digits, batch {n}", "mnist", DIGITS, n, 60_000, device="cuda") for n in (64, 256, 1024)),
    *(
        Workload(f"4096-wide, {how}, batch {n}", "mnist", WIDE, n, 60_000, lr=0.01, device="cuda", precision=how)
        for how in ("float32", "tf32")
        for n in (256, 1024)
    ),
)
TO_98_PERCENT = Workload("digits, Adam, to 98 %", "mnist", (784, 256, 128, 10), 128, 60_000, "adam", 0.001)
