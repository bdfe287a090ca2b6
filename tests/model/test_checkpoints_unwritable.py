"""Whatever fails while a checkpoint is written, one that can be read is there."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from model.interrupted import fit, new_model

from anynet.errors import UsageError, WriteError
from anynet.model import Checkpoints, atomic_files
from anynet.model.checkpoints import latest, read

FAULTS: dict[str, Callable[..., Any]] = {
    "open": lambda *_, **__: _raise(errno.EACCES),
    "os.fsync": lambda *_: _raise(errno.EIO),
    "os.replace": lambda *_: _raise(errno.EXDEV),
}


def _raise(number: int) -> None:
    raise OSError(number, os.strerror(number))


class FullDisk:
    """A file on a disk that is full after so many bytes, or that writes less than it is given."""

    def __init__(self, file: Any, room: int) -> None:
        self.file, self.room = file, room

    def write(self, data: bytes) -> int:
        self.file.write(data[: self.room])
        _raise(errno.ENOSPC)
        return 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


@pytest.mark.host
def test_whichever_call_to_the_disk_fails_a_checkpoint_can_still_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    fails_at = 0

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == fails_at:
                _raise(errno.ENOSPC)
            return function(*arguments, **options)

        return call

    class Counted(FullDisk):
        def write(self, data: bytes) -> int:
            return int(counted(self.file.write)(data))

        def flush(self) -> None:
            counted(self.file.flush)()

    causes = set()
    while fails_at == 0 or calls >= fails_at:
        fails_at, calls = fails_at + 1, 0
        folder = tmp_path / str(fails_at)
        fit(new_model(), epochs=1, checkpoints=Checkpoints(folder, every_seconds=0, keep=1))
        with monkeypatch.context() as patch:
            patch.setattr(atomic_files, "open", counted(lambda *a: Counted(open(*a), 0)), raising=False)  # noqa: SIM115
            for name in ("fsync", "replace", "unlink", "open", "close", "listdir"):
                patch.setattr(os, name, counted(getattr(os, name)))
            refused = f"{folder}: "
            try:
                fit(new_model(), checkpoints=Checkpoints(folder, every_seconds=0, keep=1))
            except WriteError as error:
                refused = str(error)
                causes.add(refused.rpartition(":")[2])
        assert str(folder) in refused
        read(latest(folder))
    assert fails_at > 20
    assert causes == {f" {os.strerror(errno.ENOSPC)}"}


def full_disk(*arguments: Any) -> FullDisk:
    return FullDisk(open(*arguments), 500)


@pytest.mark.parametrize("fault", [*FAULTS, "full disk"])
def test_whatever_fails_while_writing_the_checkpoint_before_is_still_there(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(new_model(), epochs=1, checkpoints=Checkpoints(tmp_path, every_seconds=0, keep=1))
    before = latest(tmp_path)
    with monkeypatch.context() as patch:
        if fault == "full disk":
            patch.setattr(atomic_files, "open", full_disk, raising=False)
        elif fault == "open":
            patch.setattr(atomic_files, "open", FAULTS[fault], raising=False)
        else:
            patch.setattr(fault, FAULTS[fault])
        with pytest.raises(WriteError, match=r"cannot write .*checkpoint-.*: [A-Z]"):
            fit(new_model(), checkpoints=Checkpoints(tmp_path, every_seconds=0, keep=1))
        loose = new_model()
        with pytest.warns(UserWarning, match="training goes on without a checkpoint: cannot write"):
            fit(loose, checkpoints=Checkpoints(tmp_path, every_seconds=0, keep=1, must_succeed=False))
        assert loose.epoch == 3
    assert latest(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == [before.name]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"cannot write .*file"):
        fit(new_model(), checkpoints=Checkpoints(tmp_path / "file" / "run"))
    with pytest.raises(UsageError, match="keep must be a whole number, 1 or more, but is 0"):
        Checkpoints(tmp_path, keep=0)
