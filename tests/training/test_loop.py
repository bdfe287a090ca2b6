"""The loop by itself: what it trains on, what it tells of it, and where it stops and goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from anynet.backends import select
from anynet.errors import UsageError
from anynet.training import Callback, StopTraining
from anynet.training import loop as loop_module
from anynet.training.batches import Chunk
from anynet.training.callbacks import Callbacks
from anynet.training.fit_state import FitState
from anynet.training.loop import Loop, Policy
from anynet.training.sources import ResidentSource

pytestmark = pytest.mark.host

ROWS, SIZE = 10, 4
BACKEND = type("OneByOne", (type(select("numpy", "float64")),), {"steps_at_once": 1})(dtype="float64")


class Adder:
    """Its loss for a batch is the sum of the numbers of the rows, and 100 for each epoch that is over."""

    def __init__(self) -> None:
        self.epoch, self.backend = 0, BACKEND
        self.trained: list[list[int]] = []
        self.steps: list[Any] = []

    def train_on(self, batches: Chunk, data: Any, step: Any = None) -> Any:
        rows = data[0][batches.arrays[0]]
        self.trained += rows.tolist()
        self.steps.append(step)
        return rows.sum(axis=1) + 100.0 * self.epoch


class InOrder(Policy):
    """Rows as they are; batches count by their rows."""

    def __init__(self) -> None:
        self.checked: list[float] = []
        self.asked: list[int] = []

    def order(self, epoch: int) -> Any:
        self.asked.append(epoch)
        return np.arange(ROWS)

    def weights(self, order: Any) -> Any:
        return (np.ones(ROWS),), np.asarray([4.0, 4.0, 2.0])

    def check_losses(self, losses: Any) -> None:
        self.checked += losses.tolist()

    def end_epoch(self, record: dict[str, float]) -> bool:
        record["measured"] = record["epoch"] / 2
        return True


class Heard(Callback):
    """Notes what it is told, and raises what it was given for an event."""

    def __init__(self, raises: dict[str, Any] | None = None) -> None:
        self.events: list[str] = []
        self.raises = raises or {}

    def _note(self, event: str) -> None:
        self.events.append(event)
        if event in self.raises:
            raise self.raises[event]

    def on_batches_end(self, model: Any, samples: int) -> None:
        self._note(f"{samples} rows")

    def on_epoch_end(self, model: Any, record: dict[str, float]) -> None:
        assert model.epoch == record["epoch"]
        self._note(f"epoch {record['epoch']}")


def new_fit(epochs: int = 2, **there: Any) -> FitState:
    return FitState(first_epoch=0, epochs=epochs, last_epoch=epochs, samples=ROWS, batch_size=SIZE, **there)


def loop_of(model: Adder, fit: FitState, *callbacks: Callback, policy: Policy | None = None, **options: Any) -> Loop:
    source = ResidentSource(BACKEND, (np.arange(ROWS),))
    return Loop(model, fit, source, policy or InOrder(), Callbacks(callbacks), **options)


def losses_of(epoch: int) -> list[float]:
    return [6.0 + 100 * epoch, 22.0 + 100 * epoch, 17.0 + 100 * epoch]


def mean_of(epoch: int) -> float:
    return (4 * 6 + 4 * 22 + 2 * 17) / 10 + 100 * epoch


BATCHES = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
TOLD = ["4 rows", "4 rows", "2 rows"]


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


def test_a_policy_may_bring_a_step_of_its_own() -> None:
    class Stepping(InOrder):
        step = staticmethod(lambda xp, state, batch: (state, {}))

    model = Adder()
    loop_of(model, new_fit(1), policy=Stepping()).run()
    assert model.steps == [Stepping.step] * 3


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
    assert Policy().step is None
