"""The backend of every test for which any one will do: ANYNET_TEST_BACKEND, or NumPy."""

from __future__ import annotations

import os

BACKEND = os.environ.get("ANYNET_TEST_BACKEND", "numpy")
