"""What the tests of the command line share: commands, the runs that they make, and what they say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chosen import BACKEND

from anynet import Model
from anynet.cli import main

TABLE = "height,width,kind\n" + "".join(
    f"{a},{b},{'tall' if a > b else 'wide'}\n" for a, b in np.random.default_rng(0).normal(5, 2, (200, 2)).round(3)
)
TRAIN = ("train", "circles", "--backend", BACKEND, "--epochs", "40", "--hidden", "16", "--batch-size", "16")


def anynet(*arguments: str) -> int:
    try:
        return main(arguments)
    except SystemExit as exit_:
        return int(exit_.code or 0)


def output_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert anynet(*arguments) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def assert_one_clear_line(capsys: Any, words: str) -> None:
    said = ("backend ", "network ", "epoch ", "stopped has no checkpoint yet")
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith(said)]
    assert len(lines) == 1, lines
    assert any(either in lines[0] for either in words.split("|")), lines


def trained_table(*options: str) -> None:
    Path("table.csv").write_text(TABLE)
    options = ("--backend", BACKEND, "--hidden", "8", "--epochs", "20", "--out", "run", *options)
    assert anynet("train", "table.csv", "--target", "kind", *options) == 0


def started(*arguments: str) -> subprocess.Popen[str]:
    # A program that runs in the background may have been told to ignore SIGINT.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from anynet.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE, text=True)


def weights(run: str) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in Model.load(Path(run, "model.safetensors")).parameters.items()}


def records(run: str) -> list[dict[str, float]]:
    found = [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]
    return [{key: r[key] for key in r if key not in ("seconds", "samples_per_second")} for r in found]
