"""The loop by itself: where it stops, what it saves, and where it goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from training.adding_rows import BATCHES, TOLD, Adder, Heard, InOrder, loop_of, losses_of, new_fit

from anynet.errors import UsageError
from anynet.training import Callback, StopTraining

pytestmark = pytest.mark.host


@pytest.mark.parametrize("stops", ["policy", "callback"])
def test_after_the_epoch_in_which_somebody_has_had_enough_there_is_no_other(stops: str) -> None:
    class Enough(InOrder):
        def end_epoch(self, record: dict[str, float]) -> bool:
            return record["epoch"] < 2

    model, fit, heard = Adder(), new_fit(9), Heard({"epoch 2": StopTraining()} if stops == "callback" else None)
    policy = Enough() if stops == "policy" else InOrder()
    assert loop_of(model, fit, heard, policy=policy).run() is False
    assert heard.events == [*TOLD, "epoch 1", *TOLD, "epoch 2"]
    assert len(fit.history) == model.epoch == fit.last_epoch == 2


def test_an_epoch_that_a_callback_ends_in_the_middle_leaves_no_record() -> None:
    class Stopping(Callback):
        def on_batches_end(self, model: Any, samples: int) -> None:
            if len(model.trained) == 5:
                raise StopTraining

    model, fit, heard = Adder(), new_fit(9), Heard()
    assert loop_of(model, fit, Stopping(), heard).run() is False
    assert heard.events == [*TOLD, "epoch 1", *TOLD[:2]]
    assert (model.epoch, len(fit.history), fit.rows, fit.last_epoch) == (1, 1, 8, 9)


def test_an_epoch_that_a_callback_ends_at_its_last_batch_is_whole() -> None:
    model, fit, heard = Adder(), new_fit(9), Heard({"2 rows": StopTraining()})
    assert loop_of(model, fit, heard).run() is False
    assert heard.events == [*TOLD, "epoch 1"]
    assert (model.epoch, len(fit.history), fit.rows, fit.last_epoch) == (1, 1, 0, 1)


def test_a_loss_that_the_policy_refuses_ends_training_at_once() -> None:
    class Strict(InOrder):
        def check_losses(self, losses: Any) -> None:
            if losses[0] == 22:
                raise UsageError("too much")

    model, fit = Adder(), new_fit(9)
    with pytest.raises(UsageError, match="too much"):
        loop_of(model, fit, policy=Strict()).run()
    # It is seen when the next batch has been given to the device.
    assert model.trained == BATCHES
    assert fit.history == []


def test_a_training_goes_on_from_any_batch_as_if_it_had_never_stopped() -> None:
    whole, expected = Adder(), new_fit(3)
    loop_of(whole, expected).run()
    for rows in (0, 4, 8, 10):
        model = Adder()
        model.epoch = 1
        first = {**expected.history[0]}
        losses = [np.asarray(losses_of(1)[: -(-rows // 4)])]
        fit = new_fit(3, rows=rows, losses=losses, history=[first])
        assert loop_of(model, fit).run() is True
        assert model.trained == BATCHES[-(-rows // 4) :] + BATCHES
        assert [r["loss"] for r in fit.history] == pytest.approx([r["loss"] for r in expected.history], rel=1e-12)


def test_nothing_is_trained_where_the_last_epoch_is_over() -> None:
    model, fit = Adder(), new_fit(1)
    model.epoch = 1
    assert loop_of(model, fit).run() is True
    assert model.trained == fit.history == []


def test_what_saves_is_called_where_nothing_is_half_done() -> None:
    saved: list[tuple[int, int, int]] = []
    fit = new_fit(2)

    def save(read_all: Callable[[], None], interrupted: bool) -> None:
        assert interrupted is False
        read_all()
        assert fit.pending == []
        saved.append((len(fit.history), fit.rows, len(fit.all_losses())))

    loop_of(Adder(), fit, save=save).run()
    an_epoch = [(4, 1), (8, 2), (10, 3), (0, 0)]
    assert saved == [(over + (not rows), rows, losses) for over in (0, 1) for rows, losses in an_epoch]


@pytest.mark.parametrize(("number", "ends"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
@pytest.mark.parametrize("saves", [True, False])
def test_a_signal_ends_training_once_the_batch_at_hand_is_done(number: int, ends: Any, saves: bool) -> None:
    told: list[bool] = []

    class Interrupting(Callback):
        def on_batches_end(self, model: Any, samples: int) -> None:
            if len(model.trained) == 2:
                os.kill(os.getpid(), number)

    model, fit = Adder(), new_fit(9)
    options = {"save": lambda read_all, interrupted: told.append(interrupted)} if saves else {}
    with pytest.raises(ends) as ended:
        loop_of(model, fit, Interrupting(), **options).run()
    assert model.trained == BATCHES[:2]
    assert fit.rows == 8
    assert told == ([False, True] if saves else [])
    if ends is SystemExit:
        assert ended.value.code == 128 + signal.SIGTERM
