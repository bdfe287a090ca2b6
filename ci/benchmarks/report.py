"""What was measured, as a table to read and as JSON to keep."""

from __future__ import annotations

import os
import platform
import statistics
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from turns import Result

LIBRARIES = ("anynet", "numpy", "jax", "torch", "scikit-learn", "thinc", "mpi4py", "mpich", "cupy-cuda13x")


def machine() -> dict[str, Any]:
    """Processor, threads, libraries and their versions."""
    from threadpoolctl import threadpool_info

    blas = [info for info in threadpool_info() if info["user_api"] == "blas"]
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES if _version(name)},
        "blas": [{k: info.get(k) for k in ("internal_api", "version", "architecture", "num_threads")} for info in blas],
    }


def table(results: list[Result], names: list[str]) -> str:
    """A row for each contender: how many times as fast as the reference it is, with quartiles; and its rate."""
    measured = [name for name in names if any(name in result.seconds for result in results)]
    head = ["| |", *(f" {result.workload} |" for result in results)]
    lines = ["".join(head), "|---|" + "---:|" * len(results)]
    lines += [f"| {name} |" + "".join(f" {_cell(result, name)} |" for result in results) for name in measured]
    return "\n".join(lines)


def _cell(result: Result, name: str) -> str:
    if name not in result.seconds:
        return "-"
    if result.epochs:
        epochs = statistics.median(result.epochs[name])
        return f"{statistics.median(result.seconds[name]):.1f} s, {epochs:g} epochs"
    rate = result.rate(name)
    said = f"{rate / 1000:,.0f}k/s" if rate >= 10_000 else f"{rate / 1000:,.1f}k/s"
    if name == result.reference:
        return f"**{said}**"
    if result.reference not in result.seconds:
        return said
    low, middle, high = result.ratios(name)
    return f"{middle:.2f} ({low:.2f} to {high:.2f}), {said}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    found = {key.strip(): value.strip() for key, value in fields.items()}
    return f"{found.get('model name', platform.machine())}, family {found.get('cpu family')} model {found.get('model')}"
