"""Work done in forked processes, so that one that dies, hangs or eats memory is counted and does no harm."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar, cast

from tqdm import tqdm

# A process that is killed may hold this lock, which those forked with it would share, and then wait for.
tqdm.set_lock(threading.RLock())
tqdm.monitor_interval = 0

Case = TypeVar("Case")


@dataclass(frozen=True)
class Died:
    """What comes back in place of a result when the process that worked on a case is gone."""

    how: str


@dataclass
class _Worker:
    pid: int
    connection: Connection
    cases: list[Any]
    heard: float = field(default_factory=time.monotonic)
    is_silent: bool = False


def each(
    work: Callable[[Case], Any],
    cases: Sequence[Case],
    *,
    at_once: int = 2,
    in_a_row: int = 1,
    patience: float = 60.0,
) -> Iterator[tuple[Case, Any]]:
    """Each case with what `work` makes of it, or how its process `Died`, as they are done.

    A process works on `in_a_row` cases, one after the other, and is killed once it has been silent for `patience`
    seconds, with all that it has forked; the cases it leaves are given to another. What `work` raises is raised here.
    """
    waiting = [list(cases[i : i + in_a_row]) for i in range(0, len(cases), in_a_row)]
    running: dict[Connection, _Worker] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                worker = _start(work, waiting.pop(0), running)
                running[worker.connection] = worker
            for ready in wait(list(running), timeout=1):
                connection = cast(Connection, ready)
                worker = running[connection]
                try:
                    result = connection.recv()
                except EOFError:
                    del running[connection]
                    connection.close()
                    how = _end(worker, patience)
                    if worker.cases:
                        yield worker.cases.pop(0), Died(how)
                    if worker.cases:
                        waiting.insert(0, worker.cases)
                else:
                    if isinstance(result, BaseException):
                        raise result
                    worker.heard = time.monotonic()
                    yield worker.cases.pop(0), result
            for worker in running.values():
                if time.monotonic() - worker.heard > patience:
                    worker.is_silent = True
                    os.killpg(worker.pid, signal.SIGKILL)
    finally:
        for worker in running.values():
            os.killpg(worker.pid, signal.SIGKILL)
            os.waitpid(worker.pid, 0)


def _start(work: Callable[[Any], Any], cases: list[Any], others: Any) -> _Worker:
    ours, theirs = Pipe(duplex=False)
    pid = os.fork()
    if pid:
        # It leads a group, to be killed with all that it forks; told so here too, before it can be killed.
        os.setpgid(pid, pid)
        theirs.close()
        return _Worker(pid, ours, cases)
    code = 1
    try:
        os.setpgid(0, 0)
        for connection in (ours, *others):
            connection.close()
        for case in cases:
            theirs.send(work(case))
        code = 0
    except BaseException as error:
        traceback.print_exc()
        theirs.send(error)
    finally:
        os._exit(code)


def _end(worker: _Worker, patience: float) -> str:
    _, status = os.waitpid(worker.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if worker.is_silent:
        return f"silent for {patience:.0f} s"
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
