"""What processes that train one model say to one another: sums, and whether one of them has something to tell."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from anynet.errors import RankError

_thread = threading.local()


@contextmanager
def silent() -> Iterator[None]:
    """A context in which this thread's steps sum over this rank alone, so that they can be tried without the others."""
    before = is_silent()
    _thread.is_silent = True
    try:
        yield
    finally:
        _thread.is_silent = before


def is_silent() -> bool:
    return getattr(_thread, "is_silent", False)


class Communicator:
    """The processes, called ranks, that train one model together; this base class is that of a single process.

    Every method is collective: each rank calls it, in the same order. All ranks get the same result, to the last bit.
    A subclass overrides `total` and `any`.

    Attributes
    ----------
    rank : int
        The number of this process, from 0.
    ranks : int
        How many there are.
    local_rank : int
        The number of this process among those on the same machine.
    devices : int
        How many devices compute together, each its part of every batch; one of each rank, unless a subclass has more.
    own_devices : list of int
        The numbers of this rank's devices.

    >>> alone = Communicator()
    >>> alone.rank, alone.ranks, alone.any(3), alone.gather("found")
    (0, 1, 3, ['found'])
    """

    rank: int = 0
    ranks: int = 1
    local_rank: int = 0

    @property
    def devices(self) -> int:
        return self.ranks

    @property
    def own_devices(self) -> list[int]:
        return [self.rank]

    def total(self, x: Any, out: Any) -> Any:
        """Write the sum over all ranks of a contiguous NumPy array to `out`, which may be `x`, and return `out`."""
        out[...] = x
        return out

    def any(self, number: int) -> int:
        """The largest of the ranks' numbers, so 0 if all give 0."""
        return number

    def gather(self, found: Any) -> list[Any]:
        """What each rank has found, in the order of ranks; anything that pickle can hold."""
        if self.ranks == 1:
            return [found]
        mine = np.frombuffer(pickle.dumps(found, protocol=pickle.HIGHEST_PROTOCOL), np.uint8)
        sizes = np.zeros(self.ranks, np.int64)
        sizes[self.rank] = len(mine)
        ends = np.cumsum(self.total(sizes, sizes))
        # Every rank adds its bytes to the zeros of the others.
        side_by_side = np.zeros(ends[-1], np.uint8)
        side_by_side[ends[self.rank] - len(mine) : ends[self.rank]] = mine
        self.total(side_by_side, side_by_side)
        return [pickle.loads(part.tobytes()) for part in np.split(side_by_side, ends[:-1])]

    def part(self, count: int) -> slice:
        """This rank's part of so many rows; parts differ by one row at most.

        >>> Communicator().part(10)
        slice(0, 10, None)
        """
        return slice(self.rank * count // self.ranks, (self.rank + 1) * count // self.ranks)

    def __deepcopy__(self, memo: Any) -> Communicator:
        """Itself: a copy of a model or an estimator is trained by the same ranks."""
        return self

    @contextmanager
    def together(self) -> Iterator[None]:
        """A context that ends with an exception on all ranks if it does so on one; no collective calls are made in it.

        Raises
        ------
        RankError
            On the ranks that have no exception of their own.
        """
        try:
            yield
        except BaseException:
            self.any(self.rank + 1)
            raise
        if failed := self.any(0):
            raise RankError(f"rank {failed - 1} has failed, and says why")
