"""Ranks that are threads train as one process does: the same numbers, and all of them the same bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from distributed.ranked import Case, each, trained

from anynet.distributed import run_threads

TIMES = ("seconds", "samples_per_second")


@pytest.mark.parametrize("case", list(each()), ids=lambda case: case.name)
@pytest.mark.backends("numpy", "torch")
def test_ranks_together_come_to_the_numbers_of_one_process(case: Case, backend_name: str) -> None:
    alone, history = trained(case, None, backend_name, epochs=4)
    for ranks in (2, 8):
        together = run_threads(ranks, lambda comm: trained(case, comm, backend_name, epochs=4))
        model, others = together[0]
        for name, array in alone.parameters.items():
            np.testing.assert_allclose(model.parameters[name], array, rtol=0, atol=case.tolerance)
            assert all(one.parameters[name].tobytes() == model.parameters[name].tobytes() for one, _ in together)
        for mine, theirs in zip(history, others, strict=True):
            assert mine.keys() == theirs.keys()
            assert measures(theirs) == pytest.approx(measures(mine), rel=0, abs=1e-9)


def measures(record: Any) -> dict[str, float]:
    return {name: value for name, value in record.items() if name not in TIMES}
