"""Threads of one process as ranks, to try and test what many processes do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from anynet.distributed.communicator import Communicator

T = TypeVar("T")
_thread = threading.local()


def is_rank() -> bool:
    """Whether this thread is a rank, and so must not wait for another thread that may wait for it."""
    return getattr(_thread, "is_rank", False)


class ThreadCommunicator(Communicator):
    """One of several threads that act as ranks.

    Parameters
    ----------
    rank : int
    meeting : threading.Barrier
        Where all ranks meet.
    given : list
        A place for what each rank gives.
    """

    def __init__(self, rank: int, meeting: threading.Barrier, given: list[Any]) -> None:
        self.rank, self.ranks = rank, len(given)
        self._meeting, self._given = meeting, given

    def total(self, x: Any, out: Any) -> Any:
        out[...] = sum(self._all(np.array(x)), start=np.zeros_like(x))
        return out

    def any(self, number: int) -> int:
        return int(max(self._all(number)))

    def _all(self, mine: Any) -> list[Any]:
        self._given[self.rank] = mine
        self._meeting.wait()
        given = list(self._given)
        # Nobody gives the next before all have read this.
        self._meeting.wait()
        return given


def run_threads(ranks: int, function: Callable[[Communicator], T]) -> list[T]:
    """Call a function in so many threads, each with its communicator, and return what each returns.

    Raises
    ------
    Exception
        The first of a rank's own; the others are freed from waiting for it.

    >>> run_threads(3, lambda comm: int(comm.total(np.asarray(comm.rank), np.asarray(0))))
    [3, 3, 3]
    """
    meeting, given = threading.Barrier(ranks), [None] * ranks

    def run(rank: int) -> T:
        _thread.is_rank = True
        try:
            return function(ThreadCommunicator(rank, meeting, given))
        except BaseException:
            meeting.abort()
            raise

    with ThreadPoolExecutor(ranks) as pool:
        futures = [pool.submit(run, rank) for rank in range(ranks)]
    errors = [error for future in futures if (error := future.exception())]
    own = [error for error in errors if not isinstance(error, threading.BrokenBarrierError)]
    if errors:
        raise (own or errors)[0]
    return [future.result() for future in futures]
