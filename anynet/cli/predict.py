"""anynet predict"""

from __future__ import annotations

import argparse
import csv
import sys
from typing import Any

from anynet.cli.backends import say_backend
from anynet.cli.data import data_like
from anynet.cli.json_output import as_json
from anynet.cli.launcher import communicator, own_device
from anynet.cli.options import add_json, add_options, add_run
from anynet.cli.run_folder import find_model
from anynet.cli.task import Task, task_in
from anynet.model import Model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Print one line of CSV for each sample: the class and its probability, or the predicted values."
    )
    add_run(parser)
    parser.add_argument("data", metavar="FILE", help="as DATA of `anynet train`; targets in it are left aside")
    add_options(parser, "max_bytes", "backend")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    backend = own_device(say_backend(arguments.backend))
    model = Model.load(find_model(arguments.model), backend=backend, comm=communicator())
    task = task_in(model)
    features = task.features if arguments.data.endswith(".csv") else None
    data = data_like(model, arguments.data, features=features, max_bytes=arguments.max_bytes)
    header, rows = _predictions(model, task, data.x if data.x_test is None else data.x_test)
    if arguments.json:
        print(as_json([dict(zip(header, row, strict=True)) for row in rows]))
    else:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    return 0


def _predictions(model: Model, task: Task, x: Any) -> tuple[list[str], list[list[Any]]]:
    if not task.classes:
        values = task.decode(model.predict(x))
        several = values.shape[1] > 1
        names = [f"output_{i}" for i in range(values.shape[1])] if several else [task.target or "prediction"]
        return names, values.tolist()
    probabilities = model.probabilities(x)
    likeliest = probabilities.argmax(axis=1)
    rows = zip(likeliest, probabilities, strict=True)
    return ["class", "probability"], [[task.classes[i], round(float(row[i]), 6)] for i, row in rows]
