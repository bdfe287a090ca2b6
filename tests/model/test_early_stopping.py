"""Training that ends when nothing improves, with the best weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model.interrupted import NETWORKS, VALIDATION, KeepAll, assert_same, fit, losses, new_model

from anynet import Model
from anynet.errors import UsageError
from anynet.nn import SGD, MSELoss
from anynet.training import Callback, EarlyStopping


class TestEarlyStopping:
    def best_of(self, model: Model, history: list[dict[str, float]]) -> None:
        best = min(record["val_loss"] for record in history)
        assert model.evaluate(*VALIDATION)["loss"] == pytest.approx(best)

    def test_it_ends_when_nothing_improves_and_puts_the_best_weights_back(self) -> None:
        model = Model(NETWORKS["plain"](), MSELoss(), SGD(0.9, momentum=0.8), dtype="float64")
        stopping = EarlyStopping(patience=3)
        history = fit(model, epochs=500, callbacks=[stopping])
        assert len(history) < 500
        assert stopping.best_epoch == len(history) - 3
        self.best_of(model, history)

    def test_patience_begins_with_its_training(self) -> None:
        class Late(Callback):
            def on_epoch_end(self, model: Model, record: dict[str, float]) -> None:
                record["mine"] = np.nan if model.epoch < 6 else -model.epoch

        model = new_model()
        fit(model, epochs=4)
        history = fit(model, epochs=4, callbacks=[EarlyStopping("mine", patience=3, mode="min"), Late()])
        assert [record["epoch"] for record in history] == [5, 6, 7, 8]

    @pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
    def test_on_an_interrupt_and_an_error_too(self, error: type[BaseException]) -> None:
        class Fail(Callback):
            history: list[dict[str, float]]

            def on_epoch_end(self, model: Model, record: dict[str, float]) -> None:
                self.history = [*getattr(self, "history", []), record]
                if model.epoch == 12:
                    raise error

        fail = Fail()
        model = Model(NETWORKS["plain"](), MSELoss(), SGD(0.9, momentum=0.8), dtype="float64")
        with pytest.raises(error):
            fit(model, epochs=50, callbacks=[EarlyStopping(patience=50), fail])
        self.best_of(model, fail.history)

    def test_it_goes_on_from_a_checkpoint_with_what_it_knew(self, tmp_path: Path) -> None:
        def options() -> dict[str, Any]:
            return {"epochs": 60, "callbacks": [EarlyStopping(patience=4)]}

        def model() -> Model:
            return Model(NETWORKS["plain"](), MSELoss(), SGD(0.9, momentum=0.8), dtype="float64")

        reference, resumed = model(), model()
        expected = fit(reference, checkpoints=KeepAll(tmp_path, 5), **options())
        path = sorted(tmp_path.glob("*.safetensors"))[3]
        assert losses(fit(resumed, resume=path, **options())) == losses(expected)
        assert_same(resumed, reference)

    def test_a_measure_that_is_not_there_is_named(self) -> None:
        with pytest.raises(UsageError, match=r"unknown measure 'val_accuracy'.*known: loss, val_loss"):
            fit(new_model(), callbacks=[EarlyStopping("val_accuracy")])
