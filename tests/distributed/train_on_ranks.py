"""Every case on one process and on all ranks of MPI: ``mpirun -n 2 python train_on_ranks.py BACKEND EPOCHS``.

Rank 0 prints a line of JSON for each: the largest difference of the two, and whether all ranks have the same bytes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from mpi4py import MPI

sys.path.insert(0, str(Path(__file__).parents[1]))

from distributed.ranked import each, trained


def main(backend: str, epochs: int) -> None:
    comm = MPI.COMM_WORLD
    for case in each():
        alone, _ = trained(case, None, backend, epochs)
        together, _ = trained(case, comm, backend, epochs)
        mine, theirs = alone.parameters, together.parameters
        difference = max(float(np.abs(mine[name] - theirs[name]).max()) for name in mine)
        everyone = comm.allgather(b"".join(array.tobytes() for array in theirs.values()))
        if comm.rank == 0:
            print(
                json.dumps({"name": case.name, "difference": difference, "same": len(set(everyone)) == 1}), flush=True
            )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
