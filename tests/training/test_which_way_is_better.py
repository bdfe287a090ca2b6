"""Which way a measure is better, for early stopping and the best checkpoint."""

from __future__ import annotations

from typing import Any

import pytest
from training.predictions import LABELS, MANY, passing

from anynet import Model
from anynet.errors import UsageError
from anynet.model import Checkpoints
from anynet.nn import MSELoss
from anynet.training import Callback, EarlyStopping
from anynet.training.stopping import higher_is_better


class TestWhichWayIsBetter:
    @pytest.mark.parametrize("name", ["val_loss", "loss"])
    def test_is_known_of_the_loss(self, name: str) -> None:
        assert not higher_is_better(name, {"loss": False, "val_loss": False})

    def test_of_a_measure_that_a_callback_adds_needs_a_mode(self) -> None:
        class Add(Callback):
            def on_epoch_end(self, model: Model, record: dict[str, float]) -> None:
                record["mine"] = -model.epoch

        model = passing(4, MSELoss(), None)
        with pytest.raises(UsageError, match=r"unknown measure 'mine'.*known: loss\); give mode=\"min\" or mode="):
            model.fit(MANY, LABELS, callbacks=[EarlyStopping("mine"), Add()])
        stopping = EarlyStopping("mine", mode="min")
        model.fit(MANY, LABELS, epochs=2, callbacks=[stopping, Add()])
        assert stopping.best == -model.epoch

    @pytest.mark.parametrize("mode", ["maximum", "", None, ["min"]])
    def test_a_mode_is_one_of_three(self, mode: Any) -> None:
        for make in (EarlyStopping, lambda mode: Checkpoints("run", best="loss", mode=mode)):
            with pytest.raises(UsageError, match=r"unknown mode .*known: auto, min, max"):
                make(mode=mode)
