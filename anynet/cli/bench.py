"""anynet bench"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from typing import Any

from anynet.backends import select
from anynet.cli.backends import usable
from anynet.cli.config import TrainConfig, resolve
from anynet.cli.data import data_of
from anynet.cli.json_output import as_json
from anynet.cli.network import network_for
from anynet.cli.options import NETWORK, add_data, add_json, add_options
from anynet.cli.task import task_of
from anynet.errors import AnynetError, UsageError
from anynet.model import Model
from anynet.nn import SGD

MOST_ROWS = 20_000
FEWEST_TURNS = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Train a network on each backend that can be used here, in turns, and say which is fastest on this machine for "
        "this network and these data."
    )
    parser.argument_default = argparse.SUPPRESS
    add_data(parser)
    add_options(parser, *NETWORK)
    parser.add_argument("--backends", metavar="A,B,...", default="", help="default: all that can be used here")
    parser.add_argument("--seconds", metavar="S", type=float, default=10.0, help="how long about (default %(default)s)")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    config = resolve({"data": "mnist", **vars(arguments)})
    if not 0 < arguments.seconds < math.inf:
        raise UsageError(f"seconds must be above 0 and finite, but is {arguments.seconds:g}")
    # array-api-strict checks what is computed; nobody trains with it.
    names = arguments.backends.split(",") if arguments.backends else [name for name in usable() if name != "strict"]
    models, x, y = _models(config, names)
    rates = _rates(models, x, y, config.batch_size, arguments.seconds)
    fastest = max(rates, key=lambda name: statistics.median(rates[name]))
    if arguments.json:
        print(as_json({"samples_per_second": rates, "fastest": fastest}))
    else:
        print(_table(rates, fastest))
    return 0


def _models(config: TrainConfig, names: list[str]) -> tuple[dict[str, Model], Any, Any]:
    backends = {name: select(name, config.dtype) for name in names}
    data = data_of(config)
    task = task_of(data, config.target, config.max_classes)
    network = network_for(data.x, task, config)
    # Training with so small a learning rate cannot diverge, and a step takes the same time with any rate.
    models = {name: Model(network, task.loss, SGD(1e-6, momentum=0.9), backend=b) for name, b in backends.items()}
    return models, data.x[:MOST_ROWS], task.encode(data.y[:MOST_ROWS])


def _rates(models: dict[str, Model], x: Any, y: Any, batch_size: int, seconds: float) -> dict[str, list[float]]:
    """Samples per second of each model. Models take turns for about `seconds`, after a first turn for compilation."""
    rates: dict[str, list[float]] = {name: [] for name in models}
    for name, model in models.items():
        print(f"making ready: {name}", file=sys.stderr)
        model.fit(x, y, batch_size=batch_size)
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(next(iter(rates.values()))) < FEWEST_TURNS:
        for name, model in models.items():
            rates[name].append(model.fit(x, y, batch_size=batch_size)[0]["samples_per_second"])
            if rates[name][-1] == 0:
                raise AnynetError("the clock of this machine stands still, so there is no speed to measure")
    return rates


def _table(rates: dict[str, list[float]], fastest: str) -> str:
    lines = ["backend     samples/s   of the fastest, median (lowest to highest) of the turns"]
    for name, measured in sorted(rates.items(), key=lambda item: -statistics.median(item[1])):
        shares = [own / best for own, best in zip(measured, rates[fastest], strict=True)]
        spread = f"{statistics.median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})"
        lines.append(f"{name:10s}{statistics.median(measured):11,.0f}   {spread}")
    return "\n".join([*lines, f"\nfastest here: {fastest}; train with --backend {fastest}"])
