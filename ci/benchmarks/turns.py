"""Contenders take turns: each in a process of its own, one working while the others wait."""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workloads import Workload

OURS = "anynet-numpy"
CHECKED_STEPS = 20
# In float32 one ReLU that rounding tips over moves the losses of later steps, so the first steps are held tighter.
FIRST_STEPS_TOLERANCE = 1e-4
WHOLE_TURN_TOLERANCE = 0.01


class Worker:
    """A contender's process."""

    def __init__(self, name: str, workload: Workload) -> None:
        self.name = name
        self.started = time.perf_counter()
        arguments = [
            sys.executable,
            Path(__file__).with_name("worker.py"),
            name,
            json.dumps(dataclasses.asdict(workload)),
        ]
        self.process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        try:
            print(json.dumps({"do": do, **request}), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            return {"absent": f"its process ended with {self.process.wait()}"}
        answer = self.process.stdout.readline()
        return json.loads(answer) if answer else {"absent": f"its process ended with {self.process.wait()}"}

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()


@dataclass
class Result:
    """What one workload came to: seconds of each turn, by contender, and why others are not there."""

    workload: str
    per_turn: int
    seconds: dict[str, list[float]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    epochs: dict[str, list[int]] = field(default_factory=dict)

    def rate(self, name: str) -> float:
        return self.per_turn / statistics.median(self.seconds[name])

    def ratios(self, name: str, other: str = OURS) -> tuple[float, float, float]:
        """Quartiles of how many times faster `name` is than `other`, turn by turn."""
        pairs = zip(self.seconds[name], self.seconds[other], strict=True)
        ratios = [theirs / own for own, theirs in pairs]
        low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        return low, middle, high


def train_in_turns(workload: Workload, names: list[str], turns: int) -> Result:
    """Times of training, once every contender has been seen to reach the same loss."""
    short = dataclasses.replace(workload, rows=CHECKED_STEPS * workload.batch_size)
    first_losses, absent = {}, {}
    for name in names:
        with closing(Worker(name, short)) as worker:
            answer = worker.ask("train", turn=0)
            if "absent" in answer:
                absent[name] = answer["absent"]
            else:
                first_losses[name] = answer["loss"]
    check_same_loss(first_losses, FIRST_STEPS_TOLERANCE)
    result = Result(workload.name, workload.rows, absent=absent)
    workers = [Worker(name, workload) for name in first_losses]
    try:
        # The first turn warms up: compiling, caches, pages.
        check_same_loss({w.name: w.ask("train", turn=0)["loss"] for w in workers}, WHOLE_TURN_TOLERANCE)
        for turn in range(1, turns + 1):
            for worker in workers:
                result.seconds.setdefault(worker.name, []).append(worker.ask("train", turn=turn)["seconds"])
    finally:
        for worker in workers:
            worker.close()
    return result


def predict_in_turns(workload: Workload, names: list[str], rows: int, repeats: int, turns: int) -> Result:
    """Times of predicting the first rows, the best of `repeats` in each turn."""
    result = Result(f"predicting {rows:,} row{'s' * (rows > 1)}", rows)
    workers = [Worker(name, dataclasses.replace(workload, rows=10_000)) for name in names]
    try:
        for worker in list(workers):
            if "absent" in (answer := worker.ask("train", turn=0)):
                result.absent[worker.name] = answer["absent"]
        for _ in range(turns):
            for worker in workers:
                if worker.name not in result.absent:
                    seconds = worker.ask("predict", rows=rows, repeats=repeats)["seconds"]
                    result.seconds.setdefault(worker.name, []).append(seconds)
    finally:
        for worker in workers:
            worker.close()
    return result


def until_accurate(workload: Workload, names: list[str], accuracy: float, seeds: int) -> Result:
    """Seconds from starting a process to so accurate a network: importing, compiling, training and testing."""
    result = Result(workload.name, 1)
    for seed in range(seeds):
        for name in names:
            if name in result.absent:
                continue
            started = time.perf_counter()
            with closing(Worker(name, dataclasses.replace(workload, seed=seed))) as worker:
                answer = worker.ask("train_until", accuracy=accuracy, most_turns=30)
            if "absent" in answer:
                result.absent[name] = answer["absent"]
            elif answer["accuracy"] < accuracy:
                result.absent[name] = f"only {answer['accuracy']} after {answer['turns']} epochs"
            else:
                result.seconds.setdefault(name, []).append(time.perf_counter() - started)
                result.epochs.setdefault(name, []).append(answer["turns"])
    return result


def peak_memory(workload: Workload, names: list[str]) -> dict[str, float]:
    """The most memory, in MiB, that a process has in use which makes its data ready and trains on them once."""
    peaks = {}
    for name in names:
        with closing(Worker(name, workload)) as worker:
            answer = worker.ask("train", turn=0)
        if "peak_mib" in answer:
            peaks[name] = answer["peak_mib"]
    return peaks


def check_same_loss(losses: dict[str, float | None], tolerance: float) -> None:
    expected = losses[OURS]
    for name, loss in losses.items():
        if loss is not None and not abs(loss - expected) <= tolerance * expected:
            raise SystemExit(f"not the same training: {name} has the loss {loss}, but {OURS} {expected}")
