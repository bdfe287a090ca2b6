"""What a command does when mpirun, or another launcher of MPI, has started it as many processes."""

from __future__ import annotations

import io
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from anynet.cli.startup_guard import guarded_startup
from anynet.errors import UsageError

if TYPE_CHECKING:
    from anynet.distributed import Communicator

# How MPICH and Intel MPI, Open MPI, and Slurm say how many processes there are, and which of them this is.
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")
# With one of these, the user has chosen the number of threads.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# How long a rank that has failed waits for the others to fail, too, before it ends them.
SECONDS_TO_FOLLOW = 1.0
# How long the launcher gets to read what a rank has said before it kills all.
SECONDS_TO_READ = 0.5
# How much of what a rank has said is shown when it fails alone.
LAST_WORDS = 4000


def started() -> int:
    """How many processes a launcher has started; 1 without one."""
    return int(_told(SIZES, "1"))


def run_job(command: Callable[[], int]) -> int:
    """Run a command as one of the processes that a launcher has started, and return its exit code.

    Only rank 0 prints. If any rank fails, all end.
    """
    if started() == 1:
        return command()
    said = io.StringIO()
    if _told(RANKS, "0") != "0":
        sys.stdout, sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"), said
    try:
        code = command()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    return _left(code, said)


@cache
def communicator() -> Communicator:
    """All processes of the job; this one gets its share of the machine's cores.

    Raises
    ------
    UsageError
        When mpi4py is missing, or belongs to another MPI than the launcher.
    """
    from anynet.distributed import Communicator

    if started() == 1:
        return Communicator()
    try:
        with guarded_startup():
            from mpi4py import MPI
    except ImportError as error:
        raise UsageError(
            f"{started()} processes were started, and need mpi4py to train together: pip install mpi4py ({error})"
        ) from None
    from anynet.distributed.mpi import communicator_of

    if MPI.COMM_WORLD.size != started():
        raise UsageError(
            f"{started()} processes were started, but mpi4py sees {MPI.COMM_WORLD.size}: use the mpirun of the MPI "
            "that mpi4py was installed for"
        )
    comm = communicator_of(MPI.COMM_WORLD)
    _share_cores(comm)
    return comm


def own_device(backend: str) -> str:
    """The backend on a GPU of this rank's own, if it is CuPy without a device."""
    comm = communicator()
    if backend != "cupy" or comm.ranks == 1:
        return backend
    from anynet.backends import select

    devices = select(backend).devices()
    return f"{backend}:{devices[comm.local_rank % len(devices)]}"


def _told(names: tuple[str, ...], otherwise: str) -> str:
    return next((os.environ[name] for name in names if name in os.environ), otherwise)


def _share_cores(comm: Communicator) -> None:
    """Use as many threads as there are cores for each of the ranks that share them; more would wait for each other."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    mine = platform.node(), cores
    threads = max(1, len(cores) // comm.gather(mine).count(mine))
    if any(name in os.environ for name in THREADS):
        return
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)
    # For a library that is loaded later.
    os.environ["OMP_NUM_THREADS"] = str(threads)


def _left(code: int, said: io.StringIO) -> int:
    """Wait until all ranks leave, and return the largest exit code; a rank that has failed ends those that stay."""
    # Once MPI has started, the others wait for this rank, even if it was interrupted before it had a communicator.
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi is None:
        return code
    import numpy as np

    world = mpi.COMM_WORLD
    mine = np.asarray([code])
    largest = np.zeros_like(mine)
    request, deadline = world.Iallreduce(mine, largest, mpi.MAX), time.monotonic() + SECONDS_TO_FOLLOW
    while not request.Test():
        if code and time.monotonic() > deadline:
            words = said.getvalue()[-LAST_WORDS:].strip()
            print(f"rank {world.rank} ends all ranks\n{words}", file=sys.__stderr__, flush=True)
            time.sleep(SECONDS_TO_READ)
            world.Abort(code)
        time.sleep(0.001)
    return int(largest[0])
