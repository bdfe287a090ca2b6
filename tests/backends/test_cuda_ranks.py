"""Ranks on CUDA devices: NCCL sums inside the graphs, and where it cannot, the host does."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends.on_gpu import X, Y

from anynet import Model
from anynet.backends import select
from anynet.backends.cupy import backend
from anynet.backends.cupy.graph import Graph
from anynet.distributed import Communicator, run_threads
from anynet.nn import SGD, BatchNorm, CrossEntropyLoss, Linear, ReLU, Sequential

pytestmark = pytest.mark.needs("cupy:1")

# Whole batches only, and three sums a step: the mean, the variance, and all gradients with those of the scale.
STEPS, ROWS = 4, 64
ROOT = Path(__file__).parents[2]
NCCL = "ncclDevKernel_AllReduce_Sum_f64"


def trained(comm: Communicator | None, device: int = 0, epochs: int = 3) -> Model:
    network = Sequential(Linear(6), BatchNorm(), ReLU(), Linear(2))
    optimizer = SGD(0.1, momentum=0.9)
    model = Model(
        network, CrossEntropyLoss(), optimizer, backend=f"cupy:{device}", dtype="float64", clip_norm=1.0, comm=comm
    )
    model.fit(X[:ROWS], Y[:ROWS], epochs=epochs, batch_size=ROWS // STEPS)
    return model


def trained_together() -> list[Model]:
    return run_threads(2, lambda comm: trained(comm, comm.rank))


@pytest.fixture(scope="module")
def alone() -> Model:
    return trained(None)


def assert_equal_weights(models: list[Model], alone: Model) -> None:
    for name, array in alone.parameters.items():
        first, *others = (model.parameters[name] for model in models)
        np.testing.assert_allclose(first, array, rtol=0, atol=1e-12)
        assert all(other.tobytes() == first.tobytes() for other in others)


def sums_of(graph: Graph) -> int:
    return str(graph._graph.debug_dot_str()).count(NCCL)


def test_the_sums_of_ranks_are_in_their_graphs(launches: list[Graph], alone: Model) -> None:
    models = trained_together()
    assert len(set(launches)) == 2
    (sums,) = {sums_of(graph) for graph in launches}
    assert sums >= 3 * STEPS
    assert sums % STEPS == 0
    assert_equal_weights(models, alone)


@pytest.mark.filterwarnings("ignore:this step cannot be compiled")
def test_the_sums_of_a_step_that_cannot_be_fused_are_in_its_graph_too(
    launches: list[Graph], alone: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "FusedStep", failing_on((0, 1), backend.FusedStep))
    models = trained_together()
    assert {sums_of(graph) % STEPS for graph in launches} == {0}
    assert all(map(sums_of, launches))
    assert_equal_weights(models, alone)


def test_without_nccl_the_host_sums_and_that_is_said_once(
    launches: list[Graph], alone: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cupy.cuda import nccl

    monkeypatch.setattr(nccl, "available", False)
    with pytest.warns(UserWarning, match=r"through the host.*pip install nvidia-nccl-cu") as said:
        models = trained_together()
    assert len(said) == 1
    assert not launches
    assert_equal_weights(models, alone)


def test_ranks_that_share_a_gpu_sum_through_the_host(launches: list[Graph], alone: Model) -> None:
    with pytest.warns(UserWarning, match="NCCL needs a GPU for each rank") as said:
        models = run_threads(2, trained)
    assert len(said) == 1
    assert not launches
    assert_equal_weights(models, alone)


def failing_on(ranks: tuple[int, ...], function: Any) -> Any:
    """The function, but on these ranks, which train on the devices of the same numbers, it fails in the end."""

    def called(*arguments: Any, **options: Any) -> Any:
        import cupy

        made = function(*arguments, **options)
        if cupy.cuda.Device().id in ranks:
            raise RuntimeError("it does not work here")
        return made

    return called


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("part", ["Graph", "verify"])
def test_where_one_rank_has_no_graph_all_launch_their_steps_one_by_one(
    launches: list[Graph], alone: Model, monkeypatch: pytest.MonkeyPatch, part: str, rank: int
) -> None:
    monkeypatch.setattr(backend, part, failing_on((rank,), getattr(backend, part)))
    with pytest.warns(UserWarning, match="one by one") as said:
        models = trained_together()
    words = sorted(str(warning.message) for warning in said)
    assert [word.partition("(")[2] for word in words] == [
        f"RankError: rank {rank} has failed, and says why)",
        "RuntimeError: it does not work here)",
    ]
    # The proof of each rank at most
    assert len(launches) == (2 if part == "verify" else 0)
    assert_equal_weights(models, alone)


@pytest.mark.parametrize("rank", [0, 1])
def test_where_one_rank_cannot_fuse_a_step_none_does(
    launches: list[Graph], alone: Model, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    monkeypatch.setattr(backend, "FusedStep", failing_on((rank,), backend.FusedStep))
    with pytest.warns(UserWarning, match="this step cannot be compiled") as said:
        models = trained_together()
    assert len(said) == 1
    assert not any("fused" in graph._graph.debug_dot_str() for graph in launches)
    assert_equal_weights(models, alone)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint8"])
def test_numbers_of_each_kind_are_summed_however_they_lie(dtype: str) -> None:
    def total(comm: Communicator) -> Any:
        gpu = select(f"cupy:{comm.rank}", "float64")
        with gpu.scope():
            x = gpu.xp.arange(10, dtype=dtype)[::2] + comm.rank
            out = gpu.xp.empty(5, dtype=dtype)
            assert gpu.all_reduce(comm, x[::-1], out) is out
        return gpu.to_numpy(out)

    for found in run_threads(2, total):
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, np.arange(10)[::2][::-1] * 2 + 1)


def test_models_of_the_same_ranks_share_a_communicator_which_goes_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from cupy.cuda import nccl

    made: list[Any] = []
    make = nccl.NcclCommunicator
    monkeypatch.setattr(
        nccl, "NcclCommunicator", lambda *arguments: made.append(threading.get_ident()) or make(*arguments)
    )
    run_threads(2, lambda comm: [trained(comm, comm.rank) for _ in range(2)])
    assert len(made) == 2


THREADS = """
import os, sys
from cupy.cuda import nccl
sys.path.insert(0, "tests")
from backends.test_cuda_ranks import trained
from anynet.distributed import run_threads
class Told(nccl.NcclCommunicator):
    def __del__(self, write=os.write):
        write(1, b"closed")
