"""Attacks on what surrounds the maths: files, threads, kills, memory. Ends with one table; exit code 1 if anything was
lost, ended with an error that is not anynet's own, or took too much memory or time.

signed      models and checkpoints of other content, with a right checksum: refused, or read and then used
damaged     damaged bytes of models, checkpoints, NPZ, NPY, CSV, TOML and IDX files: the same
claims      small files that claim to hold much: refused, or of use, in less than 300 MiB and 2 s of a processor
threads     ten threads read, save and pickle a model while it trains, on each backend
overwrites  runs that are killed while they replace another, or that two processes replace at once
kills       training that is killed and interrupted, and resumed to the bytes of one that was not
ranks       one of two ranks is killed or interrupted: the job ends, and is resumed on 1, 2 or 4
memory      many steps, and many models, leave no memory in use
cost        what checkpoints, and looking for what is not finite, add to training
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import claims
import cost
import kills
import kinds
import memory
import mutations
import overwrites
import ranks
import report
import threads

Part = Callable[[argparse.Namespace, Path], list[report.Outcome]]


def main() -> int:
    options = _options()
    outcomes = []
    for part in options.parts:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            ended = PARTS[part](options, Path(folder))
        for outcome in ended:
            report.show_lost(outcome)
        outcomes += ended
    print(report.table(outcomes))
    return int(any(outcome.lost for outcome in outcomes))


def _files(
    part: str, make: Callable[[Path], list[kinds.Kind]], times: int | None, options: argparse.Namespace, root: Path
) -> list[report.Outcome]:
    made = make(root)
    if options.case is not None:
        return [mutations.show(part, made, root, options.case, options.seed, Path.cwd())]
    return [mutations.attack(part, made, root, len(made) if times is None else times, options.seed, options.seconds)]


PARTS: dict[str, Part] = {
    "signed": lambda o, root: _files("signed", kinds.signed_kinds, o.mutations, o, root),
    "damaged": lambda o, root: _files("damaged", kinds.damaged_kinds, o.damages, o, root),
    "claims": lambda o, root: _files("claims", claims.claiming_kinds, None, o, root),
    "threads": lambda o, root: [threads.attack(name, o.threads_fits, root / name, o.seconds) for name in o.backends],
    "overwrites": lambda o, root: [overwrites.attack(root, o.overwrites, o.seed, o.seconds)],
    "kills": lambda o, root: [kills.attack(root, o.kills, o.interrupts, o.seed, o.seconds)],
    "ranks": lambda o, root: [ranks.attack(root, o.rank_kills, o.seed, o.seconds)],
    "memory": lambda o, root: memory.attack(
        o.steps, o.models, [name for name in o.backends if name in ("numpy", "torch")]
    ),
    "cost": lambda o, root: [cost.measure(root, o.turns)],
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="ci/stress", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = "(default %(default)s)"
    parser.add_argument(
        "--parts", type=_names, default=list(PARTS), metavar="A,B,...", help="some of these (default all)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help=f"of what is drawn at random {default}")
    parser.add_argument(
        "--seconds", type=float, default=1800, metavar="S", help=f"at most so long for each part and backend {default}"
    )
    parser.add_argument(
        "--case",
        type=int,
        metavar="N",
        help="one file of signed, damaged or claims, with its traceback; keeps the file",
    )
    parser.add_argument(
        "--backends",
        type=_words,
        default=["numpy", "torch", "jax", "strict"],
        metavar="A,B,...",
        help="of threads and, but for jax and strict, memory (default numpy,torch,jax,strict)",
    )
    for name, number, what in (
        ("mutations", 50_000, "files of signed"),
        ("damages", 20_000, "files of damaged"),
        ("threads-fits", 1000, "fits of threads, on each backend"),
        ("overwrites", 500, "SIGKILLs of overwrites"),
        ("kills", 300, "SIGKILLs of kills"),
        ("interrupts", 100, "SIGINTs of kills"),
        ("rank-kills", 100, "signals of ranks"),
        ("steps", 10_000, "steps of memory"),
        ("models", 500, "models of memory"),
        ("turns", 9, "turns of cost"),
    ):
        parser.add_argument(f"--{name}", type=int, default=number, metavar="N", help=f"{what} {default}")
    return parser.parse_args()


def _words(text: str) -> list[str]:
    return text.split(",")


def _names(text: str) -> list[str]:
    names = _words(text)
    if unknown := [name for name in names if name not in PARTS]:
        raise argparse.ArgumentTypeError(f"there is no {unknown[0]}; there are {','.join(PARTS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
