"""The backend that the states under test are on."""

from __future__ import annotations

from typing import Any

import pytest

from anynet.backends import select


@pytest.fixture
def backend() -> Any:
    return select("numpy", "float64")