nccl.NcclCommunicator = Told
models = run_threads(2, lambda comm: (comm, trained(comm, comm.rank)))
print(len(models), flush=True)
"""


def test_a_process_that_ends_does_not_close_what_ranks_must_close_together() -> None:
    done = subprocess.run([sys.executable, "-c", THREADS], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "2\n"


PROCESSES = """
import json, sys
from mpi4py import MPI
sys.path.insert(0, "tests")
from backends.test_cuda_ranks import trained
comm = MPI.COMM_WORLD
models = [trained(comm, comm.rank) for _ in range(2)]
numbers = [{name: array.tolist() for name, array in model.parameters.items()} for model in models]
everyone = comm.gather(numbers)
if comm.rank == 0:
    print(json.dumps(everyone))
"""
MPIEXEC = Path(sys.executable).parent / "mpiexec"


@pytest.mark.skipif(not MPIEXEC.exists(), reason="MPI is not installed here")
def test_processes_of_mpi_train_as_one_does(alone: Model) -> None:
    command = [str(MPIEXEC), "-n", "2", sys.executable, "-c", PROCESSES]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [numbers for rank in json.loads(done.stdout) for numbers in rank]
    assert len(found) == 4
    assert all(numbers == found[0] for numbers in found)
    for name, array in alone.parameters.items():
        np.testing.assert_allclose(found[0][name], array, rtol=0, atol=1e-12)
