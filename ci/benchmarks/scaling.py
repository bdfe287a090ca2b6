"""Whether twice the data, width or depth cost what the multiplications say."""

from __future__ import annotations

import dataclasses
import statistics
from pathlib import Path

from contenders import AnynetNumPy, Floor
from worker import timed
from workloads import DIGITS, Data, Workload

BASE = Workload("", "mnist", DIGITS, 256, 12_800)
SERIES = {
    "data": [dataclasses.replace(BASE, rows=256 * 2**k) for k in range(1, 8)],
    "width": [dataclasses.replace(BASE, sizes=(784, 2**k, 2**k, 10), rows=2560) for k in range(5, 12)],
    "depth": [dataclasses.replace(BASE, sizes=(784, *[256] * 2**k, 10), rows=5120) for k in range(7)],
}


def multiplications(workload: Workload) -> int:
    """Of an epoch: forward, weight gradients, and input gradients of all layers but the first."""
    products = [rows * columns for rows, columns in zip(workload.sizes, workload.sizes[1:], strict=False)]
    return workload.rows * (3 * sum(products) - products[0])


def measure(turns: int) -> dict[str, list[dict[str, float]]]:
    """For each series, work and the median seconds of an epoch, ours and of the matrix products alone."""
    return {name: [_point(workload, turns) for workload in series] for name, series in SERIES.items()}


def _point(workload: Workload, turns: int) -> dict[str, float]:
    data = Data(workload)
    contenders = {"anynet": AnynetNumPy(workload, data), "floor": Floor(workload, data)}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(turns + 1):
        for name, contender in contenders.items():
            seconds, _ = timed(lambda contender=contender, turn=turn: contender.train(turn))
            if turn:
                times[name].append(contender.seconds or seconds)
    return {"work": multiplications(workload), **{name: statistics.median(values) for name, values in times.items()}}


def draw(measured: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Nanoseconds a multiplication against the work, so that work alone is a flat line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import NullFormatter

    figure, axes = pyplot.subplots(1, len(measured), figsize=(11, 3.4), sharey=True, layout="constrained")
    for axis, (name, points) in zip(axes, measured.items(), strict=True):
        work = [point["work"] for point in points]
        for label, style in (("anynet", "o-"), ("floor", "s--")):
            axis.plot(work, [1e9 * point[label] / point["work"] for point in points], style, label=label)
        axis.set(xscale="log", yscale="log", title=f"twice the {name}", xlabel="multiplications an epoch")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("nanoseconds a multiplication")
    axes[0].legend(["anynet-numpy", "the matrix products alone"])
    figure.savefig(path)
