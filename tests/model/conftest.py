"""The file that tests of model files begin with."""

from __future__ import annotations

from pathlib import Path

import pytest
from model.saved_model import small_model


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A good model file."""
    small_model().save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"
