"""The data a command is given: how they are read, what they are taken for, and how much of them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chosen import BACKEND
from cli.commands import anynet, assert_one_clear_line, output_of

from anynet.cli.config import TrainConfig
from anynet.cli.network import network_for
from anynet.cli.task import task_of
from anynet.datasets import Dataset


@pytest.mark.parametrize("source", ["data.npz", "x.npy,y.npy", "images.idx,labels.idx"])
def test_a_persons_own_arrays_are_read(source: str) -> None:
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (60, 4, 4), dtype=np.uint8)
    y = (x.mean(axis=(1, 2)) > 127).astype(np.uint8)
    np.savez("data.npz", x=x, y=y)
    np.save("x.npy", x)
    np.save("y.npy", y)
    Path("images.idx").write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 60, 0, 0, 0, 4, 0, 0, 0, 4]) + x.tobytes())
    Path("labels.idx").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 60]) + y.tobytes())
    assert anynet("train", source, "--backend", BACKEND, "--epochs", "1", "--out", "run") == 0
    assert anynet("evaluate", "run", source) == 0
    assert anynet("predict", "run", source.split(",", maxsplit=1)[0]) == 0


def test_what_is_trained_with_limits_runs_again_with_them(capsys: Any) -> None:
    rows = "".join(f"{i},{'abc'[i % 3]}{i % 1500}\n" for i in range(3000))
    Path("names.csv").write_text("a,y\n" + rows)
    options = ("--backend", BACKEND, "--target", "y", "--hidden", "4", "--epochs", "1", "--validation", "0")
    assert anynet("train", "names.csv", *options) == 3
    assert_one_clear_line(capsys, "column 'y' names more than 1,000 classes")
    assert anynet("train", "names.csv", *options, "--max-classes", "1500", "--max-bytes", "7", "--out", "run") == 0
    kept = tomllib.loads(Path("run/config.toml").read_text())
    assert (kept["max_classes"], kept["max_bytes"]) == (1500, 7)
    assert anynet("train", "--config", "run/config.toml", "--out", "again") == 0


@pytest.mark.parametrize(("options", "kind"), [((), "1 value to predict"), (("--max-classes", "1500"), "1500 classes")])
def test_max_classes_is_how_many_classes_an_array_may_number(capsys: Any, options: tuple[str, ...], kind: str) -> None:
    np.savez("numbers.npz", x=np.random.default_rng(0).normal(size=(1500, 2)), y=np.arange(1500))
    assert (
        anynet(
            "train",
            "numbers.npz",
            "--backend",
            "numpy",
            "--hidden",
            "4",
            "--epochs",
            "1",
            "--validation",
            "0",
            *options,
        )
        == 0
    )
    assert f"network 2-4-{kind.split(maxsplit=1)[0]}; {kind}" in capsys.readouterr().err


def test_max_bytes_is_what_data_may_unpack_to(capsys: Any) -> None:
    np.savez_compressed("data.npz", x=np.random.default_rng(0).normal(size=(60, 2)), y=np.arange(60) % 2)
    assert anynet("train", "data.npz", "--backend", BACKEND, "--epochs", "1", "--out", "run") == 0
    for command in (
        ["train", "data.npz"],
        ["evaluate", "run", "data.npz"],
        ["predict", "run", "data.npz"],
        ["bench", "data.npz"],
    ):
        assert anynet(*command, "--max-bytes", "100") == 3
        assert_one_clear_line(capsys, "claims to unpack to 1,696, but may to 100 at most")


def test_a_constant_column_is_left_at_its_size_whatever_rounding_says(capsys: Any) -> None:
    rows = "".join(f"{i % 7},1.1,{'a' if i % 7 > 3 else 'b'}\n" for i in range(997))
    Path("table.csv").write_text("x,constant,kind\n" + rows)
    trained = ("--backend", BACKEND, "--target", "kind", "--out", "run", "--validation", "0")
    assert anynet("train", "table.csv", *trained) == 0
    Path("new.csv").write_text("x,constant\n6,1.2\n0,1.2\n")
    lines = output_of(capsys, "predict", "run", "new.csv").splitlines()[1:]
    assert [line.split(",")[0] for line in lines] == ["a", "b"]


def test_large_whole_numbers_are_values_and_not_classes(capsys: Any) -> None:
    x = np.random.default_rng(0).normal(size=(100, 2))
    np.savez("prices.npz", x=x, y=(500_000 + 1000 * x[:, 0]).astype(np.int64))
    output_of(capsys, "train", "prices.npz", "--backend", BACKEND, "--epochs", "1")
    np.savez("labels.npz", x=x, y=(x[:, 0] > 0))
    capsys.readouterr()
    assert anynet("train", "labels.npz", "--backend", BACKEND, "--epochs", "1") == 0
    assert "2 classes" in capsys.readouterr().err


def test_columns_that_float32_blurs_are_named(capsys: Any) -> None:
    x = np.random.default_rng(0).uniform(size=(100, 2)) * [1, 100] + [0, 1.7e9]
    np.savez("times.npz", x=x, y=(x[:, 1] > 1.7e9 + 50))
    assert anynet("train", "times.npz", "--backend", BACKEND, "--epochs", "1") == 0
    assert "float32 blurs columns that vary little for their size (1)" in capsys.readouterr().err


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1.0, 1e38])
def test_data_of_any_size_are_described_without_floating_point_errors(size: float) -> None:
    x, y = np.random.default_rng(0).uniform(-1, 1, (2, 60, 2)) * size
    with np.errstate(all="raise"):
        task = task_of(Dataset("some", x, y), None)
        encoded, decoded = task.encode(y), task.decode(task.encode(y))
        task.encode(np.full((1, 2), 1e308))
        network_for(x, task, TrainConfig("some", hidden=(4,)))
    assert np.isfinite(encoded).all()
    np.testing.assert_allclose(decoded, y, rtol=1e-9)


def test_targets_too_large_to_compute_with_are_refused(capsys: Any) -> None:
    Path("table.csv").write_text("a,y\n" + "".join(f"{i},{i}e300\n" for i in range(50)))
    assert anynet("train", "table.csv", "--target", "y", "--backend", BACKEND) == 3
    assert_one_clear_line(capsys, "the target holds 1e+300 in row 1: every value must be between")


@pytest.mark.filterwarnings("default")
def test_data_of_one_class_are_warned_of_in_one_plain_line(capsys: Any) -> None:
    np.savez("data.npz", x=np.random.default_rng(0).normal(size=(60, 2)), y=np.ones(60, int))
    assert anynet("train", "data.npz", "--backend", BACKEND, "--hidden", "4", "--epochs", "1", "--validation", "0") == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "warn" in line.lower()]
    assert lines == [
        "anynet train: warning: all 60 targets are class 1: a network can only learn to predict that always; "
        "are rows of other classes missing?"
    ]
