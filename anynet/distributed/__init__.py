"""Many processes that train one model, and the sums that they make together."""

from __future__ import annotations

from typing import Any

from anynet.distributed.communicator import Communicator, is_silent, silent
from anynet.distributed.mesh import MeshCommunicator
from anynet.distributed.threads import is_rank, run_threads
from anynet.errors import UsageError, shown

__all__ = ["Communicator", "MeshCommunicator", "is_rank", "is_silent", "run_threads", "select", "silent"]


def __dir__() -> list[str]:
    return __all__


def select(comm: Any) -> Communicator:
    """The communicator for what a user gives: None for one process, one of mpi4py or of this package, or JAX's mesh.

    Raises
    ------
    UsageError
        When it is none of these.
    """
    if comm is None:
        return Communicator()
    if isinstance(comm, Communicator):
        return comm
    library = type(comm).__module__.partition(".")[0]
    if library == "jax" and type(comm).__name__ == "Mesh":
        return MeshCommunicator(comm)
    if library == "mpi4py" and hasattr(comm, "Allreduce") and comm:
        from anynet.distributed.mpi import communicator_of

        return communicator_of(comm)
    raise UsageError(
        "comm must be a communicator of mpi4py, such as MPI.COMM_WORLD, or a mesh of JAX's devices, or None, "
        f"but is {shown(comm)}"
    )
