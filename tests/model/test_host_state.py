"""The state of a model as NumPy arrays, from which several models may be made."""

from __future__ import annotations

import numpy as np
import pytest
from model.small_model import contents

from anynet import Model, nn


@pytest.mark.backends("numpy", "torch", "cupy")
def test_models_made_of_the_same_arrays_share_none_of_them(backend_name: str) -> None:
    # A matrix of this size is an array of its own, and not a part of one that is made anew.
    x = np.random.default_rng(0).normal(size=(64, 150))
    optimizer = nn.SGD(0.1, momentum=0.9)
    trained, first, second = (
        Model(nn.Linear(150), nn.MSELoss(), optimizer, backend=backend_name).build((150,)) for _ in range(3)
    )
    trained.fit(x, x)
    kept, before = trained.snapshot(), contents(trained)
    for model in (first, second):
        model._restore(kept, model.backend)
    first.fit(x, x)
    assert contents(second) == before
    second.fit(x, x)
    assert contents(second) == contents(first)
