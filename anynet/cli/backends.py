"""anynet backends"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from anynet.backends import BACKENDS, auto, select
from anynet.backends.numpy.blas import advice
from anynet.cli.json_output import as_json
from anynet.cli.options import add_json
from anynet.errors import BackendError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "List each backend with its library's version and devices, or why it cannot be used and what to install."
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    rows = [_describe(name) for name in BACKENDS]
    chosen, reason = auto()
    if arguments.json:
        print(as_json({"backends": rows, "auto": chosen, "reason": reason, "advice": advice()}))
        return 0
    for row in rows:
        if row["usable"]:
            print(f"{row['name']:8s} usable   {row['version']:12s} devices: {', '.join(row['devices'])}")
        else:
            print(f"{row['name']:8s} missing  {row['reason']}")
    print(f"\nauto is {chosen}: {reason}")
    if advice():
        print(f"\n{advice()}")
    return 0


def say_backend(name: str) -> str:
    """Print the backend on stderr, and return its name; `auto` becomes the chosen one, printed with the reason."""
    reason = ""
    if name == "auto":
        name, why = auto()
        reason = f" (auto: {why})"
    backend = select(name)
    print(f"backend {name}: {backend.package} {backend.library_version()} on {backend.device}{reason}", file=sys.stderr)
    return name


def _describe(name: str) -> dict[str, Any]:
    try:
        backend = select(name)
    except BackendError as error:
        return {"name": name, "usable": False, "reason": str(error)}
    return {"name": name, "usable": True, "version": backend.library_version(), "devices": backend.devices()}


def usable() -> list[str]:
    """The names of all backends that can be used here, NumPy first."""
    return [name for name in BACKENDS if _describe(name)["usable"]]
