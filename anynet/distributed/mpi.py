"""MPI, through mpi4py."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from anynet.distributed.communicator import Communicator
from anynet.distributed.shared_memory import LEAST_BYTES, SharedMemory


class MPICommunicator(Communicator):
    """The processes of an MPI communicator, such as ``MPI.COMM_WORLD``.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        Its messages stay apart from ours, which use a duplicate.
    """

    def __init__(self, comm: Any) -> None:
        from mpi4py import MPI

        self._mpi = MPI
        self._comm = comm.Dup()
        self.rank, self.ranks = comm.rank, comm.size
        neighbours = comm.Split_type(MPI.COMM_TYPE_SHARED)
        self.local_rank = neighbours.rank
        are_on_one_machine = self.ranks == neighbours.size > 1
        neighbours.Free()
        self._shared = SharedMemory(self._comm) if are_on_one_machine else None

    def total(self, x: Any, out: Any) -> Any:
        if self._shared and x.nbytes >= LEAST_BYTES:
            return self._shared.total(x, out)
        self._comm.Allreduce(self._mpi.IN_PLACE if x is out else x, out)
        return out

    def any(self, number: int) -> int:
        mine = np.asarray(number, np.int64)
        self._comm.Allreduce(self._mpi.IN_PLACE, mine, self._mpi.MAX)
        return int(mine)


_key: list[int] = []


def communicator_of(comm: Any) -> MPICommunicator:
    """The one of this communicator of MPI, which keeps it for all models: MPI has room for some thousands only."""
    from mpi4py import MPI

    if not _key:
        _key.append(MPI.Comm.Create_keyval())
    ours = comm.Get_attr(_key[0])
    if ours is None:
        ours = MPICommunicator(comm)
        comm.Set_attr(_key[0], ours)
    return cast(MPICommunicator, ours)
