"""Training on four times the memory that a process is allowed, against the same data in memory without a limit.

The files have just been written, so the system may hold them in its cache: what is measured is reading, not the disk.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from workloads import DIGITS, Workload

import anynet

ALLOWED_MIB = 192


def from_disk_against_memory(turns: int) -> dict[str, Any]:
    """Samples a second of both, in turns, and the median of the ratios."""
    rates: dict[str, list[float]] = {"in memory": [], "from disk": []}
    with tempfile.TemporaryDirectory() as folder:
        x, y = Path(folder) / "x.npy", Path(folder) / "y.npy"
        digits = anynet.datasets.mnist()
        rows = 4 * (ALLOWED_MIB << 20) // digits.x[0].nbytes
        mapped = np.lib.format.open_memmap(x, "w+", np.uint8, (rows, 28, 28))
        for start in range(0, rows, len(digits.x)):
            mapped[start : start + len(digits.x)] = digits.x[: rows - start]
        mapped.flush()
        np.save(y, np.resize(digits.y, rows).astype(np.int32))
        for _ in range(turns):
            for name, measured in rates.items():
                command = [sys.executable, __file__, name, str(x), str(y)]
                measured.append(float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))
    ratios = [disk / memory for disk, memory in zip(rates["from disk"], rates["in memory"], strict=True)]
    return {"allowed_mib": ALLOWED_MIB, "rows": rows, "rates": rates, "ratio": statistics.median(ratios)}


def train(where: str, x: Path, y: Path) -> float:
    """Samples a second of an epoch; from disk, under a limit of the process's own memory."""
    source: Any = [x] if where == "from disk" else np.load(x)
    if where == "from disk":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (ALLOWED_MIB << 20, ALLOWED_MIB << 20))
        try:
            np.ones(ALLOWED_MIB << 20, np.uint8)
        except MemoryError:
            pass
        else:
            raise SystemExit("this system does not enforce a limit of memory")
    workload = Workload("", "mnist", DIGITS, 128, 0)
    return workload.model().fit(source, np.load(y), batch_size=workload.batch_size)[0]["samples_per_second"]


if __name__ == "__main__":
    print(train(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
