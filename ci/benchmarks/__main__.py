"""Every workload against every contender that is present, in turns; a table on stdout, and JSON.

In the table a number is how many times as fast as anynet-numpy a contender is: the median, and quartiles, of the
ratios turn by turn. Peers are given float32 data, prepared where they are used, outside the time that is measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

import estimators
import ranks
import report
import scaling
from contenders import CONTENDERS
from from_disk import from_disk_against_memory
from startup import startup_milliseconds
from turns import FLOOR, OTHER_TRAINING, OURS, Result, peak_memory, predict_in_turns, train_in_turns, until_accurate
from workloads import OTHER_NETWORKS, TO_98_PERCENT, TRAINING

PARTS = (
    "training",
    "networks",
    "prediction",
    "accuracy",
    "memory",
    "startup",
    "disk",
    "scaling",
    "estimators",
    "ranks",
)
# The others are written for dense networks.
OF_ANY_NETWORK = ("anynet-numpy", "anynet-jax", "anynet-torch", "PyTorch eager")


def main() -> int:
    arguments = _arguments()
    names = [name for name in CONTENDERS if name == OURS or name in arguments.contenders]
    networks = [name for name in names if name != FLOOR]
    found: dict[str, object] = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": report.machine(),
        "turns": arguments.turns,
    }
    everything: list[Result] = []
    if "training" in arguments.parts:
        chosen = [workload for workload in TRAINING if arguments.workloads in workload.name]
        results = [_said(train_in_turns(workload, names, arguments.turns)) for workload in chosen]
        everything += results
        _show(found, "training", results, names)
    if "networks" in arguments.parts:
        chosen = [workload for workload in OTHER_NETWORKS if arguments.workloads in workload.name]
        some = [name for name in names if name in OF_ANY_NETWORK]
        results = [_said(train_in_turns(workload, some, arguments.turns)) for workload in chosen]
        everything += results
        _show(found, "networks", results, some)
    if "prediction" in arguments.parts:
        results = [
            _said(predict_in_turns(TRAINING[1], names, rows, repeats, arguments.turns))
            for rows, repeats in ((10_000, 5), (1, 300))
        ]
        everything += results
        _show(found, "prediction", results, names)
    if "accuracy" in arguments.parts:
        results = [_said(until_accurate(TO_98_PERCENT, networks, 0.98, min(arguments.turns, 3)))]
        _show(found, "seconds to 98 % on test images, from the start of the process", results, names)
    if "memory" in arguments.parts:
        found["peak MiB of training on the digits once"] = _listed(peak_memory(TRAINING[1], networks), "MiB")
    if "startup" in arguments.parts:
        found["startup in milliseconds"] = _listed(startup_milliseconds(), "ms")
    if "disk" in arguments.parts:
        found["from disk"] = disk = from_disk_against_memory(min(arguments.turns, 5))
        print(f"\nfrom disk, {disk['allowed_mib']} MiB allowed: {disk['ratio']:.2f} of the rate in memory")
    if "scaling" in arguments.parts:
        found["scaling"] = measured = scaling.measure(min(arguments.turns, 5))
        scaling.draw(measured, arguments.out.with_suffix(".svg"))
    if "estimators" in arguments.parts:
        found["estimators"] = rows = estimators.against_scikit_learn(min(arguments.turns, 3))
        print(f"\nestimators, with default settings\n\n{estimators.table(rows)}")
    if "ranks" in arguments.parts:
        found["ranks"], results = ranks.measure(arguments.turns, arguments.workloads)
        everything += results
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"\nkept in {arguments.out}")
    return int(any(OTHER_TRAINING in reason for result in everything for reason in result.absent.values()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="ci/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=9, help="turns of each contender (default %(default)s)")
    parser.add_argument("--parts", type=_names(PARTS), default=PARTS, help=f"of {','.join(PARTS)} (default all)")
    parser.add_argument("--contenders", type=_names(CONTENDERS), default=tuple(CONTENDERS), help="(default all)")
    parser.add_argument(
        "--workloads", default="", metavar="TEXT", help="those whose name holds this text (default all)"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/bench.json"), help="(default %(default)s)")
    return parser.parse_args()


def _names(known: object) -> object:
    def parse(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return names

    return parse


def _said(result: Result) -> Result:
    for name, reason in result.absent.items():
        print(f"{result.workload}: without {name}: {reason}", file=sys.stderr)
    print(f"{result.workload}: done", file=sys.stderr)
    return result


def _show(found: dict[str, object], part: str, results: list[Result], names: list[str]) -> None:
    print(f"\n{part}\n\n{report.table(results, names)}", flush=True)
    found[part] = [dataclasses.asdict(result) for result in results]


def _listed(values: dict[str, float], unit: str) -> dict[str, float]:
    print()
    for name, value in values.items():
        print(f"{name:40s} {value:7.0f} {unit}")
    return values


if __name__ == "__main__":
    sys.exit(main())
