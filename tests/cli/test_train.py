"""Training from the command line: what it takes, what it leaves behind, and how it ends."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from chosen import BACKEND
from cli.commands import TABLE, anynet, output_of, trained_table


@pytest.mark.host
def test_mnist_with_no_options_but_five_epochs_reaches_97_and_a_half_percent(capsys: Any) -> None:
    result = json.loads(output_of(capsys, "train", "mnist", "--backend", BACKEND, "--epochs", "5", "--json"))
    assert result["test_accuracy"] >= 0.975
    assert {path.name for path in Path("runs/mnist-1").iterdir()} >= {
        "config.toml",
        "metrics.jsonl",
        "model.safetensors",
    }
    assert json.loads(output_of(capsys, "evaluate", "runs/mnist-1", "mnist", "--json"))["accuracy"] == pytest.approx(
        result["test_accuracy"]
    )


def test_a_run_folder_holds_what_it_takes_to_run_again_exactly() -> None:
    trained_table()
    assert anynet("train", "--config", "run/config.toml", "--out", "again") == 0
    assert Path("again/model.safetensors").read_bytes() == Path("run/model.safetensors").read_bytes()
    records = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == list(range(1, 21))
    assert Path("run/curves.png").read_bytes().startswith(b"\x89PNG")


def test_every_backend_can_be_named(backend_name: str) -> None:
    assert anynet("train", "circles", "--backend", backend_name, "--epochs", "1", "--out", "run") == 0


def test_auto_says_what_it_chose_and_why(capsys: Any) -> None:
    assert anynet("train", "circles", "--epochs", "1") == 0
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith(("backend numpy", "backend cupy"))
    assert "(auto: " in first


def test_ctrl_c_keeps_what_was_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    from anynet.training import Progress

    def interrupt(self: Any, model: Any, record: dict[str, float]) -> None:
        if record["epoch"] == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "on_epoch_end", interrupt)
    assert anynet("train", "circles", "--backend", BACKEND, "--epochs", "50", "--out", "run") == 130
    assert Path("run/model.safetensors").is_file()
    assert len(Path("run/metrics.jsonl").read_text().splitlines()) == 3


def test_a_clock_that_stands_still_spoils_no_run(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: 5.0)
    monkeypatch.setattr(time, "time", lambda: 5.0)
    result = json.loads(output_of(capsys, "train", "circles", "--backend", BACKEND, "--epochs", "2", "--json"))
    assert "samples_per_second" not in result
    assert anynet("bench", "circles", "--backends", "numpy", "--hidden", "4") == 1
    assert "the clock of this machine stands still" in capsys.readouterr().err


def test_a_run_that_fails_leaves_the_one_it_was_to_replace(capsys: Any) -> None:
    trained_table()
    before = {path.name: path.read_bytes() for path in Path("run").iterdir()}
    options = ("--backend", BACKEND, "--lr", "1e30", "--out", "run", "--overwrite", "--target", "kind")
    assert anynet("train", "table.csv", *options) == 1
    assert {path.name: path.read_bytes() for path in Path("run").iterdir()} == before
    assert sorted(path.name for path in Path().iterdir()) == ["run", "table.csv"]


def test_overwrite_replaces_a_run_and_leaves_other_files_alone() -> None:
    trained_table()
    Path("run/notes.txt").write_text("mine")
    trained_table("--overwrite", "--seed", "5")
    assert tomllib.loads(Path("run/config.toml").read_text())["seed"] == 5
    assert Path("run/notes.txt").read_text() == "mine"


def test_diverging_training_is_a_failure_with_advice(capsys: Any) -> None:
    Path("line.csv").write_text("a,b\n" + "".join(f"{i},{i * 1.5}\n" for i in range(50)))
    options = ("--backend", BACKEND, "--lr", "1e9", "--epochs", "9")
    assert anynet("train", "line.csv", "--target", "b", *options) == 1
    assert "try a smaller learning rate" in capsys.readouterr().err


@pytest.mark.host
class TestCiTrain:
    """What a person means by its arguments."""

    @pytest.fixture(autouse=True)
    def in_a_checkout_that_is_installed(self) -> None:
        Path("ci").mkdir()
        shutil.copy(Path(__file__).parents[2] / "ci" / "train", "ci")
        anynet = Path(".venv/bin/anynet")
        anynet.parent.mkdir(parents=True)
        anynet.write_text(f'#!/bin/sh\nexec {sys.executable} -m anynet "$@"\n')
        anynet.chmod(0o755)

    def said(self, *arguments: str) -> str:
        ended = subprocess.run(["ci/train", *arguments], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout + ended.stderr

    def test_trains_on_mnist_where_nothing_else_is_named(self) -> None:
        assert "60000 samples" in self.said("--epochs", "1", "--hidden", "2", "--batch-size", "1024")

    def test_and_else_on_that(self) -> None:
        Path("table.csv").write_text(TABLE)
        options = ("--epochs", "1", "--backend", BACKEND)
        assert "2 classes" in self.said("table.csv", "--target", "kind", *options, "--out", "one")
        assert "2 classes" in self.said(*options, "--out", "two", "--target", "kind", "table.csv")
        for config in (("--config", "one/config.toml"), ("--config=one/config.toml",)):
            assert "2 classes" in self.said(*config)
        Path("one/model.safetensors").unlink()
        assert "2 classes" in self.said("--resume", "one")
        Path("two/model.safetensors").unlink()
        assert "2 classes" in self.said("--resume=two")

    @pytest.mark.parametrize("option", ["-h", "--help"])
    def test_or_explains_itself(self, option: str) -> None:
        assert "--epochs N" in self.said(option)
