"""A process beside a rank that kills it if another rank dies while MPI starts, since MPI would wait for it forever.

MPI cannot do this itself: until it has started, nobody knows of the other ranks but the launcher.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# How many of the ranks are on this machine, as MPICH and Open MPI say it.
LOCAL_SIZES = ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE")
# The processes that start ranks, as Linux names them. Whatever else a rank's parent is, it does not have all ranks.
LAUNCHERS = ("hydra_pmi_proxy", "mpirun", "mpiexec", "prterun", "prted", "orted")
SECONDS_TO_START_ALL = 1.0
SECONDS_BETWEEN = 0.2


@contextmanager
def guarded_startup() -> Iterator[None]:
    """A context in which this rank is killed if one of the others on this machine dies; nothing outside Linux.

    Ctrl-C and SIGTERM wait for its end: MPI that has half started can neither be used nor left.
    """
    launcher = os.getppid()
    ranks = next((os.environ[name] for name in LOCAL_SIZES if name in os.environ), "1")
    if _name(launcher) not in LAUNCHERS or ranks == "1":
        yield
        return
    command = [sys.executable, "-IS", __file__, str(os.getpid()), str(launcher), ranks]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as guard:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        try:
            yield
        finally:
            guard.kill()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def watch(rank: int, launcher: int, ranks: int) -> None:
    """Wait until fewer than so many processes of a launcher are left, and kill the rank; end when it ends."""
    time.sleep(SECONDS_TO_START_ALL)
    while os.getppid() == rank:
        if _living_children(launcher) < ranks:
            os.kill(rank, signal.SIGKILL)
        time.sleep(SECONDS_BETWEEN)


def _name(process: int) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text().strip()
    except OSError:
        return ""


def _living_children(parent: int) -> int:
    """How many processes that this one has started are alive."""
    count = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # What stands before the last bracket is the process's name, which may hold anything.
            state, of, *_ = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        count += int(of) == parent and state != "Z"
    return count


if __name__ == "__main__":
    watch(*map(int, sys.argv[1:]))
