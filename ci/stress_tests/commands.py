"""Commands of anynet in forked processes, which can be told to signal themselves just before they change a file."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from report import without_numbers

from anynet import cli

_CHANGES = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "shutil.rmtree")


class Process(NamedTuple):
    pid: int
    said: Path


def begin(arguments: list[str], on_change: Callable[[str], None] | None = None) -> Process:
    """A command in a forked process, all its modules imported; `on_change` hears of each file it is about to change."""
    said = Path(arguments[arguments.index("--out") + 1]).parent.parent / f"said-{os.getpid()}-{time.monotonic_ns()}"
    said.parent.mkdir(parents=True, exist_ok=True)
    pid = os.fork()
    if pid:
        return Process(pid, said)
    code = 1
    try:
        with open(said, "w", buffering=1) as err, redirect_stderr(err), redirect_stdout(StringIO()):
            folder = str(Path(arguments[arguments.index("--out") + 1]).parent)
            if on_change:
                sys.addaudithook(partial(_heard, folder, on_change))
            try:
                code = cli.main(arguments)
            except BaseException:
                traceback.print_exc(file=err)
    finally:
        os._exit(code)


def _heard(folder: str, on_change: Callable[[str], None], event: str, arguments: tuple[Any, ...]) -> None:
    if event in _CHANGES and not (event == "open" and _only_reads(arguments)):
        paths = [os.fspath(path) for path in arguments[:2] if isinstance(path, (str, os.PathLike))]
        if any(path.startswith(folder) for path in paths):
            on_change(" ".join(paths))


def _only_reads(arguments: tuple[Any, ...]) -> bool:
    flags = arguments[2] if len(arguments) > 2 else 0
    return not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)


def wait(process: Process) -> tuple[int, str]:
    _, status = os.waitpid(process.pid, 0)
    said = process.said.read_text() if process.said.exists() else ""
    process.said.unlink(missing_ok=True)
    return os.waitstatus_to_exitcode(status), said


def is_refusal(said: str) -> bool:
    return "Traceback" not in said and said.splitlines()[-1].startswith("anynet train: ")


def last_line(said: str) -> str:
    return without_numbers(said.strip().rpartition("\n")[2])


def signal_self(which: signal.Signals, text: str, number: int, after: int = 0) -> Callable[[str], None]:
    """What signals its own process at the so-manyth change of a path with `text`, or so many changes after."""
    matches, later = 0, 0

    def count(path: str) -> None:
        nonlocal matches, later
        later += matches == number
        matches += matches < number and text in path
        if matches == number and later == after:
            later += 1
            os.kill(os.getpid(), which)

    return count


def killed_at(arguments: list[str], text: str, number: int) -> None:
    """Run a command, killed just before it changes a file whose path holds `text` for the so-manyth time."""
    code, _ = wait(begin(arguments, signal_self(signal.SIGKILL, text, number)))
    if code != -signal.SIGKILL:
        raise AssertionError(f"anynet {' '.join(arguments)} was not killed, but ended with {code}")
