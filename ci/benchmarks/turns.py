"""Contenders take turns: each in a process of its own, one working while the others wait."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workloads import Workload

OURS = "anynet-numpy"
FLOOR = "floor"
CHECKED_STEPS = 20
# In float32 one ReLU that rounding tips over moves the losses of later steps, so the first steps are held tighter.
FIRST_STEPS_TOLERANCE = 1e-4
# Threads of a library that has just worked go on spinning for a tenth of a second, at the cost of who comes next.
SECONDS_OF_REST = 0.5
OTHER_TRAINING = "not the same training"
WHOLE_TURN_TOLERANCE = 0.01


class Worker:
    """A contender's process."""

    def __init__(
        self, name: str, workload: Workload, command: list[str] | None = None, environment: dict[str, str] | None = None
    ) -> None:
        self.name = name
        arguments = command or [sys.executable, str(Path(__file__).with_name("worker.py")), name]
        self.process = subprocess.Popen(
            [*arguments, json.dumps(dataclasses.asdict(workload))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | (environment or {}),
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
    reference: str = OURS

    def rate(self, name: str) -> float:
        return self.per_turn / statistics.median(self.seconds[name])

    def ratios(self, name: str) -> tuple[float, float, float]:
        """Quartiles of how many times faster `name` is than the reference, turn by turn."""
        pairs = zip(self.seconds[name], self.seconds[self.reference], strict=True)
        ratios = [theirs / own for own, theirs in pairs]
        low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        return low, middle, high


def train_in_turns(
    workload: Workload,
    names: list[str],
    turns: int,
    reference: str = OURS,
    start: Callable[[str, Workload], Worker] = Worker,
) -> Result:
    """Times of training, of those contenders that have been seen to reach the same loss as the reference."""
    result = Result(workload.name, workload.rows, reference=reference)
    short = dataclasses.replace(workload, rows=CHECKED_STEPS * workload.batch_size)
    first_losses = {}
    for name in names:
        with closing(start(name, short)) as worker:
            first_losses[name] = _loss(worker, result)
    _leave_out_others(first_losses, FIRST_STEPS_TOLERANCE, result)
    workers = [start(name, workload) for name in names if name not in result.absent]
    try:
        # The first turn warms up: compiling, caches, pages.
        _leave_out_others({worker.name: _loss(worker, result) for worker in workers}, WHOLE_TURN_TOLERANCE, result)
        for turn in range(1, turns + 1):
            _take_turns(workers, turn, result, do="train", turn=turn)
    finally:
        for worker in workers:
            worker.close()
    return result


def _loss(worker: Worker, result: Result) -> float | None:
    answer = worker.ask("train", turn=0)
    if "absent" in answer:
        result.absent[worker.name] = answer["absent"]
    return answer.get("loss")


def _leave_out_others(losses: dict[str, float | None], tolerance: float, result: Result) -> None:
    """Whoever trains something else is not timed; the bare matrix products have no loss."""
    expected = losses.get(result.reference)
    if expected is None:
        return
    for name, loss in losses.items():
        if loss is not None and not abs(loss - expected) <= tolerance * expected:
            result.absent[name] = f"{OTHER_TRAINING}: it has the loss {loss}, but {result.reference} {expected}"


def predict_in_turns(workload: Workload, names: list[str], rows: int, repeats: int, turns: int) -> Result:
    """Times of predicting the first rows, the best of `repeats` in each turn, by networks trained alike."""
    result = Result(f"predicting {rows:,} row{'s' * (rows > 1)}", rows)
    workers = [Worker(name, dataclasses.replace(workload, rows=10_000)) for name in names]
    try:
        for worker in workers:
            _loss(worker, result)
        for turn in range(turns + 1):
            answers = _take_turns(workers, turn, result, do="predict", rows=rows, repeats=repeats)
            if turn == 0:
                _leave_out_other_classes({name: answer["classes"] for name, answer in answers.items()}, result)
                result.seconds.clear()
    finally:
        for worker in workers:
            worker.close()
    return result


def _take_turns(workers: list[Worker], seed: int, result: Result, **request: Any) -> dict[str, dict[str, Any]]:
    """Ask each in turn, in another order each time; who fails is out, and the times it had are not kept."""
    answers = {}
    for worker in random.Random(seed).sample(workers, len(workers)):
        if worker.name in result.absent:
            continue
        time.sleep(SECONDS_OF_REST)
        answer = worker.ask(**request)
        if "absent" in answer:
            result.absent[worker.name] = answer["absent"]
            result.seconds.pop(worker.name, None)
            continue
        answers[worker.name] = answer
        result.seconds.setdefault(worker.name, []).append(answer["seconds"])
    return answers


def _leave_out_other_classes(classes: dict[str, list[int]], result: Result) -> None:
    expected = classes[OURS]
    for name, predicted in classes.items():
        same = sum(one == other for one, other in zip(predicted, expected, strict=True)) / len(expected)
        if name != FLOOR and same < 0.98:
            result.absent[name] = f"{OTHER_TRAINING}: only {same:.0%} of its classes are those of {OURS}"
            result.seconds.pop(name, None)


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
                seconds = time.perf_counter() - started
            if "absent" in answer:
                result.absent[name] = answer["absent"]
            elif answer["accuracy"] < accuracy:
                result.absent[name] = f"only {answer['accuracy']} after {answer['turns']} epochs"
            else:
                result.seconds.setdefault(name, []).append(seconds)
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
