"""The command line as a person meets it: what it prints, what it leaves behind, and how it fails."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import shutil
import statistics
import struct
import subprocess
import sys
import termios
import time
import tomllib
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chosen import BACKEND

from anynet import Model
from anynet.cli import main
from anynet.cli.config import TrainConfig, to_toml
from anynet.cli.network import network_for
from anynet.cli.task import task_of
from anynet.datasets import Dataset
from anynet.nn import SGD, Linear, MSELoss
from anynet.training import Progress

TABLE = "height,width,kind\n" + "".join(
    f"{a},{b},{'tall' if a > b else 'wide'}\n" for a, b in np.random.default_rng(0).normal(5, 2, (200, 2)).round(3)
)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def anynet(*arguments: str) -> int:
    try:
        return main(arguments)
    except SystemExit as exit_:
        return int(exit_.code or 0)


def output_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert anynet(*arguments) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def trained_table(*options: str) -> None:
    Path("table.csv").write_text(TABLE)
    options = ("--backend", BACKEND, "--hidden", "8", "--epochs", "20", "--out", "run", *options)
    assert anynet("train", "table.csv", "--target", "kind", *options) == 0


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


def test_options_win_over_the_config_file() -> None:
    trained_table()
    assert anynet("train", "--config", "run/config.toml", "--epochs", "1", "--out", "short") == 0
    assert tomllib.loads(Path("short/config.toml").read_text())["epochs"] == 1
    assert len(Path("short/metrics.jsonl").read_text().splitlines()) == 1


def test_class_names_come_back_in_predictions(capsys: Any) -> None:
    trained_table()
    result = json.loads(output_of(capsys, "evaluate", "run", "table.csv", "--json"))
    assert result["accuracy"] > 0.9
    Path("new.csv").write_text("width,height,remark\n1,9,x\n9,1,y\n")
    lines = output_of(capsys, "predict", "run", "new.csv").splitlines()
    assert lines[0] == "class,probability"
    assert [line.split(",")[0] for line in lines[1:]] == ["tall", "wide"]


def test_values_are_predicted_in_their_own_units(capsys: Any) -> None:
    x = np.random.default_rng(1).normal(1000, 50, (300, 2))
    rows = "".join(f"{a},{b},{3e6 + 1e4 * (a - b)}\n" for a, b in x)
    Path("prices.csv").write_text("a,b,price\n" + rows)
    options = ("--backend", BACKEND, "--hidden", "16", "--epochs", "60", "--out", "run", "--json", "--lr", "0.05")
    result = json.loads(output_of(capsys, "train", "prices.csv", "--target", "price", *options))
    assert result["validation_r2"] > 0.99
    Path("new.csv").write_text("a,b\n1050,1000\n")
    header, value = output_of(capsys, "predict", "run", "new.csv").splitlines()
    assert header == "price"
    assert float(value) == pytest.approx(3.5e6, rel=0.02)


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


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid:RuntimeWarning")
@pytest.mark.parametrize("labels", [False, True])
def test_what_is_no_number_is_null_in_json(capsys: Any, labels: bool) -> None:
    x = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    y = x[:, 0] > 0 if labels else x[:, 0]
    np.savez("data.npz", x=x, y=y, x_test=np.concatenate([x[:1], x[1:2] * 0 + 3e38]), y_test=y[:2])

    def said(*arguments: str) -> Any:
        return json.loads(output_of(capsys, *arguments, "--backend", BACKEND, "--json"), parse_constant=pytest.fail)

    result = said("train", "data.npz", "--hidden", "4", "--epochs", "1", "--validation", "0.2", "--out", "run")
    assert result["test_loss"] is None
    assert result["validation_loss"] > 0
    name = "probability" if labels else "prediction"
    first, second = (row[name] for row in said("predict", "run", "data.npz"))
    assert isinstance(first, float)
    assert second is None


def test_every_backend_can_be_named(backend_name: str) -> None:
    assert anynet("train", "circles", "--backend", backend_name, "--epochs", "1", "--out", "run") == 0


def test_auto_says_what_it_chose_and_why(capsys: Any) -> None:
    assert anynet("train", "circles", "--epochs", "1") == 0
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith(("backend numpy", "backend cupy"))
    assert "(auto: " in first


def test_backends_tells_what_is_missing_and_how_to_install_it(capsys: Any) -> None:
    report = json.loads(output_of(capsys, "backends", "--json"))
    for row in report["backends"]:
        assert row["usable"] or "cannot be used here" in row["reason"]
        assert row["usable"] or "pip install" in row["reason"] or "nvidia-smi" in row["reason"]
    assert "auto is " in output_of(capsys, "backends")


def test_parity_compares_all_backends_here_and_agrees(capsys: Any, request: pytest.FixtureRequest) -> None:
    table = output_of(capsys, "parity")
    assert "training curve" in table
    assert "All agree with numpy." in table


def test_parity_fails_on_a_difference(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from anynet.checks import parity

    monkeypatch.setitem(parity.TOLERANCES, "float32", (-1.0, 1e-4))
    assert anynet("parity", "--backends", "numpy,strict") == 1
    assert "differ by more than the tolerance" in capsys.readouterr().out


def test_gradcheck_checks_every_layer_and_loss(capsys: Any) -> None:
    assert "All gradients are right" in output_of(capsys, "gradcheck", "--backend", BACKEND)


def test_ctrl_c_keeps_what_was_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    from anynet.training import Progress

    def interrupt(self: Any, model: Any, record: dict[str, float]) -> None:
        if record["epoch"] == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "on_epoch_end", interrupt)
    assert anynet("train", "circles", "--backend", BACKEND, "--epochs", "50", "--out", "run") == 130
    assert Path("run/model.safetensors").is_file()
    assert len(Path("run/metrics.jsonl").read_text().splitlines()) == 3


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
        ["train", "circles", "--hidden", "2147483647,2147483647"],
        "takes some 171,798,692,160 GiB to train, but this machine",
    ),
    (["bench", "circles", "--hidden", "2147483647,2147483647"], "make hidden layers smaller"),
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


BAD_CONFIGS: dict[str, tuple[bytes, str]] = {
    "a number of 5,000 digits": (b"seed = " + b"9" * 5000, "is no TOML file: "),
    "a hexadecimal number of 5,000 digits": (b"seed = 0x" + b"f" * 5000, "seed must be a whole number from 0 to "),
    "20,000 dotted keys": (b".".join([b"a"] * 20_000) + b" = 1", "has more than 8,192 bytes"),
    "4,000 dotted keys": (b".".join([b"a"] * 4_000) + b" = 1", "unknown key 'a'"),
    "4,000 dotted keys in an option": (b"lr." + b".".join([b"a"] * 4_000) + b" = 1", "lr must be above 0"),
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
    "a network too large": (b"hidden = [2147483647, 2147483647]", "but this machine has"),
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


def assert_one_clear_line(capsys: Any, words: str) -> None:
    said = ("backend ", "network ", "epoch ", "stopped has no checkpoint yet")
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith(said)]
    assert len(lines) == 1, lines
    assert any(either in lines[0] for either in words.split("|")), lines


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


def test_a_warning_is_one_plain_line(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(arguments: Any) -> int:
        warnings.warn("the wind\n is rising", stacklevel=1)
        return 0

    monkeypatch.setattr("anynet.cli.backends.run", run)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert anynet("backends") == 0
    assert capsys.readouterr().err == "anynet backends: warning: the wind is rising\n"


def test_what_tensorboard_needs_is_said_before_anything_is_done(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert anynet("train", "nowhere.csv", "--target", "y", "--tensorboard", "--out", "run") == 2
    assert_one_clear_line(capsys, "TensorBoard needs tensorboardX: pip install")
    assert not list(Path().iterdir())


def test_a_clock_that_stands_still_spoils_no_run(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: 5.0)
    monkeypatch.setattr(time, "time", lambda: 5.0)
    result = json.loads(output_of(capsys, "train", "circles", "--backend", BACKEND, "--epochs", "2", "--json"))
    assert "samples_per_second" not in result
    assert anynet("bench", "circles", "--backends", "numpy", "--hidden", "4") == 1
    assert "the clock of this machine stands still" in capsys.readouterr().err


METADATA: dict[str, dict[str, Any]] = {
    "its classes is 'ab': expected a list of texts": {"classes": "ab"},
    "its classes is [1, 2]: expected a list of texts": {"classes": [1, 2]},
    "it has 3 classes, but the network 2": {"classes": ["a", "b", "c"]},
    "values are not what CrossEntropyLoss is for": {"classes": [], "mean": [0.0, 0.0], "scale": [1.0, 1.0]},
    "its mean holds nan: expected a finite number": {"mean": [float("nan")]},
    "its scale holds 0: expected a number above 0": {"scale": [0]},
    "its mean is None: expected a list": {"mean": None},
    "it has 1 features, but the network 2": {"features": ["height"]},
    "its features is 3: expected a list of texts, or null": {"features": 3},
    "its target is ['kind']: expected a text, or null": {"target": ["kind"]},
    "was not made by `anynet train`": {"more": 1},
}


@pytest.mark.parametrize("words", METADATA)
@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_what_a_model_file_says_of_its_outputs_is_looked_at(capsys: Any, command: str, words: str) -> None:
    trained_table("--epochs", "1")
    model = Model.load("run/model.safetensors")
    model.metadata |= METADATA[words]
    model.save("run/model.safetensors")
    capsys.readouterr()
    assert anynet(command, "run", "table.csv", "--backend", BACKEND) == 3
    assert_one_clear_line(capsys, words)


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


def test_a_run_that_fails_leaves_the_one_it_was_to_replace(capsys: Any) -> None:
    trained_table()
    before = {path.name: path.read_bytes() for path in Path("run").iterdir()}
    options = ("--backend", BACKEND, "--lr", "1e30", "--out", "run", "--overwrite", "--target", "kind")
    assert anynet("train", "table.csv", *options) == 1
    assert {path.name: path.read_bytes() for path in Path("run").iterdir()} == before
    assert sorted(path.name for path in Path().iterdir()) == ["run", "table.csv"]


def test_a_config_runs_again_from_another_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    trained_table()
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert anynet("train", "--config", "../run/config.toml", "--out", "again") == 0


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


def test_overwrite_replaces_a_run_and_leaves_other_files_alone() -> None:
    trained_table()
    Path("run/notes.txt").write_text("mine")
    trained_table("--overwrite", "--seed", "5")
    assert tomllib.loads(Path("run/config.toml").read_text())["seed"] == 5
    assert Path("run/notes.txt").read_text() == "mine"


def test_a_config_is_toml_whatever_its_text_holds() -> None:
    name = 'a "quoted" \\ path\twith \x7f and ünïcode.csv'
    assert tomllib.loads(to_toml(TrainConfig(name, target="y"), "0"))["data"] == name


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1.0, 1e38])
def test_data_of_any_size_are_described_without_floating_point_errors(size: float) -> None:
    x, y = np.random.default_rng(0).uniform(-1, 1, (2, 60, 2)) * size
    with np.errstate(all="raise"):
        task = task_of(Dataset("some", x, y), None)
        encoded, decoded = task.encode(y), task.decode(task.encode(y))
        task.encode(np.full((1, 2), 1e308))
        network_for(x, task, (4,), "relu")
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
        "anynet train: warning: all 60 targets are class 1: a network only learns to say so always; "
        "are rows of other classes missing?"
    ]


def test_diverging_training_is_a_failure_with_advice(capsys: Any) -> None:
    Path("line.csv").write_text("a,b\n" + "".join(f"{i},{i * 1.5}\n" for i in range(50)))
    options = ("--backend", BACKEND, "--lr", "1e9", "--epochs", "9")
    assert anynet("train", "line.csv", "--target", "b", *options) == 1
    assert "try a smaller learning rate" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["", "train", "evaluate", "predict", "backends", "parity", "gradcheck"])
def test_help_names_every_option_with_a_sentence(capsys: Any, command: str) -> None:
    assert anynet(*filter(None, [command]), "--help") == 0
    assert len(capsys.readouterr().out) > 200


def test_bench_takes_backends_in_turns_and_says_which_is_fastest_here(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--backends", "numpy,strict", "--hidden", "8", "--seconds", "0.01"]
    assert main(["bench", "circles", *options]) == 0
    assert "fastest here:" in capsys.readouterr().out
    assert main(["bench", "circles", *options, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    rates = result["samples_per_second"]
    assert set(rates) == {"numpy", "strict"}
    assert len(rates["numpy"]) == len(rates["strict"]) >= 3
    assert result["fastest"] == max(rates, key=lambda name: statistics.median(rates[name]))


@pytest.mark.parametrize(("option", "words"), [("--seconds=0", "above 0"), ("--backends=foo", "unknown backend 'foo'")])
def test_bench_refuses_what_it_cannot_do(option: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "circles", option]) == 2
    assert words in capsys.readouterr().err


def test_a_precision_that_a_backend_does_not_have_is_wrong_usage(capsys: Any) -> None:
    assert anynet("train", "mnist", "--backend", "numpy", "--precision", "tf32") == 2
    assert "the precision of backend 'numpy' must be float32, but is 'tf32'" in capsys.readouterr().err
