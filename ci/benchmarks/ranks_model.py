"""What a step costs on many ranks: compute on a part of the batch, then one all-reduce of loss and gradient.

The all-reduce is a reduce-scatter and an all-gather, by recursive halving and doubling, as large messages have it in
MPICH: R. Thakur, R. Rabenseifner and W. Gropp, "Optimization of Collective Communication Operations in MPICH",
International Journal of High Performance Computing Applications 19(1), 2005. Left out: the additions, traffic of others
in the network, and ranks that wait for the slowest.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from scaling import multiplications
from workloads import Workload

RANKS = tuple(2**k for k in range(1, 11))
# The share of backward in compute, two of the three products of a layer. The gradient of the last layer comes first,
# and could be sent while the others are computed.
BACKWARD = 2 / 3
# Assumed of a GPU, not measured: launching a graph of some 15 small kernels, and a third of the 67 TFLOP/s of float32
# in NVIDIA's data sheet of the H100 SXM.
GPU_LAUNCH, GPU_FLOPS = 30e-6, 20e12


@dataclass(frozen=True)
class Line:
    """Seconds as a line: of the bytes of a message, or of the rows of a batch."""

    fixed: float
    each: float

    def at(self, count: float) -> float:
        return self.fixed + self.each * count


def fit(counts: list[int], seconds: list[float]) -> tuple[Line, list[float]]:
    """The line with the least squares of relative errors, and these errors."""
    n, t = np.asarray(counts, np.float64), np.asarray(seconds)
    (fixed, each), *_ = np.linalg.lstsq(np.stack([1 / t, n / t], axis=1), np.ones(len(t)), rcond=None)
    line = Line(float(fixed), float(each))
    return line, [float(line.at(count) / second - 1) for count, second in zip(counts, seconds, strict=True)]


@dataclass(frozen=True)
class Network:
    """Between any two ranks: seconds of an empty message, bytes a second in one direction, and who says so."""

    name: str
    latency: float
    bandwidth: float
    source: str = ""

    def allreduce(self, ranks: int, count: float) -> float:
        return 2 * math.log2(ranks) * self.latency + 2 * (ranks - 1) / ranks * count / self.bandwidth


FREE = Network("no messages", 0.0, math.inf)
NETWORKS = (
    Network(
        "10 GbE",
        20e-6,
        1.25e9,
        "line rate; latency between applications over TCP: Hurwitz and Feng, Hot Interconnects 11, 2003",
    ),
    Network(
        "InfiniBand",
        2e-6,
        25e9,
        "200 Gb/s, line rate; latency: twice the 1 us of Panda's talk on MVAPICH2 at SC 18, for software and switches",
    ),
    Network(
        "NVLink",
        3.4e-6,
        450e9,
        "half of the 900 GB/s both ways in NVIDIA's data sheet of the H100; latency: NCCL, src/graph/tuning.cc, ring, "
        "Simple. Few machines join more than 8 to 72 GPUs so",
    ),
)


@dataclass(frozen=True)
class System:
    """Processors, as seconds of compute by rows, and the network between them."""

    name: str
    compute: Line
    network: Network


def systems(workload: Workload, core: Line) -> list[System]:
    """The core that was measured, on each network, and GPUs."""
    flops = 2 * multiplications(dataclasses.replace(workload, rows=1))
    gpu = Line(GPU_LAUNCH, flops / GPU_FLOPS)
    on_cores = [System(network.name, core, network) for network in (FREE, *NETWORKS)]
    return [*on_cores, System("GPUs, InfiniBand", gpu, NETWORKS[1]), System("GPUs, NVLink", gpu, NETWORKS[2])]


@dataclass(frozen=True)
class Remedy:
    """What makes messages cheaper: several batches a message, sending during backward, fewer bytes a number."""

    name: str
    batches: int = 1
    overlap: float = 0.0
    size: float = 1.0


REMEDIES = (
    Remedy("as it is"),
    Remedy("4 batches a message", batches=4),
    Remedy("overlap with backward", overlap=BACKWARD),
    Remedy("16-bit sums", size=0.5),
    Remedy("all three", 4, BACKWARD, 0.5),
)


def step_seconds(system: System, ranks: int, rows: float, count: int, remedy: Remedy = REMEDIES[0]) -> float:
    """Of a batch of so many rows on each rank, with a gradient of so many bytes."""
    compute = system.compute.at(rows)
    if ranks == 1:
        return compute
    message = system.network.allreduce(ranks, count * remedy.size)
    # Of several batches, only the last has a backward to hide behind.
    shown = max(0.0, message - remedy.overlap * compute)
    return compute + shown / remedy.batches


def efficiency(
    system: System, ranks: int, batch: int, count: int, is_weak: bool, remedy: Remedy = REMEDIES[0]
) -> float:
    """Of each rank, against one rank alone; the batch is that of a rank if `is_weak`, else that of all."""
    rows = batch if is_weak else batch / ranks
    share = 1 if is_weak else ranks
    return system.compute.at(batch) / (share * step_seconds(system, ranks, rows, count, remedy))


def knee(system: System, batch: int, count: int, is_weak: bool, remedy: Remedy) -> int | None:
    """The fewest ranks, of powers of two, that are less than half as efficient as one."""
    return next((ranks for ranks in RANKS if efficiency(system, ranks, batch, count, is_weak, remedy) < 0.5), None)


def oversubscribed(system: System, cores: int, ranks: int, batch: int, count: int) -> tuple[float, float]:
    """Compute and all-reduce of ranks on one machine: where they share cores, everything takes so many times as long.

    That a rank may wait until the system lets the other run is not in it.
    """
    turns = max(1.0, ranks / cores)
    message = system.network.allreduce(ranks, count) if ranks > 1 else 0.0
    return turns * system.compute.at(batch / ranks), turns * message
