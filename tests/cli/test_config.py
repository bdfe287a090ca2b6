"""A run's settings as a file: what is read, and what is refused."""

from __future__ import annotations

import os
import time
import tomllib
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from cli.commands import anynet, assert_one_clear_line, trained_table

from anynet.cli.config import TrainConfig, to_toml


def test_options_win_over_the_config_file() -> None:
    trained_table()
    assert anynet("train", "--config", "run/config.toml", "--epochs", "1", "--out", "short") == 0
    assert tomllib.loads(Path("short/config.toml").read_text())["epochs"] == 1
    assert len(Path("short/metrics.jsonl").read_text().splitlines()) == 1


BAD_CONFIGS: dict[str, tuple[bytes, str]] = {
    "a number of 5,000 digits": (b"seed = " + b"9" * 5000, "is no TOML file: "),
    "a hexadecimal number of 5,000 digits": (b"seed = 0x" + b"f" * 5000, "seed must be a whole number from 0 to "),
    "20,000 dotted keys": (b".".join([b"a"] * 20_000) + b" = 1", "has more than 8,192 bytes"),
    # Python 3.14 reads no key of more than 1,000 parts.
    "4,000 dotted keys": (b".".join([b"a"] * 4_000) + b" = 1", "unknown key 'a'|is no TOML file: "),
    "4,000 dotted keys in an option": (
        b"lr." + b".".join([b"a"] * 4_000) + b" = 1",
        "lr must be above 0|is no TOML file: ",
    ),
    "deep nesting": (b"lr = " + b"[" * 8_000, "is no TOML file: maximum recursion depth exceeded"),
    "a date": (
        b"lr = 1979-05-27",
        "lr must be above 0 and no more than float32 holds, but is datetime.date",
    ),
    "a large batch": (
        b"batch_size = " + str(10**20).encode(),
        "batch_size must be a whole number from 1 to 2147483647",
    ),
    "a batch in floats": (b"batch_size = 1e20", "batch_size must be a whole number from 1 to 2147483647, but is 1e"),
    "a batch of yes": (b"batch_size = true", "batch_size must be a whole number from 1 to 2147483647, but is True"),
    "an infinite rate": (b"lr = inf", "lr must be above 0 and no more than float32 holds, but is inf"),
    "a rate of 400 digits": (b"lr = 1" + b"0" * 400, "lr must be above 0 and no more than float32 holds, but is 1000"),
    "a momentum that is none": (b"momentum = nan", "momentum must be at least 0 and below 1, but is nan"),
    "a share of more than all": (b"validation = 1.5", "validation must be a share from 0 to below 1, but is 1.5"),
    "a layer too large": (
        b"hidden = [128, 2147483648]",
        "hidden must be a list of at most 200 sizes, each a whole number",
    ),
    "too many layers": (b"hidden = [" + b"1," * 201 + b"]", "hidden must be a list of at most 200 sizes"),
    "layers of text": (b'hidden = ["128"]', "hidden must be a list of at most 200 sizes"),
    "a network too large": (b"hidden = [100000, 1000000]", "but this machine has"),
    "a network that no array can hold": (
        b"hidden = [2147483647, 2147483647]",
        "more numbers than an array can hold",
    ),
    "text that is a table": (b"data = {}", "data must be text, but is {}"),
    "an activation that is a number": (b"activation = 3", "activation must be text, but is 3"),
    "other bytes than UTF-8": (b'data = "\xff"', "is no TOML file: 'utf-8' codec can't decode byte 0xff"),
    "3 gigabytes": (b"", "has more than 8,192 bytes"),
}


@pytest.mark.parametrize("kind", BAD_CONFIGS)
def test_a_config_that_cannot_be_is_one_clear_line_and_takes_neither_memory_nor_time(capsys: Any, kind: str) -> None:
    content, words = BAD_CONFIGS[kind]
    Path("config.toml").write_bytes(
        b'backend = "numpy"\n' + (b"" if b"data" in content else b'data = "circles"\n') + content
    )
    if kind == "3 gigabytes":
        os.truncate("config.toml", 3_000_000_000)
    started = time.process_time()
    assert anynet("train", "--config", "config.toml") == 2
    assert time.process_time() - started < 2
    assert_one_clear_line(capsys, words)
    tracemalloc.start()
    assert anynet("train", "--config", "config.toml") == 2
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert memory < 96 << 20


def test_a_config_is_a_file(capsys: Any) -> None:
    os.mkfifo("pipe.toml")
    Path("folder.toml").mkdir()
    Path("loop.toml").symlink_to("loop.toml")
    for name, reason in {
        "pipe": "it is no file, but a pipe or a device",
        "folder": "Is a directory",
        "loop": "Too many levels of symbolic links",
    }.items():
        assert anynet("train", "--config", f"{name}.toml") == 2
        assert_one_clear_line(capsys, f"cannot read {name}.toml: {reason}")


def test_a_config_runs_again_from_another_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    trained_table()
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert anynet("train", "--config", "../run/config.toml", "--out", "again") == 0


def test_a_config_is_toml_whatever_its_text_holds() -> None:
    name = 'a "quoted" \\ path\twith \x7f and ünïcode.csv'
    assert tomllib.loads(to_toml(TrainConfig(name, target="y"), "0"))["data"] == name
