"""A checkpoint that is damaged is refused in one error, or says the same as before."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model.interrupted import KeepAll, assert_same, fit, losses, new_model

from anynet.errors import CheckpointError
from anynet.model.checkpoints import latest


def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path: Path) -> None:
    fit(new_model(), checkpoints=KeepAll(tmp_path, 5))
    *_, before, newest = sorted(tmp_path.glob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-5])
    with pytest.warns(UserWarning, match=r"an older checkpoint is taken: .*damaged"):
        assert latest(tmp_path) == before
    before.write_bytes(b"")
    for other in tmp_path.glob("*.safetensors"):
        other.write_bytes(b"")
    warnings.simplefilter("ignore")
    with pytest.raises(CheckpointError, match=r"none of the checkpoints in .* can be read"):
        latest(tmp_path)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(at=st.floats(0, 1), how=st.sampled_from(["flip", "cut", "grow", "zero"]), byte=st.integers(1, 255))
def test_any_damage_is_one_typed_error_or_changes_nothing(
    tmp_path_factory: Any, at: float, how: str, byte: int
) -> None:
    whole = _checkpoint(tmp_path_factory)
    data = bytearray(whole.read_bytes())
    place = min(int(at * len(data)), len(data) - 1)
    if how == "flip":
        data[place] ^= byte
    elif how == "cut":
        del data[place:]
    elif how == "grow":
        data[place:place] = bytes([byte] * byte)
    else:
        data[place : place + byte] = bytes(len(data[place : place + byte]))
    damaged = tmp_path_factory.mktemp("damaged") / "checkpoint.safetensors"
    damaged.write_bytes(data)
    assert_refused_or_the_same(damaged, whole)
    shutil.rmtree(damaged.parent)


def test_what_says_the_same_in_other_letters_is_read_as_that(tmp_path_factory: Any) -> None:
    whole = _checkpoint(tmp_path_factory)
    other = tmp_path_factory.mktemp("other") / "checkpoint.safetensors"
    other.write_bytes(whole.read_bytes().replace(b"1e-05", b"1E-05"))
    assert other.read_bytes() != whole.read_bytes()
    assert_refused_or_the_same(other, whole)


def assert_refused_or_the_same(damaged: Path, whole: Path) -> None:
    resumed, undamaged = new_model(), new_model()
    refused = ""
    try:
        history = fit(resumed, epochs=2, resume=damaged)
    except CheckpointError as error:
        refused = str(error)
    if refused:
        assert str(damaged) in refused
    else:
        assert losses(history) == losses(fit(undamaged, epochs=2, resume=whole))
        assert_same(resumed, undamaged)


def _checkpoint(tmp_path_factory: Any) -> Path:
    if not hasattr(_checkpoint, "path"):
        folder = tmp_path_factory.mktemp("whole")
        fit(new_model(), epochs=2, checkpoints=KeepAll(folder, 5))
        _checkpoint.path = latest(folder)
    return _checkpoint.path
