"""One model on several ranks: speed on this machine, the all-reduce alone, and a model of many ranks."""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
import statistics
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import ranks_model
import ranks_report
from ranks_model import Line, Network, System
from turns import Result, Worker, train_in_turns
from workloads import DIGITS, Workload

RANKS, THREADS, ONE = "2 ranks", "2 threads", "1 thread"
HERE = {"1 rank": 1, "2 ranks": 2, "4 ranks": 4, "8 ranks": 8}
BACKENDS = ("numpy", "torch")
# So many rows are whole batches of every size.
ROWS, FEW_ROWS = 57_344, 8_192
MOMENTUM = Workload("digits", "mnist", DIGITS, 128, ROWS, "momentum", 0.01)
SPEED = tuple(dataclasses.replace(MOMENTUM, name=f"digits, batch {n}", batch_size=n) for n in (128, 512, 1024, 4096))
WIDE = Workload("1024-wide", "mnist", (784, 1024, 1024, 10), 1024, FEW_ROWS, "momentum", 0.01)
CHECKED = (
    dataclasses.replace(MOMENTUM, name="digits, batch 128", rows=FEW_ROWS),
    dataclasses.replace(MOMENTUM, name="digits, batch 1024", rows=FEW_ROWS, batch_size=1024),
    dataclasses.replace(WIDE, name="1024-wide, batch 1024"),
)
COMPUTED = {"digits": (MOMENTUM, (16, 64, 256, 1024, 4096)), "1024-wide": (WIDE, (16, 64, 256, 1024))}
SIZES = (*(8 * 4**k for k in range(12)), 64 << 20)


def measure(turns: int, chosen: str = "") -> tuple[dict[str, Any], list[Result]]:
    """Everything, for JSON, and the results of training; tables are printed as they come."""
    if reason := _missing():
        print(f"\nranks: {reason}", flush=True)
        return {"absent": reason}, []
    results = [
        _speed(workload, backend, turns) for backend in BACKENDS for workload in SPEED if chosen in workload.name
    ]
    _print("Two ranks of one thread on this machine", ranks_report.speed(results))
    messages, here = _messages(turns)
    _print("All-reduce alone, 2 ranks on this machine, float32", ranks_report.messages(messages))
    computed = {name: _compute(name, min(turns, 5)) for name in COMPUTED}
    _print("Seconds of a step on one core", ranks_report.computed(computed))
    lines = {name: Line(**found["line"]) for name, found in computed.items()}
    predicted = _predict(lines)
    checked = [workload for workload in CHECKED if chosen in workload.name]
    checks = [_check(workload, lines[workload.name.partition(",")[0]], here, min(turns, 5)) for workload in checked]
    _print("The model against ranks on this machine", ranks_report.checks(checks))
    trained = [*results, *(check["result"] for check in checks)]
    found = {
        "speed": [dataclasses.asdict(result) for result in results],
        "all-reduce": messages,
        "compute": computed,
        "model": predicted,
        "check": [{**check, "result": dataclasses.asdict(check["result"])} for check in checks],
    }
    return found, trained


def _missing() -> str:
    """Why two ranks cannot be started here, or nothing."""
    if not _mpirun():
        return "mpirun is missing"
    with closing(start("2 ranks", dataclasses.replace(MOMENTUM, rows=128), ranks=2)) as worker:
        return str(worker.ask("total", count=8, repeats=1).get("absent", ""))


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _mpirun() -> str | None:
    """The launcher of the MPI that was installed beside this Python, or else of the system's."""
    return shutil.which("mpirun", path=str(Path(sys.executable).parent)) or shutil.which("mpirun")


def start(name: str, workload: Workload, backend: str = "numpy", ranks: int = 1, threads: int = 1) -> Worker:
    """So many ranks, of so many threads each."""
    launcher = [str(_mpirun()), "-n", str(ranks)] if ranks > 1 else []
    command = [*launcher, sys.executable, str(Path(__file__).with_name("ranks_worker.py")), backend]
    limits = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return Worker(name, workload, command, dict.fromkeys(limits, str(threads)))


def _start_by_name(name: str, workload: Workload, backend: str = "numpy") -> Worker:
    count = int(name.partition(" ")[0])
    return start(name, workload, backend, **{"threads" if "thread" in name else "ranks": count})


def _speed(workload: Workload, backend: str, turns: int) -> Result:
    start_one = partial(_start_by_name, backend=backend)
    result = train_in_turns(workload, [THREADS, RANKS, ONE], turns, THREADS, start_one)
    result.workload = f"{backend}, {workload.name}"
    return _said(result)


