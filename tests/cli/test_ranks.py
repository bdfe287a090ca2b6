"""The command line on many ranks: one run, printed once, and over for all ranks when it is over for one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cli.commands import anynet, weights
from distributed.mpirun import mpirun, ranks_of, started

from anynet.cli.launcher import THREADS

pytestmark = pytest.mark.host

TRAIN = ("anynet", "train", "circles", "--backend", "numpy", "--dtype", "float64", "--batch-size", "16")
LONG = (*TRAIN, "--epochs", "100000", "--out", "run", "--checkpoint-seconds", "0")
# Far more than it takes, for a busy machine; ranks that nobody ends would wait for ever.
SECONDS_TO_END = 30

# The second rank fails alone, in the middle of its third call of `run`, where the others wait for it.
FAILS = """
import sys
from mpi4py import MPI
from anynet.backends.numpy import NumPyBackend
from anynet.cli import main

calls, run = [], NumPyBackend.run

def failing(self, *given, **options):
    calls.append(given)
    if len(calls) == 3 and MPI.COMM_WORLD.rank == 1:
        raise {error}
    return run(self, *given, **options)

NumPyBackend.run = failing
sys.exit(main(sys.argv[1:]))
"""


def test_two_ranks_make_one_run_and_print_once() -> None:
    done = mpirun(2, *TRAIN, "--epochs", "20", "--json")
    assert os.listdir("runs") == ["circles-1"]
    result = json.loads(done.stdout)
    assert result["run"] == "runs/circles-1"
    assert done.stderr.count("epoch 20/20") == 1
    assert done.stderr.count("backend numpy") == 1
    assert anynet(*TRAIN[1:], "--epochs", "20", "--out", "alone") == 0
    together, alone = weights("runs/circles-1"), weights("alone")
    for name in alone:
        np.testing.assert_allclose(np.frombuffer(together[name]), np.frombuffer(alone[name]), rtol=0, atol=1e-12)
    evaluated = mpirun(2, "anynet", "evaluate", "runs/circles-1", "circles", "--json").stdout
    assert json.loads(evaluated)["accuracy"] > 0.8
    assert mpirun(2, "anynet", "predict", "runs/circles-1", "circles").stdout.count("\n") == 1001


@pytest.mark.parametrize("error", ["OSError('no room')", "ValueError('a mistake')", "SystemExit(4)"])
def test_a_rank_that_fails_alone_ends_all(error: str) -> None:
    began = time.monotonic()
    with started(2, sys.executable, "-c", FAILS.format(error=error), *LONG[1:]) as job:
        _, err = job.communicate()
    assert job.returncode
    assert time.monotonic() - began < SECONDS_TO_END
    assert "rank 1 ends all ranks" in err
    if "SystemExit" not in error:
        assert error.partition("'")[2].partition("'")[0] in err


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_to_one_rank_ends_all_and_the_run_can_be_resumed(which: signal.Signals) -> None:
    short = [*LONG[:-5], "25", *LONG[-4:]]
    mpirun(2, *(argument if argument != "run" else "undisturbed" for argument in short))
    with started(2, *short) as job:
        while not list(Path("run").glob("checkpoints/checkpoint-*")):
            time.sleep(0.01)
            assert job.poll() is None
        os.kill(ranks_of(job)[1], which)
        began = time.monotonic()
        job.communicate()
    assert time.monotonic() - began < SECONDS_TO_END
    if job.returncode:
        mpirun(2, "anynet", "train", "--resume", "run")
    assert weights("run") == weights("undisturbed")


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_to_one_rank_while_MPI_starts_ends_all(which: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    # While coverage.py is imported at Python's start, it swallows every exception, a KeyboardInterrupt too.
    for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    for moment in np.linspace(0.05, 0.4, 8):
        with started(2, *TRAIN, "--epochs", "100000") as job:
            while len(ranks := ranks_of(job)) < 2:
                time.sleep(0.001)
            time.sleep(moment)
            os.kill(ranks[1], which)
            job.communicate(timeout=SECONDS_TO_END)
        assert job.returncode


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("bench", "circles"), 2, "bench is for one process, but 2 were started: leave mpirun out"),
        (("train", "--epocs", "3"), 2, "unknown option '--epocs'"),
        (("train", "nothing.npz"), 3, "cannot read nothing.npz"),
        (("train", "circles", "--batch-size", "15"), 2, "cannot be divided equally among 2 ranks"),
        (("train", "circles", "--out", "here"), 2, "here is no run folder|here exists already"),
        (("train", "circles", "--lr", "1e30"), 1, "is not finite"),
    ],
)
def test_what_is_wrong_on_all_ranks_is_said_once(arguments: tuple[str, ...], code: int, words: str) -> None:
    Path("here").mkdir()
    said = mpirun(2, "anynet", *arguments, code=code).stderr
    errors = [line for line in said.splitlines() if line.startswith("anynet ")]
    assert len(errors) == 1, said
    assert any(either in errors[0] for either in words.split("|"))
    assert "ends all ranks" not in said


def anynet_started_as(environment: dict[str, str], code: str = "pass") -> str:
    command = f"import sys; {code}; from anynet.cli import main; sys.exit(main(['train', 'circles']))"
    done = subprocess.run(
        [sys.executable, "-c", command], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    return done.stderr.splitlines()[-1]


def test_a_launcher_without_mpi4py_or_of_another_mpi_is_told_of() -> None:
    said = anynet_started_as({"OMPI_COMM_WORLD_SIZE": "2"}, "sys.modules['mpi4py'] = None")
    assert "2 processes were started, and need mpi4py to train together: pip install mpi4py" in said
    said = anynet_started_as({"OMPI_COMM_WORLD_SIZE": "2"})
    assert "2 processes were started, but mpi4py sees 1: use the mpirun of the MPI that mpi4py was installed" in said


def test_each_rank_has_its_share_of_the_cores_unless_the_user_says_otherwise() -> None:
    code = (
        "import json, os, sys; from anynet.cli import launcher; launcher.communicator(); "
        "from anynet.backends.numpy.blas import _libraries; "
        "sys.stdout.write(str(max(library.num_threads for library in _libraries())) + '\\n')"
    )
    cores = len(os.sched_getaffinity(0))
    without = {name: value for name, value in os.environ.items() if name not in THREADS}
    found = mpirun(2, "python", "-c", code, env=without).stdout.split()
    assert found == [str(max(1, cores // 2))] * 2
    given = {**without, "OMP_NUM_THREADS": "1"}
    assert mpirun(2, "python", "-c", code, env=given).stdout.split() == ["1"] * 2
