"""The command line: ``anynet COMMAND``, each command in a module of its name."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from anynet import __version__
from anynet.cli.interrupts import repeated_interrupts
from anynet.cli.launcher import run_job, started
from anynet.errors import AnynetError, DataError, UsageError, did_you_mean, unknown

FAILURE = 1
USAGE_ERROR = 2
DATA_ERROR = 3
INTERRUPTED = 130
# The exit code of an error is that of the first class here of which the error is an instance.
_EXIT_CODES: dict[type[BaseException], int] = {
    UsageError: USAGE_ERROR,
    DataError: DATA_ERROR,
    AnynetError: FAILURE,
    OSError: FAILURE,
    MemoryError: FAILURE,
    KeyboardInterrupt: INTERRUPTED,
}
EXIT_CODES_HELP = (
    "Exit codes: 0 done, 1 failed (diverged, could not write, or a check did not hold), 2 wrong usage, 3 wrong data, "
    "130 interrupted."
)

# Each command is a module of this name, whose `add_arguments` defines its options, and whose `run` runs it.
COMMANDS = {
    "train": "train a network on data, and keep it in a run folder",
    "evaluate": "measure a trained network on data",
    "predict": "print what a trained network says of data",
    "backends": "list which backends can be used here, or why not",
    "bench": "find out which backend trains a network fastest here",
    "parity": "check that backends agree with each other",
    "gradcheck": "check every gradient against numerical differences",
}
ON_MANY_RANKS = ("train", "evaluate", "predict")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; each error and each warning is one line on stderr."""
    _open_what_is_closed()
    with repeated_interrupts():
        return run_job(lambda: _run(sys.argv[1:] if arguments is None else arguments))


def _run(arguments: Sequence[str]) -> int:
    parsed, command = _parse(arguments)
    try:
        if started() > 1 and parsed.command not in ON_MANY_RANKS:
            raise UsageError(f"{parsed.command} is for one process, but {started()} were started: leave mpirun out")
        with warnings.catch_warnings():
            warnings.showwarning = lambda text, *_, **__: _say(parsed.command, f"warning: {text}")
            code = int(command.run(parsed))
            sys.stdout.flush()
            return code
    except tuple(_EXIT_CODES) as error:
        # A broken pipe means that nobody reads the output any more, so no error is printed.
        if not isinstance(error, BrokenPipeError):
            _say(parsed.command, _in_words(error))
        _give_up_what_is_unwritten()
        return next(code for kind, code in _EXIT_CODES.items() if isinstance(error, kind))


def _open_what_is_closed() -> None:
    """Open os.devnull for each closed standard stream, and escape characters that a terminal cannot show."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            # This takes the free file descriptor, so that no other file gets it.
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
        elif isinstance(stream, io.TextIOWrapper) and mode == "w":
            stream.reconfigure(errors="backslashreplace")


def _give_up_what_is_unwritten() -> None:
    """If stdout cannot be written any more, keep Python from trying again at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(command: str, what: str) -> None:
    print(f"anynet {command}: {' '.join(what.split())}", file=sys.stderr)


def _in_words(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return f"there is not enough memory: {error}"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, OSError) and not isinstance(error, AnynetError):
        return ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
    return str(error)


class _Parser(argparse.ArgumentParser):
    """Prints an error as one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE_ERROR, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, Any]:
    """The parsed arguments, and the module of the command."""
    parser = _Parser(
        prog="anynet",
        description="Train neural networks on NumPy, CuPy, PyTorch or JAX with one implementation of the maths.",
        epilog=f"Start with `anynet train mnist`. `anynet COMMAND --help` explains each command. {EXIT_CODES_HELP}",
    )
    parser.add_argument("--version", action="version", version=f"anynet {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parsers = {name: commands.add_parser(name, help=help, epilog=EXIT_CODES_HELP) for name, help in COMMANDS.items()}
    name = next((argument for argument in arguments if not argument.startswith("-")), None)
    if name is None:
        # argparse exits here, after help or an error.
        return parser.parse_args(arguments), None
    if name not in COMMANDS:
        parser.error(unknown("command", name, COMMANDS))
    module = importlib.import_module(f"anynet.cli.{name.replace('-', '_')}")
    module.add_arguments(parsers[name])
    parsed, left = parser.parse_known_args(arguments)
    if left:
        _refuse(left[0], parsers[name])
    return parsed, module


def _refuse(left: str, command: argparse.ArgumentParser) -> NoReturn:
    name = left.partition("=")[0]
    if not name.startswith("-"):
        command.error(f"one argument too many: {name!r}")
    options = [option for action in command._actions for option in action.option_strings]
    command.error(f"unknown option {name!r}{did_you_mean(name, options)}")