def _said(result: Result) -> Result:
    for name, reason in result.absent.items():
        print(f"{result.workload}: without {name}: {reason}", file=sys.stderr)
    print(f"{result.workload}: done", file=sys.stderr)
    return result


def _print(title: str, table: str) -> None:
    print(f"\n{title}\n\n{table}", flush=True)


def _messages(turns: int) -> tuple[dict[str, Any], Network]:
    """Median times of the all-reduce by bytes, the line through them, and this machine as a network."""
    with closing(start("2 ranks", dataclasses.replace(MOMENTUM, rows=128), ranks=2)) as worker:
        found = _times_of_sums(worker, turns)
    seconds = [statistics.median(times) for times in found.values()]
    line, errors = ranks_model.fit(list(found), seconds)
    # Of two ranks, the model has two messages in turn, and all bytes once in each direction.
    here = Network("this machine", line.fixed / 2, 1 / line.each)
    kept = {"bytes": list(found), "seconds": seconds, "line": dataclasses.asdict(line), "errors": errors}
    return kept, here


def _times_of_sums(worker: Worker, turns: int) -> dict[int, list[float]]:
    """Sizes take turns as contenders do."""
    times: dict[int, list[float]] = {size: [] for size in SIZES}
    for turn in range(turns):
        for size in random.Random(turn).sample(SIZES, len(SIZES)):
            repeats = min(300, max(5, (32 << 20) // size))
            times[size].append(worker.ask("total", count=size, repeats=repeats)["seconds"])
    return times


def _compute(name: str, turns: int) -> dict[str, Any]:
    """Seconds of a step on one core by rows of the batch, and the line through them."""
    workload, sizes = COMPUTED[name]
    times: dict[int, list[float]] = {size: [] for size in sizes}
    with closing(start(name, workload)) as worker:
        for turn in range(turns + 1):
            for size in random.Random(turn).sample(sizes, len(sizes)):
                seconds = worker.ask("train", turn=turn, batch_size=size)["seconds"]
                if turn:
                    times[size].append(seconds * size / workload.rows)
    medians = [statistics.median(values) for values in times.values()]
    line, errors = ranks_model.fit(list(sizes), medians)
    return {"rows": list(sizes), "seconds": medians, "line": dataclasses.asdict(line), "errors": errors}


def gradient_bytes(workload: Workload) -> int:
    """Of the message of a step: all parameters, and the loss."""
    pairs = zip(workload.sizes, workload.sizes[1:], strict=False)
    return 4 * (1 + sum(rows * columns + columns for rows, columns in pairs))


def _predict(lines: dict[str, Line]) -> dict[str, Any]:
    kept: dict[str, Any] = {"networks": [dataclasses.asdict(network) for network in ranks_model.NETWORKS]}
    _print("Networks of the model", ranks_report.networks())
    for name, line in lines.items():
        workload = COMPUTED[name][0]
        systems, count = ranks_model.systems(workload, line), gradient_bytes(workload)
        for is_weak in (False, True):
            title, table, rows = ranks_report.prediction(name, systems, count, is_weak)
            _print(title, table)
            kept[title] = rows
        title, table, rows = ranks_report.knees(name, systems, count)
        _print(title, table)
        kept[title] = rows
    return kept


def _check(workload: Workload, line: Line, here: Network, turns: int) -> dict[str, Any]:
    """Seconds of a step on 1, 2, 4 and 8 ranks here, how many times as fast as 1 they are, and what the model says."""
    result = _said(train_in_turns(workload, list(HERE), turns, "1 rank", _start_by_name))
    system, count, rows = System("this machine", line, here), gradient_bytes(workload), []
    for name, ranks in HERE.items():
        if not {name, "1 rank"} <= result.seconds.keys():
            continue
        measured = statistics.median(result.seconds[name]) * workload.batch_size / workload.rows
        compute, message = ranks_model.oversubscribed(system, cores(), ranks, workload.batch_size, count)
        alone = _sum_alone(workload, ranks, count) if ranks > 1 else 0.0
        rows.append(
            {
                "ranks": ranks,
                "compute": compute,
                "message": message,
                "message alone": alone,
                "measured": measured,
                "times as fast": result.ratios(name),
            }
        )
    return {"workload": workload.name, "cores": cores(), "steps": rows, "result": result}


def _sum_alone(workload: Workload, ranks: int, count: int) -> float:
    with closing(start(f"{ranks} ranks", dataclasses.replace(workload, rows=128), ranks=ranks)) as worker:
        return float(worker.ask("total", count=count, repeats=30)["seconds"])
