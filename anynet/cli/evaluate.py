"""anynet evaluate"""

from __future__ import annotations

import argparse
import math

from anynet.cli.backends import say_backend
from anynet.cli.config import DATA_HELP
from anynet.cli.data import data_like
from anynet.cli.json_output import as_json
from anynet.cli.launcher import communicator, own_device
from anynet.cli.options import add_json, add_options, add_run
from anynet.cli.run_folder import find_model
from anynet.cli.task import measure, task_in
from anynet.errors import DataError
from anynet.model import Model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Print the loss, and the accuracy or R squared, of a trained network on data, or on their test part if they "
        "have one."
    )
    add_run(parser)
    parser.add_argument("data", metavar="DATA", help=DATA_HELP)
    parser.add_argument("--target", metavar="COLUMN", help="of a CSV file (default: the column it was trained on)")
    add_options(parser, "max_bytes", "backend")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    backend = own_device(say_backend(arguments.backend))
    model = Model.load(find_model(arguments.model), backend=backend, comm=communicator())
    task = task_in(model)
    is_table = arguments.data.endswith(".csv")
    target = arguments.target or (task.target if is_table else None)
    known = {"features": task.features, "classes": task.classes} if is_table else {"classes": task.classes}
    data = data_like(model, arguments.data, target, max_bytes=arguments.max_bytes, **known)
    x, y = (data.x, data.y) if data.y_test is None else (data.x_test, data.y_test)
    if y is None:
        raise DataError(f"{arguments.data} has no targets to compare with")
    result = measure(model, task, x, y)
    if bad := [name for name, value in result.items() if not math.isfinite(value)]:
        raise DataError(f"the {bad[0]} is {result[bad[0]]}: the model's outputs for {arguments.data} are too large")
    if arguments.json:
        print(as_json({"samples": len(x), **result}))
    else:
        print(f"samples: {len(x)}{'' if data.y_test is None else ' (the test part)'}")
        for name, value in result.items():
            print(f"{name.replace('_', ' ')}: {value:.4f}")
    return 0
