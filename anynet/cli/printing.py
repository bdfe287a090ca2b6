"""Results as JSON."""

from __future__ import annotations

import json
import math
from typing import Any


def print_json(value: Any) -> None:
    """Print a value on a line of JSON, which has no inf and nan: they are null.

    >>> print_json({"loss": float("nan"), "rows": [1.5, float("inf")]})
    {"loss": null, "rows": [1.5, null]}
    """
    print(json.dumps(_finite(value), allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
