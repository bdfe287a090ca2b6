"""The learning rate of a model: read, assigned, kept, and lowered on a plateau as PyTorch lowers it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chosen import BACKEND

from anynet import Model
from anynet.backends import select
from anynet.distributed import run_threads
from anynet.errors import CheckpointError, UsageError
from anynet.model import Checkpoints
from anynet.model.checkpoints import latest
from anynet.nn import SGD, Adam, Linear, LinearDecay, MSELoss
from anynet.training import Callback, ReduceLROnPlateau

X = np.linspace(-1, 1, 60).reshape(20, 3)
Y = X[:, :1] * X[:, 1:2]


def new_model(optimizer: Any = None, backend: str = BACKEND, **settings: Any) -> Model:
    settings = {"dtype": "float64", "seed": 2, **settings}
    return Model(Linear(1), MSELoss(), optimizer or Adam(0.1), backend=backend, **settings)


class Measures(Callback):
    """Puts numbers into the records as a measure `mine`, one an epoch, and keeps the rates of the epochs."""

    def __init__(self, values: Any) -> None:
        self.values = values
        self.rates: list[float] = []

    def on_epoch_end(self, model: Any, record: dict[str, float]) -> None:
        record["mine"] = float(self.values[model.epoch - 1])
        self.rates.append(model.learning_rate)


def plateau(**settings: Any) -> ReduceLROnPlateau:
    return ReduceLROnPlateau("mine", **{"factor": 0.5, "patience": 2, "mode": "min", **settings})


def rates(values: Any, backend: str = BACKEND, **settings: Any) -> list[float]:
    """The learning rate of each epoch, if the measure has these values."""
    measures = Measures(values)
    new_model(backend=backend).fit(X, Y, epochs=len(values), callbacks=[plateau(**settings), measures])
    return measures.rates


def test_the_next_steps_are_taken_with_the_rate_that_is_assigned(backend_name: str) -> None:
    model, expected = new_model(SGD(0.1), backend_name), new_model(SGD(0.05))
    for one in (model, expected):
        one.build((3,))
    assert model.learning_rate == 0.1
    model.learning_rate = np.float64(0.05)
    assert model.learning_rate == 0.05
    for one in (model, expected):
        one.fit(X, Y, epochs=2, batch_size=8)
    for name, array in expected.parameters.items():
        np.testing.assert_allclose(model.parameters[name], array, rtol=1e-12)


def test_it_goes_along_to_a_copy_and_another_backend_and_ends_with_its_optimizer(backend_name: str) -> None:
    model = new_model().build((3,))
    model.learning_rate = 0.025
    assert copy.deepcopy(model).learning_rate == 0.025
    assert model.on(select(backend_name, "float64")).learning_rate == 0.025
    model.optimizer = Adam(0.1)
    assert model.learning_rate == 0.1


def test_that_of_a_schedule_is_that_of_the_next_step_and_cannot_be_assigned(backend_name: str) -> None:
    model = new_model(SGD(LinearDecay(0.1, 10)), backend_name)
    model.fit(X, Y, batch_size=4)
    assert model.learning_rate == pytest.approx(0.05, rel=1e-12)
    with pytest.raises(UsageError, match=r"comes from LinearDecay\(.*: assign an optimizer with another lr"):
        model.learning_rate = 0.1
    with pytest.raises(UsageError, match="ReduceLROnPlateau needs an optimizer with a number as lr, but it has Linear"):
        model.fit(X, Y, callbacks=[ReduceLROnPlateau("loss")])


@pytest.mark.parametrize(
    "rate", [0, -0.1, float("nan"), float("inf"), 1e-60, 1e60, 10**400, "0.1", None, True], ids=repr
)
def test_a_rate_that_is_none_is_refused_and_nothing_changes(rate: Any) -> None:
    model = new_model(dtype="float32").build((3,))
    with pytest.raises(UsageError, match="the learning rate must be a float32 above 0 and finite, but is"):
        model.learning_rate = rate
    assert model.learning_rate == pytest.approx(0.1)


def test_without_weights_there_is_no_rate_yet() -> None:
    with pytest.raises(UsageError, match="the model has no weights yet"):
        new_model().learning_rate = 0.1


def test_a_training_that_diverges_names_the_rate_that_was_assigned() -> None:
    model = new_model(SGD(0.1)).build((3,))
    model.learning_rate = 1e200
    with pytest.raises(ArithmeticError, match=r"it is 1e\+200"):
        model.fit(X, Y, epochs=3)


VALUES = [*np.random.default_rng(4).normal(size=30).round(1), float("nan"), *np.full(9, 5.0)]


@pytest.mark.needs("torch")
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"patience": 1},
        {"factor": 0.1, "patience": 3, "cooldown": 2},
        {"mode": "max", "cooldown": 1},
        {"patience": 1, "min_lr": 0.004},
        {"patience": 1, "factor": 0.01},
        {"min_delta": 0.4},
    ],
    ids=str,
)
def test_the_rate_falls_in_the_epochs_in_which_pytorch_lowers_it(settings: dict[str, Any]) -> None:
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    told = {"factor": 0.5, "patience": 2, "mode": "min", **settings}
    threshold = told.pop("min_delta", 0.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, **{**told, "patience": told["patience"] - 1}, threshold=threshold, threshold_mode="abs"
    )
    expected = []
    for value in VALUES:
        expected.append(optimizer.param_groups[0]["lr"])
        scheduler.step(value)
    np.testing.assert_allclose(rates(VALUES, **settings), expected, rtol=1e-14)
    assert len(set(expected)) > 2


def test_it_falls_on_every_backend(backend_name: str) -> None:
    assert rates([3, 2, 2, 2, 2, 2, 1, 1], backend_name) == [0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.025, 0.025]


def test_a_resumed_training_lowers_it_as_one_that_never_stopped(tmp_path: Path, backend_name: str) -> None:
    values = [3, 2, 2, 2, 2, 2, 1, 1]

    class Killed(Callback):
        def on_batches_end(self, model: Any, samples: int) -> None:
            if model.epoch == 5:
                raise KeyboardInterrupt

    whole, killed, resumed = new_model(), new_model(), new_model(backend=backend_name)
    first, second = Measures(values), Measures(values)
    whole.fit(X, Y, epochs=8, callbacks=[plateau(cooldown=1), first])
    with pytest.raises(KeyboardInterrupt):
        killed.fit(
            X,
            Y,
            epochs=8,
            callbacks=[plateau(cooldown=1), Measures(values), Killed()],
            checkpoints=Checkpoints(tmp_path, every_steps=1),
        )
    resumed.fit(X, Y, epochs=8, callbacks=[plateau(cooldown=1), second], resume=latest(tmp_path))
    assert first.rates == [0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05]
    assert second.rates == first.rates[-len(second.rates) :]
    assert resumed.learning_rate == whole.learning_rate
    for name, array in whole.parameters.items():
        np.testing.assert_allclose(resumed.parameters[name], array, rtol=1e-9)


@pytest.mark.parametrize("state", [{"best": "1", "waited": 0}, {"best": 1.0, "waited": 0.5}, {"best": 1.0}], ids=str)
def test_a_state_that_is_none_is_refused(tmp_path: Path, state: dict[str, Any]) -> None:
    class Odd(ReduceLROnPlateau):
        def state_dict(self) -> dict[str, Any]:
            return state

    Odd.__name__ = "ReduceLROnPlateau"
    new_model().fit(X, Y, epochs=2, callbacks=[Odd("loss")], checkpoints=Checkpoints(tmp_path, every_steps=1))
    with pytest.raises(CheckpointError, match="cannot be resumed"):
        new_model().fit(X, Y, epochs=2, callbacks=[ReduceLROnPlateau("loss")], resume=latest(tmp_path))


@pytest.mark.host
def test_ranks_lower_it_together() -> None:
    def trained(comm: Any) -> float:
        values = Measures([1, 1, 1, 1])
        model = new_model(backend="numpy", comm=comm)
        model.fit(X, Y, epochs=4, batch_size=10, callbacks=[plateau(patience=1), values])
        return model.learning_rate

    assert run_threads(2, trained) == [0.0125, 0.0125]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"factor": 1}, "factor must be above 0 and below 1, but is 1"),
        ({"factor": 0}, "factor must be above 0 and below 1, but is 0"),
        ({"patience": 0}, "patience must be 1 or more, but is 0"),
        ({"min_lr": -1}, "min_delta, cooldown and min_lr must be 0 or more, but are 0.0, 0 and -1"),
        ({"mode": "lower"}, "mode"),
    ],
    ids=str,
)
def test_what_is_refused_is_told_in_full(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        plateau(**settings)


def test_a_measure_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match="measure 'mine'"):
        new_model().fit(X, Y, callbacks=[plateau()])
    with pytest.raises(UsageError, match="measure 'val_loss'"):
        new_model().fit(X, Y, callbacks=[ReduceLROnPlateau()])
