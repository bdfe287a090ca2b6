"""A model file is written whole or not at all, and the one before it stays."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from model.saved_model import small_model

from anynet.errors import WriteError
from anynet.model import Model


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()], ids=repr)
def test_a_failing_write_leaves_the_old_file_alone(path: Path, call: str, error: Any, monkeypatch: Any) -> None:
    before = path.read_bytes()

    def fail(*arguments: Any) -> None:
        raise error

    monkeypatch.setattr(os, call, fail)
    with pytest.raises((WriteError, KeyboardInterrupt)) as caught:
        small_model(seed=1).save(path)
    monkeypatch.undo()
    if isinstance(error, OSError):
        assert str(caught.value) == f"cannot write {path}: No space left on device"
    assert list(path.parent.iterdir()) == [path]
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_synced_is_no_failure(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def only_files(descriptor: int) -> None:
        is_folder.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
        if is_folder[-1]:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    is_folder: list[bool] = []
    monkeypatch.setattr(os, "fsync", only_files)
    small_model(seed=1).save(path)
    assert is_folder == [False, True]
    assert Model.load(path).seed == 1


def test_a_place_that_cannot_be_written_is_refused(path: Path) -> None:
    for place in (path.parent, path.parent / "missing" / "model", path / "model", path.parent / "nul\0"):
        with pytest.raises(WriteError) as caught:
            small_model().save(place)
        assert str(caught.value).startswith(f"cannot write {place}: ")
    assert list(path.parent.iterdir()) == [path]
