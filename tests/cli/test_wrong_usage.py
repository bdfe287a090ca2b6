"""Wrong usage, wrong data and a disk that cannot be written: one clear line, and an exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chosen import BACKEND
from cli.commands import TABLE, anynet, assert_one_clear_line, trained_table

USAGE = [
    (["train", "mnist", "--backend", "nunpy"], "did you mean 'numpy'"),
    (["train", "mnist", "--backend", "torch:nowhere"], "torch"),
    (["train", "mnist", "--activation", "rellu"], "did you mean 'relu'"),
    (["train", "mnist", "--dtype", "float16"], "did you mean 'float32'|known: float32"),
    (["train", "mnist", "--batch-size", "0"], "batch_size must be a whole number from 1 to 2147483647, but is 0"),
    (["train", "mnist", "--epochs", "0"], "epochs must be a whole number from 1 to 2147483647, but is 0"),
    (["train", "mnist", "--lr", "-1"], "lr must be above 0"),
    (["train", "mnist", "--lr", "nan"], "lr must be above 0 and no more than float32 holds, but is nan"),
    (["train", "mnist", "--lr", "1e39"], "lr must be above 0 and no more than float32 holds, but is 1e"),
    (["train", "mnist", "--momentum", "1"], "momentum must be at least 0 and below 1"),
    (["train", "mnist", "--hidden", "12,x"], "expected whole numbers such as 128,64"),
    (
        ["train", "mnist", "--hidden", "12,0"],
        "hidden must be a list of at most 200 sizes, each a whole number from 1 to 2147483647",
    ),
    (["train", "mnist", "--validation", "1"], "validation must be a share from 0 to below 1, but is 1.0"),
    (["train", "mnist", "--seed", "-3"], "seed must be a whole number from 0 to 9223372036854775807, but is -3"),
    (["train", "circles", "--checkpoint-seconds", "-1"], "checkpoint_seconds must be 0 or more, but is -1"),
    (["train", "circles", "--checkpoint-seconds", "nan"], "checkpoint_seconds must be 0 or more, but is nan"),
    (["train", "--target", "kind"], "tell what to train on"),
    (["bench", "circles", "--seconds", "nan"], "seconds must be above 0 and finite, but is nan"),
    (["bench", "circles", "--seconds", "1e400"], "seconds must be above 0 and finite, but is inf"),
    (["train", "table.csv"], "table.csv needs --target COLUMN"),
    (["train", "--config", "nothing.toml"], "cannot read nothing.toml"),
    (["train", "--config", "wrong_key.toml"], "unknown key 'epoch': did you mean 'epochs'"),
    (
        ["train", "--config", "wrong_type.toml"],
        "wrong_type.toml: epochs must be a whole number from 1 to 2147483647, but is 'many'",
    ),
    (["train", "circles", "--max-bytes", "0"], "max_bytes must be a whole number from 1 to 9223372036854775807"),
    (["train", "circles", "--max-classes", "0"], "max_classes must be a whole number from 1 to 2147483647"),
    (
        ["train", "circles", "--hidden", "100000,1000000"],
        "takes some 3,726 GiB to train, but this machine",
    ),
    (["bench", "circles", "--hidden", "100000,1000000"], "make hidden layers (--hidden, --network) or batches smaller"),
    (["train", "circles", "--hidden", "2147483647,2147483647"], "which is more numbers than an array can hold"),
    (["train", "--config", "no.toml"], "no.toml is no TOML file"),
    (["train", "circles", "--out", "taken"], "taken exists already"),
    (["train", "circles", "--out", "taken", "--overwrite"], "taken is no run folder"),
    (["parity", "--backends", "numpy"], "two backends or more"),
    (["fly"], "unknown command 'fly' (known: train, evaluate"),
    (["trian", "mnist"], "unknown command 'trian': did you mean 'train'?"),
    (["train", "mnist", "--epocs", "3"], "anynet train: unknown option '--epocs': did you mean '--epochs'?"),
    (["train", "mnist", "--epocs=3"], "unknown option '--epocs': did you mean '--epochs'?"),
    (["--jsn", "backends"], "anynet backends: unknown option '--jsn': did you mean '--json'?"),
    ([""], "unknown command ''"),
    (["predict", "--jsn", "run", "new.csv"], "anynet predict: unknown option '--jsn': did you mean '--json'?"),
    (["train", "mnist", "--qq"], "unknown option '--qq' (see anynet train --help)"),
    (["train", "mnist", "circles"], "one argument too many: 'circles'"),
    (["evaluate", "run"], "the following arguments are required: DATA"),
]

DATA = [
    (["train", "mnits"], "did you mean 'mnist'"),
    (["train", "nowhere.csv", "--target", "y"], "cannot read nowhere.csv"),
    (["train", "table.csv", "--target", "knd"], "did you mean 'kind'"),
    (["train", "ragged.csv", "--target", "c"], "line 3: expected 3 columns, but found 2"),
    (["train", "text.csv", "--target", "c"], "line 3: column 'b': expected a finite number, but found 'x'"),
    (["train", "empty.csv", "--target", "c"], "empty.csv is empty"),
    (["train", "negative.npz"], "labels must be 0, 1, 2, ..., but row 1 has -1"),
    (["train", "nan.npz"], "x holds nan in row 1"),
    (["train", "unseen.npz", "--validation", "0.5"], "labels must be 0 to 1, but row 0 has 7"),
    (["train", "nan.npz", "--validation", "0.001"], "x holds nan"),
    (["train", "circles", "--validation", "0.0001"], "a validation share of 0.0001 of 1000 samples is 0"),
    (["train", "short.npz"], "x has 3 rows, but y has 2"),
    (["evaluate", "nowhere", "circles"], "there is no model file"),
    (["evaluate", "run", "mnist"], "takes samples of shape"),
    (["evaluate", "damaged", "table.csv"], "damaged"),
]


# Each is read as far as the files of a run, which cannot be written.
UNWRITABLE = [
    ["train", "circles", "--epochs", "1", "--out", "table.csv/run"],
    ["train", "circles", "--epochs", "1", "--out", "x" * 300],
    ["train", "circles", "--epochs", "1", "--out", "/proc/run"],
    ["train", "--resume", "stopped"],
]


@pytest.fixture
def bad_files() -> None:
    Path("wrong_key.toml").write_text('data = "mnist"\nepoch = 3\n')
    Path("wrong_type.toml").write_text('data = "mnist"\nepochs = "many"\n')
    Path("no.toml").write_text("data = \n")
    Path("taken").mkdir()
    Path("taken/letter.txt").write_text("dear")
    Path("table.csv").write_text(TABLE)
    Path("ragged.csv").write_text("a,b,c\n1,2,3\n1,2\n")
    Path("text.csv").write_text("a,b,c\n1,2,3\n1,x,2\n")
    Path("empty.csv").write_text("")
    np.savez("negative.npz", x=np.ones((3, 2)), y=np.asarray([0, -1, 1]))
    np.savez("nan.npz", x=np.asarray([[1.0], [np.nan], [2.0]]), y=np.asarray([0, 1, 1]))
    np.savez(
        "unseen.npz", x=np.ones((4, 1)), y=np.asarray([0, 1, 0, 1]), x_test=np.ones((1, 1)), y_test=np.asarray([7])
    )
    np.savez("short.npz", x=np.ones((3, 2)), y=np.asarray([0, 1]))


@pytest.mark.parametrize(
    ("arguments", "words"), USAGE, ids=lambda part: " ".join(part) if isinstance(part, list) else ""
)
def test_wrong_usage_is_one_clear_line_and_exit_code_2(
    capsys: Any, bad_files: None, arguments: Any, words: str
) -> None:
    before = sorted(Path().rglob("*"))
    assert anynet(*arguments) == 2
    assert_one_clear_line(capsys, words)
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "words"), DATA, ids=lambda part: " ".join(part) if isinstance(part, list) else ""
)
def test_wrong_data_is_one_clear_line_and_exit_code_3(capsys: Any, bad_files: None, arguments: Any, words: str) -> None:
    if arguments[0] == "evaluate":
        trained_table()
        Path("damaged").mkdir()
        Path("damaged/model.safetensors").write_bytes(Path("run/model.safetensors").read_bytes()[:-5])
    before = sorted(Path().rglob("*"))
    assert anynet(*arguments, "--backend", BACKEND) == 3
    assert_one_clear_line(capsys, words)
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize("arguments", UNWRITABLE, ids=" ".join)
def test_a_disk_that_cannot_be_written_is_one_clear_line_and_exit_code_1(
    capsys: Any, bad_files: None, arguments: list[str]
) -> None:
    if "--resume" in arguments:
        assert anynet("train", "circles", "--epochs", "1", "--backend", BACKEND, "--out", "stopped") == 0
        Path("stopped/model.safetensors").unlink()
        Path("stopped/model.safetensors").mkdir()
        Path("stopped/checkpoints").mkdir()
        capsys.readouterr()
    assert anynet(*arguments, "--backend", BACKEND) == 1
    assert_one_clear_line(capsys, f"anynet train: cannot write {arguments[-1]}")


def test_no_space_for_the_result_is_a_failure_and_nobody_who_reads_it_none(capsys: Any) -> None:
    def said(ends: str) -> tuple[int, str]:
        command = f"{sys.executable} -m anynet backends --json {ends}"
        ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        return ended.returncode, ended.stderr

    assert said("> /dev/full") == (1, "anynet backends: No space left on device\n")
    assert said("| true; exit ${PIPESTATUS[0]}")[1] == ""
    assert said("<&- >&- 2>&-") == (0, "")


def test_what_tensorboard_needs_is_said_before_anything_is_done(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert anynet("train", "nowhere.csv", "--target", "y", "--tensorboard", "--out", "run") == 2
    assert_one_clear_line(capsys, "TensorBoard needs tensorboardX: pip install")
    assert not list(Path().iterdir())


def test_a_precision_that_a_backend_does_not_have_is_wrong_usage(capsys: Any) -> None:
    assert anynet("train", "mnist", "--backend", "numpy", "--precision", "tf32") == 2
    assert "the precision of backend 'numpy' must be float32, but is 'tf32'" in capsys.readouterr().err
