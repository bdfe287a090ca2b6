"""anynet gradcheck"""

from __future__ import annotations

import argparse
import dataclasses

from anynet.checks import cases
from anynet.checks.gradient_check import GradientCheck, gradcheck
from anynet.cli.backends import say_backend
from anynet.cli.json_output import as_json
from anynet.cli.options import add_json, add_options

TOLERANCE = 1e-7


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Compare the gradients of every layer and loss with central differences in float64."
    add_options(parser, "backend")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    backend = say_backend(arguments.backend)
    checks: dict[str, GradientCheck] = {}
    for name, subject, shape in (*cases.LAYERS, *cases.WITH_NAMED_INPUTS, *cases.LOSSES):
        checks[name] = gradcheck(subject, shape, backend=backend)
        if not arguments.json:
            mark = "" if checks[name].error <= TOLERANCE else "  WRONG"
            print(f"{name:20s} {checks[name]}{mark}")
    right = all(check.error <= TOLERANCE for check in checks.values())
    if arguments.json:
        print(as_json({"right": right, "checks": {name: dataclasses.asdict(c) for name, c in checks.items()}}))
    else:
        verdict = "All gradients are right" if right else "Some gradients are wrong"
        print(f"\n{verdict}: an error of at most {TOLERANCE:g} is allowed.")
    return 0 if right else 1
