"""One of several ranks is killed or interrupted at a random moment: the job must end, and be resumed to its result."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from report import Outcome, without_numbers

from anynet.model import Model

TRAIN = ["circles", "--backend", "numpy", "--dtype", "float64", "--epochs", "100", "--hidden", "32,16"]
TRAIN += ["--batch-size", "16"]
FAST = ["--checkpoint-seconds", "0"]
RANKS = 2
MOST_SECONDS = 5.0
TOLERANCE = 1e-9
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


class Stopped(NamedTuple):
    """How a job ended after a signal: its exit code, what it said, and how many seconds it took."""

    code: int
    said: str
    seconds: float


def attack(root: Path, kills: int, seed: int, seconds: float) -> Outcome:
    """Send a signal to one rank so many times; every job is resumed, most on as many ranks, the others on 1 or 4."""
    outcome, generator = Outcome("ranks"), random.Random(seed)
    started, undisturbed = time.perf_counter(), root / "undisturbed"
    _ended(_job(RANKS, *TRAIN, *FAST, "--out", str(undisturbed)))
    longest, sent, slowest = time.perf_counter() - started, Counter[str](), 0.0
    for number in range(kills):
        if time.perf_counter() - started > seconds:
            break
        run, which = root / str(number), generator.choice(SIGNALS)
        stopped = _stopped(run, which, generator, longest)
        if not stopped:
            continue
        slowest = max(slowest, stopped.seconds)
        sent[which.name] += 1
        for what in _lost(run, stopped, generator.choice((RANKS, RANKS, 1, 4)), undisturbed):
            outcome.lose(f"{what} after {which.name}", f"--parts ranks --seed {seed}")
    done = ", ".join(f"{count} {name}" for name, count in sorted(sent.items()))
    return outcome.end(f"{done}; the slowest job ended after {slowest:.1f} s")


def _stopped(run: Path, which: signal.Signals, generator: random.Random, longest: float) -> Stopped | None:
    """Start a job and send a signal to one of its ranks at a random moment; None if it had ended before."""
    job = _job(RANKS, *TRAIN, *FAST, "--out", str(run))
    time.sleep(generator.uniform(0.1, longest))
    ranks = _ranks(job.pid)
    if not ranks or job.poll() is not None:
        _ended(job)
        return None
    os.kill(generator.choice(ranks), which)
    at = time.perf_counter()
    code, said = _ended(job)
    return Stopped(code, said, time.perf_counter() - at)


def _lost(run: Path, stopped: Stopped, ranks: int, undisturbed: Path) -> list[str]:
    """What is wrong with a stopped job, and with its result once it is resumed on so many ranks."""
    lost = [f"a job went on for more than {MOST_SECONDS:g} s"] if stopped.seconds > MOST_SECONDS else []
    is_over = (run / "model.safetensors").is_file() and not (run / "checkpoints").is_dir()
    if stopped.code == 0 and not is_over:
        lost.append(f"exit code 0, but no result: {without_numbers(stopped.said)}")
    # Before it has a config, nothing has been asked of it.
    if not (run / "config.toml").is_file():
        return lost
    if not is_over:
        code, said = _ended(_job(ranks, "--resume", str(run), *FAST))
        if code:
            return [*lost, f"not resumed: {code} {without_numbers(said)}"]
    if difference := _difference(run, undisturbed, exactly=is_over or ranks == RANKS):
        lost.append(f"{difference}, resumed on {ranks} ranks,")
    return lost


def _job(ranks: int, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "anynet", "train", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([str(Path(sys.executable).with_name("mpirun")), "-n", str(ranks), *command], **pipes)


def _ended(job: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = job.communicate()
    return job.returncode, said


def _ranks(job: int) -> list[int]:
    """The processes of the ranks: those that the launcher's own have started."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:
            continue
        parents[int(path.parent.name)] = int(text.rpartition(")")[2].split()[1])
    proxies = [pid for pid, parent in parents.items() if parent == job]
    return [pid for pid, parent in parents.items() if parent in proxies]


def _difference(run: Path, expected: Path, exactly: bool) -> str:
    ours, theirs = (Model.load(path / "model.safetensors").parameters for path in (run, expected))
    if exactly:
        return "" if all(ours[name].tobytes() == theirs[name].tobytes() for name in theirs) else "other bytes"
    largest = max(float(np.abs(ours[name] - theirs[name]).max()) for name in theirs)
    return "" if largest <= TOLERANCE else f"a difference of more than {TOLERANCE:g}"
