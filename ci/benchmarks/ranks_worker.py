"""Ranks that train one model together, or one process alone; the first rank answers requests as worker.py does."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from typing import Any

import numpy as np
from worker import timed
from workloads import Data, Workload

from anynet.cli.launcher import started
from anynet.distributed import select

SECONDS_BETWEEN_LOOKS = 0.001


def serve(backend: str, workload: Workload) -> None:
    # Libraries print what they like; the answers go where stdout was.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    comm = _world()
    requests: Requests | None = None
    while (request := _next(comm)) is not None:
        try:
            requests = requests or Requests(backend, workload, comm)
            answer = getattr(requests, request.pop("do"))(**request)
        # Whatever keeps a backend from running here is an answer too.
        except Exception as error:
            answer = {"absent": f"{type(error).__name__}: {error}".splitlines()[0]}
        if comm is None or comm.rank == 0:
            print(json.dumps(answer), file=answers, flush=True)


def _world() -> Any:
    if started() == 1:
        return None
    from mpi4py import MPI

    return MPI.COMM_WORLD


def _next(comm: Any) -> dict[str, Any] | None:
    """The next request, or None after the last. Who waits for it sleeps: MPI itself would keep a core busy."""
    if comm is None or comm.rank == 0:
        line = sys.stdin.readline()
        for rank in range(1, comm.size if comm else 1):
            comm.send(line, rank)
    else:
        while not comm.iprobe(source=0):
            time.sleep(SECONDS_BETWEEN_LOOKS)
        line = comm.recv(source=0)
    return json.loads(line) if line else None


class Requests:
    """What ranks can be asked to do."""

    def __init__(self, backend: str, workload: Workload, comm: Any) -> None:
        data = Data(workload)
        self.batch_size = workload.batch_size
        self.comm = select(comm)
        self.x, self.y = data.x, data.y
        self.model = workload.model(backend, comm).build(self.x.shape[1:])

    def train(self, turn: int, batch_size: int = 0) -> dict[str, Any]:
        self.model.epoch = turn
        record = self.model.fit(self.x, self.y, batch_size=batch_size or self.batch_size)[0]
        return {"seconds": record["seconds"], "loss": record["loss"]}

    def total(self, count: int, repeats: int) -> dict[str, Any]:
        """The median time of a sum over all ranks, of so many bytes of float32."""
        x = np.zeros(count // 4, np.float32)
        times = [timed(lambda: self.comm.total(x, x))[0] for _ in range(repeats + 1)]
        return {"seconds": statistics.median(times[1:])}


if __name__ == "__main__":
    fields = json.loads(sys.argv[2])
    serve(sys.argv[1], Workload(**{**fields, "sizes": tuple(fields["sizes"])}))
