"""In which order a training takes its rows."""

from __future__ import annotations

import numpy as np
from model.small_model import ROWS, new_model

from anynet.model.fit_policy import FitPolicy
from anynet.training.fit_state import FitState


def test_each_epoch_and_each_seed_has_an_order_of_its_own() -> None:
    def orders(seed: int) -> list[bytes]:
        model = new_model()
        model.seed = seed
        policy = FitPolicy(model, FitState(0, 3, 3, ROWS, 32, {}), np.ones(ROWS), None)
        found = [policy.order(epoch) for epoch in range(3)]
        assert all(sorted(order) == list(range(ROWS)) for order in found)
        return [order.tobytes() for order in found]

    assert orders(0) == orders(0)
    assert len({*orders(0), *orders(1)}) == 6
