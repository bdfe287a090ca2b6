"""Models that are trained beside each other, in processes or threads, end as each does alone."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from model.interrupted import assert_same, fit, new_model


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_train_to_the_same_bytes(method: str, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(PROCESSES)
    command = [sys.executable, str(script), method]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "[True, True, True]\n"


PROCESSES = """
import multiprocessing, sys
import numpy as np
from anynet import Model
from anynet.nn import SGD, Linear, MSELoss, ReLU, Sequential

def train(seed):
    x = np.random.default_rng(0).normal(size=(300, 8))
    model = Model(Sequential(Linear(32), ReLU(), Linear(1)), MSELoss(), SGD(0.01, momentum=0.9), seed=seed)
    model.fit(x, x.sum(axis=1), epochs=3)
    return {name: array.tobytes() for name, array in model.parameters.items()}

if __name__ == "__main__":
    here = [train(seed) for seed in range(3)]
    with multiprocessing.get_context(sys.argv[1]).Pool(3) as pool:
        print([one == other for one, other in zip(here, pool.map(train, range(3)))])
"""


def test_eight_threads_training_eight_models_give_the_bytes_that_each_gives_alone() -> None:
    alone = [new_model(seed=seed) for seed in range(8)]
    together = [new_model(seed=seed) for seed in range(8)]
    for model in alone:
        fit(model)
    threads = [threading.Thread(target=fit, args=(model,)) for model in together]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone, together, strict=True):
        assert_same(one, other)
