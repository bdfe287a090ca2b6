"""Sums over the ranks of one machine in memory that they share, which takes about half the time of MPI's own."""

from __future__ import annotations

from typing import Any

import numpy as np

# For fewer bytes MPI's own sum is as fast.
LEAST_BYTES = 1 << 15
# A long array is summed in pieces of so many bytes, which fit into a processor's cache, and take little of /dev/shm.
PIECE_BYTES = 1 << 19


class SharedMemory:
    """A room for each rank, where the others read what they add up, and one for the sum.

    Each rank adds up its own part of the array, always in the order of ranks, so the result is the same each time.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        Ranks of one machine. Collective: all of them make it, and call `total`.
    """

    def __init__(self, comm: Any) -> None:
        from mpi4py import MPI

        self._comm = comm
        self._window = MPI.Win.Allocate_shared(PIECE_BYTES * (2 if comm.rank == 0 else 1), 1, comm=comm)
        self._window.Lock_all()
        memory: list[Any] = [self._window.Shared_query(rank)[0] for rank in range(comm.size)]
        rooms = [np.frombuffer(room, np.uint8) for room in memory]
        self._rooms, self._sum = [room[:PIECE_BYTES] for room in rooms], rooms[0][PIECE_BYTES:]

    def total(self, x: Any, out: Any) -> Any:
        """Write the sum over all ranks of a contiguous array to `out`, which may be `x`, and return `out`."""
        x_flat, out_flat, length = x.reshape(-1), out.reshape(-1), PIECE_BYTES // x.itemsize
        for start in range(0, x.size, length):
            piece = slice(start, start + length)
            self._total(x_flat[piece], out_flat[piece])
        return out

    def _total(self, x: Any, out: Any) -> None:
        *rooms, total = (room.view(x.dtype)[: len(x)] for room in (*self._rooms, self._sum))
        rank, ranks = self._comm.rank, self._comm.size
        mine = slice(rank * len(x) // ranks, (rank + 1) * len(x) // ranks)
        for theirs in (slice(0, mine.start), slice(mine.stop, len(x))):
            rooms[rank][theirs] = x[theirs]
        self._meet()
        first, second, *others = (x[mine] if other == rank else room[mine] for other, room in enumerate(rooms))
        np.add(first, second, out=total[mine])
        for other in others:
            total[mine] += other
        self._meet()
        # The next piece writes to the sum only after all have met again, so it is read in peace.
        out[...] = total

    def _meet(self) -> None:
        """Wait for all ranks, and see what they have written."""
        self._window.Sync()
        self._comm.Barrier()
        self._window.Sync()
