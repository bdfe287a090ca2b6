"""The folder of a run: what is in it, and what happens to what was there."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chosen import BACKEND
from cli.commands import TRAIN, anynet, records, started, weights

from anynet.cli import run_folder
from anynet.model import atomic_files, model_file


def test_a_run_tells_what_it_ran_on() -> None:
    anynet(*TRAIN, "--epochs", "1", "--out", "run")
    assert json.loads(Path("run/env.json").read_text())["numpy"] == np.__version__


def test_tensorboard_is_told_of_every_epoch_when_it_is_asked_for() -> None:
    anynet(*TRAIN, "--epochs", "2", "--out", "run", "--tensorboard")
    (events,) = Path("run/tensorboard").iterdir()
    assert events.read_bytes().count(b"val_loss") == 2


class TestRunFolder:
    """A run is written nowhere but in its own folder, and one that is replaced is there until the new one is."""

    def test_links_are_not_followed_out_of_it(self, capsys: Any) -> None:
        Path("elsewhere").write_text("mine")
        Path("mine").mkdir()
        assert anynet(*TRAIN, "--epochs", "1", "--out", "run") == 0
        Path("run/model.safetensors").unlink()
        for name in ("metrics.jsonl", "curves.png", "model.safetensors"):
            Path("run", name).unlink(missing_ok=True)
            Path("run", name).symlink_to(Path("elsewhere").resolve())
        Path("run/model.safetensors").unlink()
        assert anynet("train", "--resume", "run") == 0
        assert Path("elsewhere").read_text() == "mine"
        assert not any(path.is_symlink() for path in Path("run").iterdir())
        Path("run/model.safetensors").unlink()
        Path("run/checkpoints").symlink_to(Path("mine").resolve())
        assert anynet("train", "--resume", "run") == 2
        assert "is a link; a run is written nowhere but in its own folder" in capsys.readouterr().err
        assert not list(Path("mine").iterdir())

    @pytest.mark.parametrize("exchanges", [True, False], ids=["at once", "one after the other"])
    def test_replacing_keeps_what_a_person_put_there_and_sweeps_what_was_left(
        self, exchanges: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not exchanges:
            monkeypatch.setattr(atomic_files, "_exchanged_by_the_system", lambda one, other: False)
        assert anynet(*TRAIN, "--epochs", "1", "--out", "run") == 0
        Path("run/notes").mkdir()
        Path("run/notes/today.txt").write_text("mine")
        Path(".run.0123.new").mkdir()
        before = weights("run")
        assert anynet(*TRAIN, "--epochs", "2", "--out", "run", "--overwrite") == 0
        assert weights("run") != before
        assert len(records("run")) == 2
        assert Path("run/notes/today.txt").read_text() == "mine"
        assert [path.name for path in Path().iterdir()] == ["run"]

    @pytest.mark.parametrize("name", ["run", "link"])
    @pytest.mark.parametrize("command", ["train --resume {}", "evaluate {} circles"])
    def test_where_the_system_cannot_exchange_a_kill_in_between_is_mended_by_the_next_command(
        self, command: str, name: str
    ) -> None:
        assert anynet(*TRAIN, "--epochs", "1", "--out", "run") == 0
        Path("link").symlink_to("run")
        if "--resume" in command:
            Path("run/model.safetensors").unlink()
        Path("run").rename(".run.old")
        assert anynet(*command.format(name).split()) == 0

    def test_who_reads_leaves_an_exchange_alone_that_goes_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        usual = os.rename

        def watched(*names: Path) -> None:
            usual(*names)
            atomic_files.restore(Path("run"))

        assert anynet(*TRAIN, "--epochs", "1", "--out", "run") == 0
        monkeypatch.setattr(atomic_files, "_exchanged_by_the_system", lambda one, other: False)
        monkeypatch.setattr(os, "rename", watched)
        assert anynet(*TRAIN, "--epochs", "2", "--out", "run", "--overwrite") == 0
        assert len(records("run")) == 2
        assert [path.name for path in Path().iterdir()] == ["run"]

    def test_a_run_may_be_the_folder_one_is_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert anynet(*TRAIN, "--epochs", "1", "--out", "run") == 0
        monkeypatch.chdir("run")
        assert anynet("evaluate", ".", "circles", "--backend", BACKEND) == 0

    def test_an_exchange_that_is_going_on_is_left_alone_by_who_reads(self) -> None:
        assert anynet(*TRAIN, "--epochs", "1", "--out", "run") == 0
        Path("run").rename(".run.old")
        with atomic_files.locked(Path(".run.old")):
            assert anynet("evaluate", "run", "circles", "--backend", BACKEND) == 3
        assert Path(".run.old").is_dir()

    def test_a_kill_after_the_exchange_leaves_nothing_in_the_way(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(atomic_files, "_exchanged_by_the_system", lambda one, other: False)
        for name in ("run", ".run.old"):
            assert anynet(*TRAIN, "--epochs", "1", "--out", name) == 0
        assert anynet(*TRAIN, "--epochs", "2", "--out", "run", "--overwrite") == 0
        assert [path.name for path in Path().iterdir()] == ["run"]

    def test_a_run_that_cannot_replace_another_is_kept_beside_it(self, capsys: Any) -> None:
        assert anynet(*TRAIN, "--epochs", "1", "--out", "run") == 0
        os.mkfifo("run/pipe")
        Path("run/folder").mkdir()
        os.mkfifo("run/folder/pipe")
        assert anynet(*TRAIN, "--epochs", "2", "--out", "run", "--overwrite") == 1
        assert "the new run is in run-" in capsys.readouterr().err
        assert len(records("run")) == 1
        (other,) = Path().glob("run-*")
        assert len(records(str(other))) == 2

    def test_a_leftover_that_another_process_clears_away_first_is_no_error(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usual = atomic_files.locked

        def cleared(folder: Path) -> Any:
            shutil.rmtree(folder) if folder.name == ".run.0123.new" else None
            return usual(folder)

        Path(".run.0123.new").mkdir()
        monkeypatch.setattr(atomic_files, "locked", cleared)
        assert anynet(*TRAIN, "--epochs", "1", "--out", "run") == 0

    def test_a_folder_that_another_process_is_clearing_away_is_made_anew(self, monkeypatch: pytest.MonkeyPatch) -> None:
        usual, taken = atomic_files.locked, []

        def locked(folder: Path) -> Any:
            if folder.suffix == ".new" and not taken:
                taken.append(folder)
                raise BlockingIOError
            return usual(folder)

        monkeypatch.setattr(atomic_files, "locked", locked)
        assert anynet(*TRAIN, "--epochs", "1", "--out", "run") == 0
        assert taken

    def test_a_free_name_that_another_process_takes_at_once_is_passed_over(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usual = run_folder._free_path

        def free_path(name: str) -> Path:
            path = usual(name)
            monkeypatch.setattr(run_folder, "_free_path", usual)
            shutil.copytree(Path("other"), path)
            return path

        assert anynet(*TRAIN, "--epochs", "1", "--out", "other") == 0
        monkeypatch.setattr(run_folder, "_free_path", free_path)
        assert anynet(*TRAIN, "--epochs", "1") == 0
        assert sorted(path.name for path in Path("runs").iterdir()) == ["circles-1", "circles-2"]

    def test_a_measure_that_a_checkpoint_does_not_know_is_null(self) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("anynet.cli.run_folder.RunFolder.on_epoch_end", lambda *_: signal.raise_signal(signal.SIGINT))
            assert anynet(*TRAIN, "--out", "run") == 130
        Path("run/model.safetensors").unlink()
        (path,) = Path("run/checkpoints").iterdir()
        arrays, description = model_file.read(path)
        description["course"]["history"][0]["mine"] = float("inf")
        model_file.write(path, arrays, description)
        assert anynet("train", "--resume", "run") == 0
        assert '"mine": null' in Path("run/metrics.jsonl").read_text().splitlines()[0]

    def test_runs_without_a_name_that_begin_at_once_take_different_ones(self) -> None:
        first, second = started(*TRAIN, "--epochs", "2"), started(*TRAIN, "--epochs", "2")
        for process in (first, second):
            process.communicate(timeout=120)
            assert process.returncode == 0
        assert sorted(path.name for path in Path("runs").iterdir()) == ["circles-1", "circles-2"]

    def test_a_measure_with_another_name_is_drawn_too(self) -> None:
        from anynet.cli.run_folder import _curves

        history = [{"epoch": i, "loss": 1.0, "val_top5_accuracy": 0.5, "seconds": 0.1} for i in (1.0, 2.0)]
        assert _curves(history).startswith(b"\x89PNG")
        assert _curves([{"epoch": 1.0, "seconds": 0.1}]) == b""
