"""Trainings that ranks do together and one process does alone: one for each layer, loss and optimizer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest

from anynet import Model, nn
from anynet.checks import cases
from anynet.training import Callback, EarlyStopping

# Eight steps an epoch: batches of 16 rows that 2, 4 and 8 ranks share, and a last one of 6, which 4 and 8 do not.
BATCH, ROWS = 16, 7 * 16 + 6
TIMES = ("seconds", "samples_per_second")


class Case(NamedTuple):
    name: str
    network: nn.Layer
    loss: nn.Loss
    optimizer: nn.Optimizer
    shape: tuple[int, ...]

    @property
    def tolerance(self) -> float:
        return 1e-12 if isinstance(self.optimizer, nn.SGD) else 1e-9


def each() -> Iterator[Case]:
    """Each layer between two of weights, and each loss and each optimizer on a network with every kind of trouble."""
    for name, layer, shape in cases.LAYERS:
        network = nn.Sequential(nn.Linear(shape[-1]), nn.Tanh(), layer, nn.Flatten(), nn.Dropout(0.3), nn.Linear(3))
        # 200 steps of 0.05 would make of a rounding error in a TransformerBlock 16,000 times as much.
        rate = 0.01 if isinstance(layer, nn.TransformerBlock) else 0.05
        yield Case(name, network, nn.CrossEntropyLoss(), nn.SGD(rate, momentum=0.5), shape)
    troubled = nn.Linear(8), nn.BatchNorm(), nn.ReLU(), nn.Dropout(0.2)
    for name, loss, (outputs,) in cases.LOSSES:
        last = (nn.Linear(outputs), nn.Sigmoid()) if isinstance(loss, nn.BCELoss) else (nn.Linear(outputs),)
        yield Case(name, nn.Sequential(*troubled, *last), loss, nn.SGD(0.05), (4,))
    # A bias before a batch normalization has no gradient but rounding errors, and Lion would follow their signs.
    troubled = nn.BatchNorm(), nn.Linear(8), nn.ReLU(), nn.Dropout(0.2)
    for name, optimizer in cases.OPTIMIZERS:
        usual = optimizer if isinstance(optimizer, (nn.SGD, nn.EMA)) else replace(optimizer, lr=0.001)
        yield Case(name, nn.Sequential(*troubled, nn.Linear(3)), nn.MSELoss(), usual, (4,))


def data_of(case: Case) -> tuple[Any, Any, Any]:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(ROWS, *case.shape))
    _, outputs = case.network.parameters(case.shape)
    return x, cases.draw_target(generator, case.loss, (ROWS, *outputs)), cases.draw_weight(generator, ROWS)


def trained(
    case: Case, comm: Any, backend: str, epochs: int, callbacks: tuple[Callback, ...] = (), **options: Any
) -> tuple[Model, list[Any]]:
    """The model of one rank, and its history, after a training with everything that ranks must agree on."""
    x, y, weight = data_of(case)
    model = Model(
        case.network, case.loss, case.optimizer, clip_norm=1.0, backend=backend, dtype="float64", seed=1, comm=comm
    )
    history = model.fit(
        x,
        y,
        sample_weight=weight,
        epochs=epochs,
        batch_size=BATCH,
        validation_data=(x[:37], y[:37]),
        callbacks=[EarlyStopping(patience=epochs), *callbacks],
        **options,
    )
    return model, history


def farthest(model: Model, other: Model) -> float:
    """The largest difference between two models' parameters."""
    return max(float(np.abs(array - other.parameters[name]).max()) for name, array in model.parameters.items())


def assert_as_alone(case: Case, alone: tuple[Model, list[Any]], together: list[tuple[Model, list[Any]]]) -> None:
    """Ranks have the numbers of one process, and all of them the same bytes."""
    (reference, history), (model, others) = alone, together[0]
    for name, array in reference.parameters.items():
        np.testing.assert_allclose(model.parameters[name], array, rtol=0, atol=case.tolerance)
        assert all(one.parameters[name].tobytes() == model.parameters[name].tobytes() for one, _ in together)
    for mine, theirs in zip(history, others, strict=True):
        assert mine.keys() == theirs.keys()
        assert _measures(theirs) == pytest.approx(_measures(mine), rel=0, abs=1e-9)


def _measures(record: Any) -> dict[str, float]:
    return {name: value for name, value in record.items() if name not in TIMES}
