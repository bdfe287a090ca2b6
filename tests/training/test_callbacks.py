"""In which order callbacks are told, how they are named, and what the progress bar and TensorBoard show."""

from __future__ import annotations

import io
import itertools
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from anynet.errors import UsageError
from anynet.training import Callback, EarlyStopping, Progress, StopTraining
from anynet.training.callbacks import Callbacks, TensorBoard

RECORD = {"epoch": 3, "loss": 0.5, "val_loss": 1.25, "seconds": 2.34, "samples_per_second": 99.0}


class Teller(Callback):
    """Writes down what it is told, and may fail at it."""

    def __init__(self, mark: str, told: list[Any], error: type[Exception] | None = None) -> None:
        self.mark, self.told, self.error = mark, told, error

    def on_batches_end(self, model: Any, samples: int) -> None:
        self.told.append((self.mark, model, samples))
        if self.error:
            raise self.error

    def on_fit_end(self, model: Any) -> None:
        self.told.append((self.mark, model))
        if self.error:
            raise self.error


class LastTeller(Teller):
    last = True


def test_those_that_are_last_are_told_after_the_others_each_in_its_order() -> None:
    told: list[Any] = []
    tellers = [LastTeller("a", told), Teller("b", told), LastTeller("c", told), Teller("d", told)]
    callbacks = Callbacks(iter(tellers))
    assert callbacks.tell("on_batches_end", "model", 5) is True
    assert told == [(mark, "model", 5) for mark in "bdac"]
    told.clear()
    with callbacks.until_the_end("model"):
        assert told == []
    assert told == [(mark, "model") for mark in "bdac"]
    assert callbacks.given == tellers


def test_all_are_told_of_an_event_at_which_one_stops_training() -> None:
    told: list[Any] = []
    callbacks = Callbacks([Teller("a", told), Teller("b", told, StopTraining), Teller("c", told)])
    assert callbacks.tell("on_batches_end", "model", 5) is False
    with callbacks.until_the_end("model"):
        pass
    assert [mark for mark, *_ in told] == [*"abc"] * 2


def test_all_are_told_of_the_end_though_one_fails() -> None:
    told: list[Any] = []
    callbacks = Callbacks([Teller("a", told, KeyError), Teller("b", told)])
    with pytest.raises(KeyError), callbacks.until_the_end("model"):
        pass
    assert told == [("a", "model"), ("b", "model")]


def test_equal_names_are_told_apart_by_a_number() -> None:
    callbacks = [Callback(), EarlyStopping("loss"), Callback(), Callback(), EarlyStopping(), EarlyStopping("loss")]
    names = ["Callback", "EarlyStopping(loss)", "Callback#2", "Callback#3", "EarlyStopping(val_loss)"]
    expected = dict(zip([*names, "EarlyStopping(loss)#2"], callbacks, strict=True))
    assert Callbacks(callbacks).by_name() == expected
    assert list(Callbacks(callbacks).by_name()) == list(expected)


def test_one_that_overrides_nothing_has_no_name_and_no_state() -> None:
    plain = Callback()
    assert (plain.last, plain.name, plain.state_dict()) == (False, "", {})
    assert plain.load_state_dict({}) is None


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def model(epoch: int = 2, rows: int | None = None) -> Any:
    return SimpleNamespace(epoch=epoch, fit_state=None if rows is None else SimpleNamespace(rows=rows))


@pytest.fixture
def progress_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Progress]]:
    """Makes progress bars, for which a second goes by whenever they ask for the time, so that they draw each time."""
    monkeypatch.setattr("tqdm.std.time", itertools.count(1.0).__next__)
    monkeypatch.setenv("COLUMNS", "60")
    # No thread that looks after bars that stand still.
    monkeypatch.setattr("tqdm.tqdm.monitor_interval", 0)
    made: list[Progress] = []

    def make(*stream: Any) -> Progress:
        made.append(Progress(*stream))
        return made[-1]

    yield make
    # A bar that is left open moves the next one down.
    for progress in made:
        progress.on_fit_end(model())


def bars(terminal: Terminal) -> list[str]:
    return [line for line in re.split("[\r\n]", terminal.getvalue()) if "%|" in line]


