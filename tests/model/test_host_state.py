"""The state of a model as NumPy arrays, from which several models may be made."""

from __future__ import annotations

import pytest
from model.small_model import X, Y, contents, new_model

from anynet import nn


@pytest.mark.backends("numpy", "torch", "cupy")
def test_models_made_of_the_same_arrays_share_none_of_them(backend_name: str) -> None:
    trained = new_model(backend_name, nn.SGD(0.1, momentum=0.9))
    trained.fit(X, Y)
    kept, before = trained.snapshot(), contents(trained)
    first, second = new_model(backend_name), new_model(backend_name)
    for model in (first, second):
        model._restore(kept, model.backend)
    first.fit(X, Y)
    assert contents(second) == before
    second.fit(X, Y)
    assert contents(second) == contents(first)
