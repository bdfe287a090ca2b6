"""Files and folders written whole or not at all, under names that nobody can guess, and never through a link."""

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

# A file that was being written so long ago is what a killed process left behind.
LEFT_BEHIND_SECONDS = 3600.0
_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.part$")
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_RENAME_SWAP = 2


def write_atomically(path: Path, data: bytes) -> None:
    """The whole new file, on the disk, or what was there before; an error leaves nothing behind.

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
    # The new name outlives a power cut once its folder is written; not every system can do that.
    with suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def sweep(folder: Path, prefix: str, older_than: float = 0.0) -> None:
    """Clear away what killed processes left half written in a folder, of files whose names begin so."""
    for name in os.listdir(folder):
        if name.startswith(prefix) and _TEMPORARY.search(name):
            # Another may be sweeping, too.
            with suppress(FileNotFoundError):
                if time.time() - os.lstat(folder / name).st_mtime >= older_than:
                    os.unlink(folder / name)


def append(path: Path, text: str) -> None:
    """Add a text to a file that is there, and no link.

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
    """Turn whatever the disk refuses into an error that names what was to be written.

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
    """The time in which nobody else has locked a folder; the system ends it when a process is killed.

    Raises
    ------
    BlockingIOError
        When somebody else has.
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
            # Children that were forked meanwhile hold the file, too.
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
    """Let two folders beside each other change names, at once where the system can.

    Elsewhere `one` is missing for a moment; after a kill in that moment nothing has its name until `restore`, which
    leaves alone what is locked: whoever calls has locked `one`.
    """
    if not _exchanged_by_the_system(one, other):
        aside = _aside(one)
        os.rename(one, aside)
        os.rename(other, one)
        os.rename(aside, other)


def restore(path: Path) -> None:
    """Give a folder its name back where a process was killed in the middle of `exchange`."""
    path = Path(os.path.realpath(path))
    aside = _aside(path)
    if not aside.is_dir():
        return
    # It is locked where the exchange goes on, and gone where that has just ended.
    with suppress(BlockingIOError, WriteError), locked(aside):
        if path.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            os.rename(aside, path)


def _aside(path: Path) -> Path:
    return path.parent / f".{path.name}.old"


def _exchanged_by_the_system(one: Path, other: Path) -> bool:
    """Linux's renameat2 or macOS's renamex_np, which not every file system obeys."""
    if os.name != "posix":
        return False
    system = ctypes.CDLL(None)
    names = os.fsencode(one), os.fsencode(other)
    if hasattr(system, "renameat2"):
        return bool(system.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0)
    if hasattr(system, "renamex_np"):
        return bool(system.renamex_np(*names, _RENAME_SWAP) == 0)
    return False