class TestProgress:
    def test_a_bar_names_the_epoch_and_shows_its_share_and_rate(self, progress_on: Any) -> None:
        terminal = Terminal()
        progress = progress_on(terminal)
        progress.on_fit_begin(model(), 5, 60_000)
        assert terminal.getvalue() == "each step: forward, loss, backward, update\n"
        progress.on_batches_end(model(), 15_000)
        progress.on_batches_end(model(), 15_000)
        found = bars(terminal)
        assert [re.sub(r"\|.*\| [\d.]*", "|", bar) for bar in found] == [
            "epoch 3/7   0%|? samples/s",
            "epoch 3/7  25%|k samples/s",
            "epoch 3/7  50%|k samples/s",
        ]
        assert {len(bar) for bar in found} == {60}

    def test_a_training_that_goes_on_begins_where_it_was_and_the_next_epoch_at_nothing(self, progress_on: Any) -> None:
        terminal = Terminal()
        progress = progress_on(terminal)
        progress.on_fit_begin(model(rows=30), 5, 40)
        progress.on_batches_end(model(), 10)
        progress.on_epoch_end(model(3), RECORD)
        progress.on_batches_end(model(3), 10)
        assert [bar.partition("|")[0] for bar in bars(terminal)] == [
            "epoch 3/7  75%",
            "epoch 3/7 100%",
            "epoch 4/7   0%",
            "epoch 4/7  25%",
        ]

    def test_a_bar_makes_room_for_the_line_of_its_epoch(self, progress_on: Any) -> None:
        terminal = Terminal()
        progress = progress_on(terminal)
        progress.on_fit_begin(model(), 5, 40)
        progress.on_batches_end(model(), 40)
        progress.on_epoch_end(model(3), RECORD)
        *_, wiped, line = terminal.getvalue().split("\r")
        assert wiped.strip() == ""
        assert line == "epoch 3/7: loss 0.5000, val_loss 1.2500 (2.3 s)\n"

    def test_a_bar_does_not_stay_after_an_epoch_that_was_broken_off(self, progress_on: Any) -> None:
        terminal = Terminal()
        progress = progress_on(terminal)
        progress.on_fit_begin(model(), 5, 40)
        progress.on_batches_end(model(), 10)
        for _ in range(2):
            progress.on_fit_end(model())
            assert terminal.getvalue().endswith(f"\r{' ' * 60}\r")

    def test_a_file_gets_nothing_but_a_line_for_each_epoch_at_once(self, progress_on: Any) -> None:
        raw = io.BytesIO()
        progress = progress_on(io.TextIOWrapper(raw, encoding="utf-8"))
        progress.on_fit_begin(model(), 5, 40)
        progress.on_batches_end(model(), 40)
        progress.on_epoch_end(model(3), RECORD)
        assert raw.getvalue().decode() == "epoch 3/7: loss 0.5000, val_loss 1.2500 (2.3 s)\n"

    def test_on_a_terminal_what_a_step_does_is_said_at_once(self, progress_on: Any) -> None:
        class Slow(io.TextIOWrapper):
            def isatty(self) -> bool:
                return True

        raw = io.BytesIO()
        # The terminal has to live as long as its bytes are looked at.
        terminal = Slow(raw, encoding="utf-8")
        progress_on(terminal).on_fit_begin(model(), 5, 40)
        assert raw.getvalue().decode() == "each step: forward, loss, backward, update\n"

    def test_it_is_last_and_prints_to_stderr_if_nothing_else_is_said(self, progress_on: Any, capsys: Any) -> None:
        progress = progress_on()
        progress.on_fit_begin(model(), 5, 40)
        progress.on_epoch_end(model(3), RECORD)
        assert capsys.readouterr().err == "epoch 3/7: loss 0.5000, val_loss 1.2500 (2.3 s)\n"
        assert progress.last

    @pytest.mark.parametrize(("columns", "width"), [(44, 44), (0, 60)])
    def test_a_bar_is_as_wide_as_its_terminal(
        self, columns: int, width: int, progress_on: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Numbered(Terminal):
            def fileno(self) -> int:
                return 77

        def size(number: int) -> os.terminal_size:
            return os.terminal_size((columns, 24) if number == 77 else (99, 24))

        monkeypatch.setattr(os, "get_terminal_size", size)
        terminal = Numbered()
        progress = progress_on(terminal)
        progress.on_fit_begin(model(), 5, 40)
        progress.on_batches_end(model(), 40)
        assert {len(bar) for bar in bars(terminal)} == {width}


class Writer:
    """What TensorBoard's library is told."""

    def __init__(self, folder: str) -> None:
        self.told: list[Any] = [folder]

    def add_scalar(self, *arguments: Any) -> None:
        self.told.append(arguments)

    def flush(self) -> None:
        self.told.append("flush")

    def close(self) -> None:
        self.told.append("close")


def test_tensorboard_is_told_every_number_of_a_record_but_the_epoch_which_is_its_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Writer] = []

    def make(folder: str) -> Writer:
        made.append(Writer(folder))
        return made[-1]

    monkeypatch.setitem(sys.modules, "tensorboardX", SimpleNamespace(SummaryWriter=make))
    board = TensorBoard(Path("folder"))
    board.on_epoch_end(model(3), RECORD)
    board.on_fit_end(model(3))
    numbers = [(name, value, 3) for name, value in RECORD.items() if name != "epoch"]
    assert made[0].told == ["folder", *numbers, "flush", "close"]
    assert board.last


def test_tensorboard_without_its_library_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(UsageError, match=r"^TensorBoard needs tensorboardX: pip install '\.\[tensorboard\]'$"):
        TensorBoard("folder")
