"""What it costs to begin: whole processes, taking turns."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = {
    "python": [sys.executable, "-c", "pass"],
    "import numpy": [sys.executable, "-c", "import numpy"],
    "import anynet": [sys.executable, "-c", "import anynet"],
    "from anynet import Model, nn, datasets": [sys.executable, "-c", "from anynet import Model, nn, datasets"],
    "anynet --help": [str(Path(sys.executable).with_name("anynet")), "--help"],
}


def startup_milliseconds(turns: int = 15) -> dict[str, float]:
    """The median time of each command."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(turns + 1):
        for name, command in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            # The first turn finds files that nobody has read yet.
            if turn:
                times[name].append(1000 * (time.perf_counter() - started))
    return {name: statistics.median(values) for name, values in times.items()}
