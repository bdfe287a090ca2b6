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
    environment = {**options.pop("env", os.environ)}
    environment["PATH"] = f"{BIN}:{environment['PATH']}"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([BIN / "mpirun", "-n", str(ranks), *command], env=environment, **pipes, **options)


def mpirun(ranks: int, *command: str, code: int = 0, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, and check its exit code."""
    with started(ranks, *command, **options) as job:
        out, err = job.communicate()
    assert job.returncode == code, (job.returncode, out, err)
    return subprocess.CompletedProcess(command, job.returncode, out, err)


def ranks_of(job: subprocess.Popen[str]) -> list[int]:
    """The processes of the ranks, as far as they have started: the children of the launcher's own child."""
    ranks = [(proxy, rank) for proxy in _children(job.pid) for rank in _children(proxy)]
    # Between fork and exec it is still the launcher, which takes a SIGTERM for its own.
    return [rank for proxy, rank in ranks if _name(rank) != _name(proxy)]


def _name(process: int) -> str:
    return Path(f"/proc/{process}/comm").read_text()


def _children(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
