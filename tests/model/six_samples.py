"""Six samples with their targets, a model to give them to, and what it says to those it cannot use."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anynet.errors import AnynetError
from anynet.model import Model
from anynet.nn import SGD, BCEWithLogitsLoss, CrossEntropyLoss, Linear, MSELoss, Sequential

X = np.random.default_rng(2).normal(size=(6, 2))
LABELS = np.asarray([0, 1, 2, 0, 1, 2])
ONES = np.ones((6, 3))
CLASS, YES, VALUE = CrossEntropyLoss(), BCEWithLogitsLoss(), MSELoss()
MASKED = "holds masked values (%d): fill them, as with .filled(0), or leave out their rows"
BETWEEN = "every value must be between -3.4e+38 and 3.4e+38"
OUT_OF_RANGE = "the network tells 3 classes apart, so labels must be 0 to 2, but row "


def model(loss: Any = CLASS) -> Model:
    return Model(Sequential(Linear(3)), loss, SGD(0.1))


def raised(error: type[AnynetError], run: Any) -> str:
    """What a reader sees: one line, of exactly this kind of error."""
    with pytest.raises(AnynetError) as caught:
        run()
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    return str(caught.value)
