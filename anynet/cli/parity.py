"""anynet parity"""

from __future__ import annotations

import argparse

from anynet.backends import select
from anynet.checks.parity import TOLERANCES, Difference, parity
from anynet.cli.backends import usable
from anynet.cli.json_output import as_json
from anynet.cli.options import add_json
from anynet.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "For each layer, loss and optimizer, the largest difference of output, gradient and update from the first "
        "backend named, and of a whole training curve, in float64 and float32."
    )
    parser.add_argument("--backends", metavar="A,B,...", help="default: numpy and every other that can be used here")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    names = arguments.backends.split(",") if arguments.backends else usable()
    if len(names) < 2:
        raise UsageError(f"parity compares two backends or more, but got {', '.join(names)}")
    for name in names:
        select(name)
    rows = list(parity(names))
    agree = all(row.agrees for row in rows)
    if arguments.json:
        print(as_json({"reference": names[0], "agree": agree, "differences": [row._asdict() for row in rows]}))
    else:
        _print_table(names, rows)
        print(_verdict(names[0], [row for row in rows if not row.agrees]))
    return 0 if agree else 1


def _print_table(names: list[str], rows: list[Difference]) -> None:
    print(f"Largest difference from {names[0]}, as a share of the largest number (at least 1)\n")
    columns = [(dtype, name) for dtype in TOLERANCES for name in names[1:]]
    print(f"{'':28s}" + "".join(f"{dtype:>12s}" for dtype, _ in columns))
    print(f"{'':28s}" + "".join(f"{name:>12s}" for _, name in columns))
    found = {(row.subject, row.quantity, row.dtype, row.backend): row for row in rows}
    for subject, quantity in dict.fromkeys((row.subject, row.quantity) for row in rows):
        cells = [found[subject, quantity, dtype, name] for dtype, name in columns]
        marks = "".join(f"{cell.difference:11.1e}{' ' if cell.agrees else '!'}" for cell in cells)
        print(f"{subject + ' ' + quantity:28s}{marks}")
    for dtype, (single, curve) in TOLERANCES.items():
        print(f"\ntolerance in {dtype}: {single:g}, of a training curve {curve:g}", end="")
    print()


def _verdict(reference: str, wrong: list[Difference]) -> str:
    if not wrong:
        return f"\nAll agree with {reference}."
    worst = max(wrong, key=lambda row: row.difference)
    return (
        f"\n{len(wrong)} differ by more than the tolerance, the most {worst.subject} {worst.quantity} in {worst.dtype} "
        f"on {worst.backend}: {worst.difference:.1e} where {worst.tolerance:g} is allowed."
    )
