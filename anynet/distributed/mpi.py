"""MPI, through mpi4py."""

from __future__ import annotations

from typing import Any

import numpy as np

from anynet.distributed.communicator import Communicator


class MPICommunicator(Communicator):
    """The processes of an MPI communicator, such as ``MPI.COMM_WORLD``.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        Its messages stay apart from ours, which use a duplicate that all models share.

    Attributes
    ----------
    local_rank, local_ranks : int
        The number of this process among those on the same machine, and how many these are.
    """

    def __init__(self, comm: Any) -> None:
        from mpi4py import MPI

        self._mpi = MPI
        self._comm = _duplicate(comm)
        self.rank, self.ranks = comm.rank, comm.size
        neighbours = comm.Split_type(MPI.COMM_TYPE_SHARED)
        self.local_rank, self.local_ranks = neighbours.rank, neighbours.size
        neighbours.Free()

    def total(self, x: Any, out: Any) -> Any:
        self._comm.Allreduce(self._mpi.IN_PLACE if x is out else x, out)
        return out

    def any(self, number: int) -> int:
        mine = np.asarray(number, np.int64)
        self._comm.Allreduce(self._mpi.IN_PLACE, mine, self._mpi.MAX)
        return int(mine)


_key: list[int] = []


def _duplicate(comm: Any) -> Any:
    """The duplicate of a communicator, which the communicator keeps: MPI has room for some thousands only."""
    from mpi4py import MPI

    if not _key:
        _key.append(MPI.Comm.Create_keyval())
    duplicate = comm.Get_attr(_key[0])
    if duplicate is None:
        duplicate = comm.Dup()
        comm.Set_attr(_key[0], duplicate)
    return duplicate
