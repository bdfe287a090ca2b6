"""Tables of what was measured and predicted of ranks."""

from __future__ import annotations

import dataclasses
import math
import statistics
from typing import Any

from ranks_model import GPU_FLOPS, GPU_LAUNCH, NETWORKS, RANKS, REMEDIES, System, efficiency, knee, step_seconds
from turns import Result

# Of all ranks, and of each.
STRONG_BATCH, WEAK_BATCH = 4096, 128


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def speed(results: list[Result]) -> str:
    """Rates, and ratios turn by turn beside the least that they should be."""
    head = [
        "",
        "1 thread",
        "2 threads",
        "2 ranks",
        "ranks / 2 threads",
        "target",
        "ranks / (2 x 1 thread)",
        "target",
    ]
    return table(head, [_speed_row(result) for result in results])


def _speed_row(result: Result) -> list[str]:
    def rate(name: str) -> str:
        return f"{result.rate(name) / 1000:,.0f}k/s" if name in result.seconds else "-"

    def ratio(reference: str, times: int) -> str:
        if not {"2 ranks", reference} <= result.seconds.keys():
            return "-"
        against = dataclasses.replace(result, reference=reference)
        low, middle, high = (value / times for value in against.ratios("2 ranks"))
        return f"{middle:.2f} ({low:.2f} to {high:.2f})"

    is_small = result.workload.endswith("batch 128")
    rates = [rate(name) for name in ("1 thread", "2 threads", "2 ranks")]
    targets = (">= 0.95", "-") if is_small else (">= 1.00", ">= 0.90")
    return [result.workload, *rates, ratio("2 threads", 1), targets[0], ratio("1 thread", 2), targets[1]]


def messages(found: dict[str, Any]) -> str:
    line = found["line"]
    rows = [
        [size_said(size), f"{seconds * 1e6:,.1f} us", f"{size / seconds / 1e6:,.0f} MB/s", f"{error:+.0%}"]
        for size, seconds, error in zip(found["bytes"], found["seconds"], found["errors"], strict=True)
    ]
    lines = table(["bytes", "time", "bytes / time", "line / time - 1"], rows)
    said = f"{line['fixed'] * 1e6:.1f} us + bytes / ({1 / line['each'] / 1e9:.2f} GB/s)"
    return f"{lines}\n\nthe line: {said}; {errors_said(found['errors'])}"


def computed(found: dict[str, dict[str, Any]]) -> str:
    rows = []
    for name, one in found.items():
        line = one["line"]
        said = f"{line['fixed'] * 1e6:,.0f} us + {line['each'] * 1e6:.2f} us a row"
        times = ", ".join(
            f"{size}: {time_said(seconds)} ({error:+.0%})"
            for size, seconds, error in zip(one["rows"], one["seconds"], one["errors"], strict=True)
        )
        rows.append([name, times, said, errors_said(one["errors"])])
    return table(["", "rows: time (line / time - 1)", "line", "errors"], rows)


def networks() -> str:
    rows = [[n.name, f"{n.latency * 1e6:g} us", f"{n.bandwidth / 1e9:g} GB/s", n.source] for n in NETWORKS]
    gpu = f"{GPU_LAUNCH * 1e6:.0f} us a step, and products at {GPU_FLOPS / 1e12:.0f} TFLOP/s"
    return f"{table(['', 'latency', 'bandwidth', 'from'], rows)}\n\nGPUs are assumed, not measured: {gpu}"


def prediction(name: str, systems: list[System], count: int, is_weak: bool) -> tuple[str, str, list[dict[str, Any]]]:
    """Title, table and numbers: the time of a step, and the efficiency, by ranks and system."""
    batch = WEAK_BATCH if is_weak else STRONG_BATCH
    how = f"weak scaling, {batch} rows a rank" if is_weak else f"strong scaling, {batch} rows in all"
    rows, kept = [], []
    for ranks in (1, *RANKS):
        part = batch if is_weak else batch / ranks
        times = [step_seconds(system, ranks, part, count) for system in systems]
        shares = [efficiency(system, ranks, batch, count, is_weak) for system in systems]
        rows.append([str(ranks), *(f"{time_said(t)}, {e:.2f}" for t, e in zip(times, shares, strict=True))])
        names = [system.name for system in systems]
        kept.append(
            {
                "ranks": ranks,
                "seconds": dict(zip(names, times, strict=True)),
                "efficiency": dict(zip(names, shares, strict=True)),
            }
        )
    title = f"{name}, {how}, {size_said(count)} a message: time of a step, and efficiency"
    return title, table(["ranks", *(system.name for system in systems)], rows), kept


def knees(name: str, systems: list[System], count: int) -> tuple[str, str, list[dict[str, Any]]]:
    """Title, table and numbers: where efficiency falls below one half, with each remedy."""
    rows, kept = [], []
    for is_weak, batch in ((False, STRONG_BATCH), (True, WEAK_BATCH)):
        for system in systems:
            found = {remedy.name: knee(system, batch, count, is_weak, remedy) for remedy in REMEDIES}
            kind = "weak" if is_weak else "strong"
            rows.append([f"{kind}, {system.name}", *(str(ranks or "none") for ranks in found.values())])
            kept.append({"scaling": kind, "system": system.name, **found})
    title = f"{name}: the fewest ranks, up to {RANKS[-1]}, with an efficiency below one half"
    return title, table(["", *(remedy.name for remedy in REMEDIES)], rows), kept


def checks(found: list[dict[str, Any]]) -> str:
    """Predicted and measured times of a step, and how many times as fast as one rank."""
    head = ["", "ranks", "compute", "+ all-reduce", "= predicted", "measured", "difference", "all-reduce alone"]
    rows = []
    for check in found:
        one = check["steps"][0]["compute"] if check["steps"] else 0.0
        rows += [[check["workload"], *_check_row(step, one)] for step in check["steps"]]
    return table([*head, "1 rank / predicted", "1 rank / measured, in turns"], rows)


def _check_row(step: dict[str, Any], one: float) -> list[str]:
    predicted, measured = step["compute"] + step["message"], step["measured"]
    low, middle, high = step["times as fast"]
    return [
        str(step["ranks"]),
        *(time_said(seconds) for seconds in (step["compute"], step["message"], predicted, measured)),
        f"{measured / predicted - 1:+.0%}",
        time_said(step["message alone"]),
        f"{one / predicted:.2f}",
        f"{middle:.2f} ({low:.2f} to {high:.2f})",
    ]


def errors_said(errors: list[float]) -> str:
    root = math.sqrt(statistics.fmean(error * error for error in errors))
    return f"relative error {root:.0%} (root mean square), {max(map(abs, errors)):.0%} at most"


def time_said(seconds: float) -> str:
    if seconds >= 1e-2:
        return f"{seconds * 1e3:,.0f} ms"
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} us"


def size_said(count: int) -> str:
    for size, unit in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"
