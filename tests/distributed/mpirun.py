"""Commands on many ranks, by the mpirun that is installed beside this Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent


def started(ranks: int, *command: str, **options: Any) -> subprocess.Popen[str]:
    """The running job of a command of this environment."""
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", **options.pop("env", {})}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([BIN / "mpirun", "-n", str(ranks), *command], env=environment, **pipes, **options)


def mpirun(ranks: int, *command: str, code: int = 0, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, and check its exit code."""
    with started(ranks, *command, **options) as job:
        out, err = job.communicate()
    assert job.returncode == code, (job.returncode, out, err)
    return subprocess.CompletedProcess(command, job.returncode, out, err)
