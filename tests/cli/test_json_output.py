"""What is printed, and for whom: bars for a terminal, plain lines for a file, help for a person."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
import warnings
from typing import Any

import pytest
from chosen import BACKEND
from cli.commands import anynet

from anynet import Model
from anynet.nn import SGD, Linear, MSELoss
from anynet.training import Progress


def test_a_terminal_gets_a_bar_and_a_file_plain_lines() -> None:
    command = [sys.executable, "-m", "anynet", "train", "circles", "--backend", BACKEND, "--epochs", "2"]
    plain = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert "\r" not in plain
    assert plain.count("epoch ") == 2
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    with subprocess.Popen(command, stderr=inner, stdout=subprocess.DEVNULL) as process:
        os.close(inner)
        seen = b""
        while chunk := _read(outer):
            seen += chunk
    assert process.returncode == 0
    assert seen.count(b"forward, loss, backward, update") == 1
    bars = [line for line in re.split("[\r\n]", seen.decode()) if "%|" in line]
    assert {len(bar) for bar in bars} == {60}


@pytest.mark.parametrize("columns", [80, 40])
def test_a_bar_and_its_rate_have_room_on_a_narrow_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", str(columns))
    terminal = Terminal()
    progress, model = Progress(terminal), Model(Linear(1), MSELoss(), SGD(1e-3))
    progress.on_fit_begin(model, 100, 60_000)
    progress.on_batches_end(model, 0)
    # It is drawn ten times a second.
    time.sleep(0.11)
    progress.on_batches_end(model, 30_000)
    progress.on_fit_end(model)
    bars = [line for line in re.split("[\r\n]", terminal.getvalue()) if "%|" in line]
    assert {len(bar) for bar in bars} == {columns}
    assert re.fullmatch(r"epoch 1/100  50%\|#+\d? +\| [\d.]+k samples/s", bars[-1])


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""


def test_a_warning_is_one_plain_line(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(arguments: Any) -> int:
        warnings.warn("the wind\n is rising", stacklevel=1)
        return 0

    monkeypatch.setattr("anynet.cli.backends.run", run)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert anynet("backends") == 0
    assert capsys.readouterr().err == "anynet backends: warning: the wind is rising\n"


@pytest.mark.parametrize("command", ["", "train", "evaluate", "predict", "backends", "parity", "gradcheck"])
def test_help_names_every_option_with_a_sentence(capsys: Any, command: str) -> None:
    assert anynet(*filter(None, [command]), "--help") == 0
    assert len(capsys.readouterr().out) > 200
