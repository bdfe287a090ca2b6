"""How results are written for other programs."""

from __future__ import annotations

import json
import math
from typing import Any


def as_json(value: Any) -> str:
    """A value as one line of JSON; NaN and infinity, which JSON does not have, become null.

    >>> as_json({"loss": [0.5, float("nan")]})
    '{"loss": [0.5, null]}'
    """
    return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
