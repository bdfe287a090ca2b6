"""Atomic writing of files, which follows no links, exchange of folders, and locks on folders."""

from __future__ import annotations

import ctypes
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from anynet.errors import AnynetError, WriteError

# A temporary file older than this was left behind by a killed process.
LEFT_BEHIND_SECONDS = 3600.0
_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.part$")
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_RENAME_SWAP = 2


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file completely, through to the disk; after an error, the path is as it was before.

    Raises
    ------
    WriteError
    """
    with writing(path):
        prefix = f".{path.name[:200]}."
        sweep(path.parent, prefix, LEFT_BEHIND_SECONDS)
        temporary = path.with_name(f"{prefix}{secrets.token_hex(8)}.part")
        try:
            # Exclusive creation follows no link.
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    # Write the folder to the disk, too, so that the name survives a power cut; not every system can.
    with suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def sweep(folder: Path, prefix: str, older_than: float = 0.0) -> None:
    """Delete temporary files with this prefix, at least this many seconds old, that killed processes left."""
    for name in os.listdir(folder):
        if name.startswith(prefix) and _TEMPORARY.search(name):
            # Another process may delete it first.
            with suppress(FileNotFoundError):
                if time.time() - os.lstat(folder / name).st_mtime >= older_than:
                    os.unlink(folder / name)


def append(path: Path, text: str) -> None:
    """Append a text to a file, which must not be a link.

    Raises
    ------
    WriteError
    """
    with writing(path), open(path, "a", encoding="utf-8", opener=_without_links) as file:
        file.write(text)


def _without_links(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """A context that turns errors of the file system into a WriteError that names the path.

    Raises
    ------
    WriteError
    """
    try:
        yield
    except AnynetError:
        raise
    except (OSError, ValueError) as error:
        raise WriteError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """A context that holds the lock of a folder; the system releases it when the process is killed.

    Raises
    ------
    BlockingIOError
        When the folder is locked already.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with writing(folder):
        number = os.open(folder, os.O_RDONLY)
    try:
        _lock(number)
        try:
            yield
        finally:
            # Forked children have the file open, too, so closing it would not release the lock.
            with suppress(OSError):
                fcntl.flock(number, fcntl.LOCK_UN)
    finally:
        with suppress(OSError):
            os.close(number)


def _lock(number: int) -> None:
    import fcntl

    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        # Not every file system has locks.
        return


def exchange(one: Path, other: Path) -> None:
    """Exchange the names of two folders beside each other, atomically if the system can.

    If not, `one` is missing for a moment. After a kill in that moment, `restore` gives the name back. The caller must
    hold the lock of `one`, so that `restore` leaves a running exchange alone.
    """
    if not _exchanged_by_the_system(one, other):
        aside = _aside(one)
        os.rename(one, aside)
        os.rename(other, one)
        os.rename(aside, other)


def restore(path: Path) -> None:
    """Give a folder its name back if a process was killed in the middle of `exchange`."""
    path = Path(os.path.realpath(path))
    aside = _aside(path)
    if not aside.is_dir():
        return
    # The folder is locked while an exchange is running, and gone if the exchange has just ended.
    with suppress(BlockingIOError, WriteError), locked(aside):
        if path.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            os.rename(aside, path)


def _aside(path: Path) -> Path:
    return path.parent / f".{path.name}.old"


def _exchanged_by_the_system(one: Path, other: Path) -> bool:
    """Exchange by Linux's renameat2 or macOS's renamex_np; False if the system or file system cannot."""
    if os.name != "posix":
        return False
    system = ctypes.CDLL(None)
    names = os.fsencode(one), os.fsencode(other)
    if hasattr(system, "renameat2"):
        return bool(system.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0)
    if hasattr(system, "renamex_np"):
        return bool(system.renamex_np(*names, _RENAME_SWAP) == 0)
    return False
