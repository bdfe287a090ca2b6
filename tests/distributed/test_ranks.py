"""Ranks, be they threads or processes of MPI, come to the numbers of one process, and all to the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed.mpirun import mpirun
from distributed.ranked import Case, each, trained

from anynet.distributed import run_threads

TIMES = ("seconds", "samples_per_second")
SCRIPT = str(Path(__file__).with_name("train_on_ranks.py"))
CASES = {case.name: case for case in each()}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_ranks_together_come_to_the_numbers_of_one_process(case: Case) -> None:
    alone, history = trained(case, None, "numpy", epochs=4)
    for ranks in (2, 8):
        together = run_threads(ranks, lambda comm: trained(case, comm, "numpy", epochs=4))
        model, others = together[0]
        for name, array in alone.parameters.items():
            np.testing.assert_allclose(model.parameters[name], array, rtol=0, atol=case.tolerance)
            assert all(one.parameters[name].tobytes() == model.parameters[name].tobytes() for one, _ in together)
        for mine, theirs in zip(history, others, strict=True):
            assert mine.keys() == theirs.keys()
            assert measures(theirs) == pytest.approx(measures(mine), rel=0, abs=1e-9)


def measures(record: Any) -> dict[str, float]:
    return {name: value for name, value in record.items() if name not in TIMES}


@pytest.mark.backends("numpy", "torch")
@pytest.mark.parametrize(("ranks", "epochs"), [(2, 25), (4, 3)])
def test_processes_of_mpi_come_to_the_numbers_of_one(ranks: int, epochs: int, backend_name: str) -> None:
    lines = mpirun(ranks, "python", SCRIPT, backend_name, str(epochs)).stdout.splitlines()
    found = {line["name"]: line for line in map(json.loads, lines)}
    assert found.keys() == CASES.keys()
    for name, line in found.items():
        assert line["difference"] <= CASES[name].tolerance
        assert line["same"]
