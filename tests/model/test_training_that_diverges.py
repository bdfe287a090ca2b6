"""Training whose numbers are no longer finite ends, and says where it went wrong."""

from __future__ import annotations

import numpy as np
import pytest
from model.interrupted import NETWORKS, fit, new_model

from anynet import Model
from anynet.errors import TrainingDiverged
from anynet.nn import SGD, Linear, MSELoss
from anynet.training import Callback, EarlyStopping


class TestDivergence:
    def test_the_message_names_epoch_batch_layer_and_learning_rate(self, backend_name: str) -> None:
        model = Model(NETWORKS["plain"](), MSELoss(), SGD(1e200), backend=backend_name, dtype="float64")
        words = (
            r"not finite in batch \d of epoch 1, and so is [02]\.(weight|bias): .*smaller learning rate \(it is 1e\+200"
        )
        with pytest.raises(TrainingDiverged, match=words):
            fit(model, debug=True)

    def test_the_best_weights_are_kept(self) -> None:
        class Break(Callback):
            def on_batches_end(self, model: Model, samples: int) -> None:
                if model.epoch == 5:
                    model.state = model.state._replace(parameters=tuple(p * np.nan for p in model.state.parameters))

        model = new_model()
        with pytest.raises(TrainingDiverged):
            fit(model, epochs=10, callbacks=[EarlyStopping(), Break()])
        assert all(np.isfinite(array).all() for array in model.parameters.values())

    def test_a_weight_that_overflows_in_the_last_step_is_noticed(self) -> None:
        model = Model(Linear(1), MSELoss(), SGD(1e300), dtype="float64")
        with pytest.raises(TrainingDiverged, match="weight is not finite after epoch 1"):
            model.fit(np.full((4, 1), 1e5), np.full(4, -1e5), batch_size=4)
