"""When a measure is better than before, and what early stopping takes, keeps and refuses."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from anynet.errors import UsageError
from anynet.training import EarlyStopping, StopTraining
from anynet.training.stopping import Best, higher_is_better

WEIGHTS = {"weight": np.ones((2, 1)), "bias": np.zeros(1)}


class Watched:
    """As much of a model in training as early stopping looks at: its weights are the number of the epoch."""

    def __init__(self, epoch: int = 0, **known: bool) -> None:
        self.epoch = epoch
        self.fit_state = SimpleNamespace(first_epoch=epoch, higher_is_better={"val_loss": False, **known})
        self.was_put: list[Any] = []

    @property
    def parameters(self) -> dict[str, Any]:
        return {name: array + self.epoch for name, array in WEIGHTS.items()}

    def put(self, arrays: Any) -> None:
        self.was_put.append(arrays)


def begun(stopping: EarlyStopping, **known: bool) -> EarlyStopping:
    stopping.on_fit_begin(Watched(**known), 10, 6)
    return stopping


def epochs_of(stopping: EarlyStopping, values: list[float], began: int = 0) -> int:
    """How many epochs a training takes whose measure has these values; early stopping has begun it."""
    model = Watched(began, mine=True)
    stopping.on_fit_begin(model, len(values), 6)
    for value in values:
        model.epoch += 1
        try:
            stopping.on_epoch_end(model, {stopping.monitor: value})
        except StopTraining:
            break
    stopping.on_fit_end(model)
    return model.epoch - began


@pytest.mark.parametrize(
    ("higher", "values", "expected"),
    [
        (False, [3.0, 2.5, 2.0, 2.5, 1.5], [True, False, True, False, False]),
        (True, [-3.0, -2.5, -2.0, -2.5, -1.5], [True, False, True, False, False]),
        (True, [math.nan, -math.inf, 0.0, 1.0, math.nan], [False, True, True, True, False]),
    ],
)
def test_only_what_is_better_by_more_than_min_delta_improves(
    higher: bool, values: list[float], expected: list[bool]
) -> None:
    best = Best(higher, min_delta=0.5)
    assert [best.improves(value) for value in values] == expected


def test_the_best_so_far_may_be_given() -> None:
    assert not Best(higher_is_better=True, value=2.0).improves(1.0)
    best = Best(higher_is_better=True, value=2.0)
    assert best.improves(2.5)
    assert best.value == 2.5


def test_without_min_delta_the_least_improvement_counts() -> None:
    best = Best(higher_is_better=False)
    assert best.value is None
    assert [best.improves(value) for value in (1.0, 1.0, math.nextafter(1.0, 0.0))] == [True, False, True]


def test_a_mode_decides_before_what_is_known() -> None:
    known = {"up": True, "down": False}
    assert [higher_is_better(name, known) for name in known] == [True, False]
    assert [higher_is_better(name, known, mode="min") for name in known] == [False, False]
    assert [higher_is_better(name, known, mode="max") for name in known] == [True, True]


def test_of_a_measure_that_nobody_knows_a_mode_is_asked_for() -> None:
    words = 'give mode="min" or mode="max" for a measure that a callback adds'
    with pytest.raises(UsageError) as caught:
        higher_is_better("mine", {"loss": False, "val_loss": False})
    assert str(caught.value) == f"unknown measure 'mine' (known: loss, val_loss); {words}"


def test_what_is_left_out_is_the_validation_loss_ten_epochs_and_any_improvement() -> None:
    stopping = EarlyStopping()
    assert (stopping.monitor, stopping.patience, stopping.min_delta, stopping.mode) == ("val_loss", 10, 0.0, "auto")
    assert stopping.name == "val_loss"
    assert stopping.last
    assert (stopping.best, stopping.best_epoch) == (None, None)


@pytest.mark.parametrize(("patience", "min_delta"), [(-1, 0.0), (3, -0.1), (3, math.nan)])
def test_patience_and_min_delta_are_not_negative(patience: int, min_delta: float) -> None:
    words = f"^patience and min_delta must be 0 or more, but are {patience} and {min_delta}$"
    with pytest.raises(UsageError, match=words):
        EarlyStopping(patience=patience, min_delta=min_delta)


def test_patience_of_none_ends_with_the_first_epoch_that_is_no_better() -> None:
    assert epochs_of(EarlyStopping(patience=0), [3.0, 2.0, 2.0, 1.0]) == 3


@pytest.mark.parametrize("began", [0, 7])
def test_patience_counts_from_the_best_epoch_or_from_where_training_began(began: int) -> None:
    stopping = EarlyStopping(patience=2)
    assert epochs_of(stopping, [3.0, 2.0, 2.5, 1.0, 1.5, 1.5, 0.0], began) == 6
    assert (stopping.best, stopping.best_epoch) == (1.0, began + 4)
    assert epochs_of(stopping, [math.nan] * 5, began) == 2
    assert (stopping.best, stopping.best_epoch) == (None, None)


@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        ({"monitor": "mine"}, 4),
        ({"monitor": "mine", "mode": "min"}, 2),
        ({"monitor": "mine", "min_delta": 1.0}, 2),
        ({"monitor": "other", "mode": "max"}, 4),
    ],
)
def test_which_way_is_better_and_by_how_much_is_what_was_asked_for(options: Any, epochs: int) -> None:
    assert epochs_of(EarlyStopping(patience=1, **options), [1.0, 2.0, 3.0, 3.0, 9.0]) == epochs


def test_the_best_weights_are_put_back_once_and_only_if_there_are_any() -> None:
    model, stopping = Watched(), EarlyStopping(patience=9)
    stopping.on_fit_begin(model, 3, 6)
    stopping.on_fit_end(model)
    assert model.was_put == []
    for value in (2.0, 1.0, 3.0):
        model.epoch += 1
        stopping.on_epoch_end(model, {"val_loss": value})
    for _ in range(2):
        stopping.on_fit_end(model)
        assert stopping.state_dict() == {"best": 1.0, "best_epoch": 2, "arrays": {}}
    (arrays,) = model.was_put
    np.testing.assert_array_equal(arrays["weight"], WEIGHTS["weight"] + 2)


def test_a_measure_that_is_not_in_the_record_is_named_beside_those_that_are() -> None:
    stopping = begun(EarlyStopping())
    with pytest.raises(UsageError, match=r"^unknown measure 'val_loss'.*\(known: loss\)$"):
        stopping.on_epoch_end(Watched(), {"epoch": 1, "loss": 2.0, "seconds": 0.1, "samples_per_second": 60.0})


def test_its_state_goes_over_to_another() -> None:
    stopping = begun(EarlyStopping(patience=1))
    model = Watched(epoch=1)
    stopping.on_epoch_end(model, {"val_loss": 2.0})
    state = stopping.state_dict()
    assert (state["best"], state["best_epoch"]) == (2.0, 1)
    other = begun(EarlyStopping(patience=1))
    other.load_state_dict(state)
    assert (other.best, other.best_epoch) == (2.0, 1)
    model.epoch = 2
    with pytest.raises(StopTraining):
        other.on_epoch_end(model, {"val_loss": 2.0})
    other.on_fit_end(model)
    np.testing.assert_array_equal(model.was_put[0]["bias"], [1.0])


def test_the_state_of_one_that_has_seen_no_epoch_changes_nothing() -> None:
    stopping = begun(EarlyStopping())
    stopping.load_state_dict(begun(EarlyStopping()).state_dict())
    assert (stopping.best, stopping.best_epoch) == (None, None)


def test_a_best_value_that_is_a_whole_number_becomes_a_float() -> None:
    stopping = begun(EarlyStopping())
    stopping.load_state_dict({"best": 2, "best_epoch": 1, "arrays": WEIGHTS})
    assert type(stopping.best) is float


@pytest.mark.parametrize(
    "change",
    [
        {"best": None},
        {"best": "2"},
        {"best_epoch": None},
        {"best_epoch": 1.0},
        {"best_epoch": True},
        {"arrays": {}},
        {"arrays": {"weight": WEIGHTS["weight"]}},
        {"arrays": {**WEIGHTS, "bias": np.zeros(2)}},
        {"arrays": {**WEIGHTS, "bias": np.asarray([np.nan])}},
        {"best": None, "best_epoch": None},
        {"best": None, "arrays": {}},
        {"best_epoch": None, "arrays": {}},
    ],
    ids=repr,
)
def test_a_state_that_cannot_be_is_refused_and_changes_nothing(change: dict[str, Any]) -> None:
    stopping = begun(EarlyStopping())
    with pytest.raises(ValueError, match="EarlyStopping cannot continue from best="):
        stopping.load_state_dict({"best": 2.0, "best_epoch": 1, "arrays": WEIGHTS, **change})
    assert (stopping.best, stopping.best_epoch) == (None, None)
    model = Watched()
    stopping.on_fit_end(model)
    assert model.was_put == []
