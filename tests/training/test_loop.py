"""The loop by itself: what it trains on, and what it tells of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from training.adding_rows import BATCHES, ROWS, TOLD, Adder, Heard, InOrder, loop_of, losses_of, mean_of, new_fit

from anynet.backends import select
from anynet.errors import UsageError
from anynet.training import Callback
from anynet.training import loop as loop_module
from anynet.training.callbacks import Callbacks
from anynet.training.loop import Loop, Policy
from anynet.training.sources import ResidentSource
from anynet.training.step import Steps

pytestmark = pytest.mark.host


def test_every_epoch_trains_on_every_batch_and_is_told_and_recorded() -> None:
    model, fit, heard, policy = Adder(), new_fit(), Heard(), InOrder()
    assert loop_of(model, fit, heard, policy=policy).run() is True
    assert model.trained == BATCHES * 2
    assert heard.events == [*TOLD, "epoch 1", *TOLD, "epoch 2"]
    assert policy.asked == [0, 1]
    assert policy.checked == losses_of(0) + losses_of(1)
    assert [record["epoch"] for record in fit.history] == [1, 2]
    assert [record["loss"] for record in fit.history] == pytest.approx([mean_of(0), mean_of(1)], rel=1e-12)
    assert [record["measured"] for record in fit.history] == [0.5, 1.0]
    assert fit.history[0].keys() == {"epoch", "loss", "measured", "seconds", "samples_per_second"}
    assert (model.epoch, fit.rows, fit.losses, fit.pending, fit.last_epoch) == (2, 0, [], [], 2)
    assert model.steps == [None] * 6


def test_a_policy_may_bring_steps_of_its_own() -> None:
    def step(xp: Any, state: Any, batch: Any) -> Any:
        return state, {}

    class Stepping(InOrder):
        steps = Steps(step, step)

    model = Adder()
    loop_of(model, new_fit(1), policy=Stepping()).run()
    assert model.steps == [Stepping.steps] * 3


def test_losses_are_looked_at_while_the_device_works_on_the_next_batches() -> None:
    seen: list[tuple[int, int]] = []

    class Looking(Callback):
        def on_batches_end(self, model: Any, samples: int) -> None:
            seen.append((len(policy.checked), len(fit.pending)))

    fit, policy = new_fit(1), InOrder()
    loop_of(Adder(), fit, Looking(), policy=policy).run()
    assert seen == [(0, 1), (1, 1), (2, 1)]
    seen.clear()
    fit, policy = new_fit(1), InOrder()
    loop_of(Adder(), fit, Looking(), policy=policy, most_steps=1).run()
    assert seen == [(1, 0), (2, 0), (3, 0)]
    seen.clear()
    fit, policy = new_fit(1), InOrder()
    loop_of(Adder(), fit, Looking(), policy=policy, most_steps=2).run()
    assert seen == [(0, 1), (1, 1), (2, 1)]


def test_what_callbacks_add_to_a_record_is_kept_as_pythons_numbers() -> None:
    class Adding(Callback):
        value: Any = np.float32(0.5)

        def on_epoch_end(self, model: Any, record: dict[str, float]) -> None:
            record["added"] = self.value

    fit = new_fit(1)
    loop_of(Adder(), fit, Adding()).run()
    assert type(fit.history[0]["added"]) is float
    assert fit.history[0]["added"] == 0.5
    wrong = Adding()
    wrong.value = "much"
    with pytest.raises(UsageError, match=r"^a callback has put 'much' into a record as added: give a number$"):
        loop_of(Adder(), new_fit(1), wrong).run()


def test_a_record_tells_seconds_and_rows_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]

    class Clock:
        @staticmethod
        def perf_counter() -> float:
            return clock[0]

    class Waiting(Callback):
        def on_batches_end(self, model: Any, samples: int) -> None:
            clock[0] += 0.5

    monkeypatch.setattr(loop_module, "time", Clock)
    fit = new_fit(2)
    loop_of(Adder(), fit, Waiting()).run()
    assert [(record["seconds"], record["samples_per_second"]) for record in fit.history] == [(1.5, 10 / 1.5)] * 2
    # A resumed epoch counts what is trained on now.
    model, fit = Adder(), new_fit(1, rows=4, losses=[np.asarray([6.0])])
    loop_of(model, fit, Waiting()).run()
    assert (fit.history[0]["seconds"], fit.history[0]["samples_per_second"]) == (1.0, 6.0)
    fit = new_fit(1)
    loop_of(Adder(), fit).run()
    assert (fit.history[0]["seconds"], fit.history[0]["samples_per_second"]) == (0.0, 0.0)


@pytest.mark.parametrize(("most_steps", "told"), [(None, ["8 rows", "2 rows"]), (1, TOLD), (64, ["8 rows", "2 rows"])])
def test_between_two_moments_are_no_more_steps_than_asked_for(most_steps: int | None, told: list[str]) -> None:
    backend, heard, fit = select("numpy", "float64"), Heard(), new_fit(1)
    source = ResidentSource(backend, (np.arange(ROWS),))
    model = Adder()
    model.backend = backend
    Loop(model, fit, source, InOrder(), Callbacks([heard]), most_steps=most_steps).run()
    assert heard.events == [*told, "epoch 1"]
    assert fit.history[0]["loss"] == pytest.approx(mean_of(0), rel=1e-12)


def test_a_fit_knows_the_losses_that_are_on_the_host() -> None:
    fit = new_fit()
    assert fit.all_losses().shape == (0,)
    fit.losses += [np.asarray([1.0, 2.0]), np.asarray([3.0])]
    assert fit.all_losses().tolist() == [1.0, 2.0, 3.0]
    assert fit.training_id != new_fit().training_id
    assert len(fit.training_id) == 32


@pytest.mark.parametrize("method", ["order", "weights", "end_epoch"])
def test_a_policy_has_to_decide(method: str) -> None:
    with pytest.raises(NotImplementedError):
        getattr(Policy(), method)(0)
    assert Policy().steps is None
