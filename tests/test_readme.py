"""The README's Python and commands do what the README says, and what it and the page on ci name is there."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anynet import nn, training
from anynet.cli import main
from anynet.training import Progress

pytestmark = pytest.mark.host

CHECKOUT = Path(__file__).parents[1]
PAGES = {page: (CHECKOUT / page).read_text(encoding="utf-8") for page in ("README.md", "ci/README.md")}
README = PAGES["README.md"]
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
COMMANDS = {
    page: [
        line.partition(" #")[0].strip()
        for block in re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]
    for page, text in PAGES.items()
}
EXTRAS = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]

PARTS_OF_ONES_OWN = """
from dataclasses import dataclass
from typing import Any

import anynet
import numpy as np
from anynet.nn import SGD, Dropout, Frozen, Linear, MSELoss, Optimizer, ReLU, Schedule, Sequential
from anynet.training import Callback, StopTraining


@dataclass(frozen=True)
class Huber:
    delta: float = 1.0
    target_kind = "value"

    def __call__(self, xp: Any, prediction: Any, target: Any, weight: Any) -> tuple[Any, Any]:
        error = xp.clip(prediction - target, -self.delta, self.delta)
        return xp.sum(weight[:, None] * error * error), 2 * weight[:, None] * error


@dataclass(frozen=True)
class SignSGD(Optimizer):
    lr: float | Schedule = 0.1

    def update(
        self, xp: Any, block: Any, gradient: Any, slots: dict[str, Any], learning_rate: Any
    ) -> tuple[Any, dict[str, Any]]:
        return block - learning_rate * xp.sign(gradient), slots


class UntilGood(Callback):
    def on_epoch_end(self, model: anynet.Model, record: dict[str, float]) -> None:
        if record["loss"] < 0.1:
            raise StopTraining


def warm_up(xp: Any, step: Any) -> Any:
    return 0.1 * xp.minimum(step / 100, 1.0)


x = np.linspace(-1, 1, 20)[:, None]
network = Sequential(Linear(4), ReLU(), Dropout(0.1), Linear(1))
anynet.Model(network, Huber(), SignSGD()).fit(x, x, epochs=2, callbacks=[UntilGood()])
frozen = Sequential(*map(Frozen, network[:-1]), network[-1])
model = anynet.Model(frozen, MSELoss(), SGD(lr=warm_up), dtype=np.float64, seed=len(network)).build((1,))
model.fit(x, x)
print(model.summary(), model.activations(x)["0"].shape, model.gradients(x, x)["3.weight"].shape)
"""


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[-1])
def test_every_block_of_python_runs(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec", dont_inherit=True), {"__name__": "readme"})
    printed = capsys.readouterr().out
    assert any(words in printed for words in ("accuracy", "worst relative error", "[[2. 2. 2.]"))


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_strict_type_checkers_have_nothing_to_say(
    checker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, code in enumerate([*BLOCKS, PARTS_OF_ONES_OWN]):
        (tmp_path / f"block_{number}.py").write_text(code)
    settings = {"typeCheckingMode": "strict", "extraPaths": [str(CHECKOUT)]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    # It would ask the registry whether it is the newest.
    monkeypatch.setenv("PYRIGHT_PYTHON_IGNORE_WARNINGS", "1")
    options = ["--strict", tmp_path] if checker == "mypy" else ["--pythonpath", sys.executable, "--project", tmp_path]
    command = [sys.executable, "-m", checker, *options]
    found = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_parts_of_ones_own_do_what_their_types_say(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(PARTS_OF_ONES_OWN, "own.py", "exec", dont_inherit=True), {"__name__": "own"})
    assert capsys.readouterr().out.endswith("(20, 4) (4, 1)\n")


def test_the_table_names_every_part_and_no_other() -> None:
    (table,) = re.findall(r"\| anynet \| PyTorch \| Keras \|\n(.*?)\n\n", README, re.DOTALL)
    named = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[2])}
    parts = {part.__name__ for part in (*nn.LAYERS, *nn.LOSSES, *nn.OPTIMIZERS)}
    assert not parts - named
    assert all(hasattr(nn, name) or hasattr(training, name) for name in named)


def test_no_figure_is_left_to_be_filled_in() -> None:
    assert not re.search(r"@[A-Z]+@", "".join(PAGES.values()))


@pytest.fixture(scope="module")
def data_of_ones_own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every file that the README's commands name, a finished run and one to go on with."""
    folder = tmp_path_factory.mktemp("readme")
    x = np.random.default_rng(0).normal(size=(60, 16))
    y = np.arange(60) % 3
    header = ",".join(f"column{i}" for i in range(16))
    rows = [",".join(map(str, row)) for row in x.round(3)]
    (folder / "new.csv").write_text("\n".join([header, *rows]) + "\n")
    labelled = [f"{row},kind{number}" for row, number in zip(rows, y, strict=True)]
    for name in ("table.csv", "more.csv"):
        (folder / name).write_text("\n".join([f"{header},species", *labelled]) + "\n")
    np.savez(folder / "data.npz", x=x, y=y)
    for part in ("", "-1", "-2"):
        np.save(folder / f"x{part}.npy", x)
        np.save(folder / f"y{part}.npy", y)
    images = bytes([0, 0, 8, 3, 0, 0, 0, 60, 0, 0, 0, 4, 0, 0, 0, 4]) + (x > 0).astype(np.uint8).tobytes()
    (folder / "images.gz").write_bytes(gzip.compress(images))
    (folder / "labels.gz").write_bytes(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 60]) + y.astype(np.uint8).tobytes()))
    for i, name in enumerate(("cat", "dog") * 5):
        (folder / "photos" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((70, 60, 3), 20 * i, np.uint8)).save(folder / "photos" / name / f"{i}.png")

    def interrupt(self: Progress, model: object, record: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", "table.csv", "--target", "species", "--epochs", "1"]) == 0
        patch.setattr(Progress, "on_epoch_end", interrupt)
        assert main(["train", "circles", "--epochs", "2", "--out", "runs/mnist-1"]) == 130
    return folder


def needed(command: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.needs(name) for name in ("cupy", "torch", "jax") if name in command]


# Parity takes long, and has its own test.
OF_ANYNET = [command for command in COMMANDS["README.md"] if re.match("anynet (?!parity)", command)]


@pytest.mark.parametrize("command", [pytest.param(command, marks=needed(command)) for command in OF_ANYNET])
def test_every_command_of_anynet_runs(command: str, data_of_ones_own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data_of_ones_own)
    _, *arguments = shlex.split(command)
    if arguments[0] == "train" and not {"--resume", "--config"} & {*arguments}:
        arguments += ["--epochs", "1"]
    if arguments[0] == "bench":
        arguments += ["--seconds", "0.01"]
    assert main(arguments) == 0


# What prints a program's options, without making its environment.
PROGRAMS = {
    "anynet": ["-m", "anynet"],
    "ci/train": ["-m", "anynet", "train"],
    "ci/bench": ["ci/benchmarks"],
    "ci/gpu": ["ci/benchmarks/gpu.py"],
    "ci/stress": ["ci/stress_tests"],
}


@cache
def options_of(*program: str) -> set[str]:
    command = [sys.executable, *program, "--help"]
    told = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    return {*re.findall(r"--[a-z-]+", told)}


@pytest.mark.parametrize("command", sorted({command for commands in COMMANDS.values() for command in commands}))
def test_every_command_is_there_and_has_the_options_that_are_named(command: str) -> None:
    program, *arguments = [word for word in shlex.split(command) if not re.match("[A-Z_]+=", word)]
    if program.startswith("ci/"):
        assert os.access(CHECKOUT / program, os.X_OK)
    if program == "ci/test":
        assert {*arguments} <= {*EXTRAS, "pretended-gpu", "--coverage"}
    elif program == "ci/mutants":
        assert all((CHECKOUT / "anynet" / room).is_dir() for room in arguments)
    elif program in PROGRAMS:
        options = {word for word in arguments if word.startswith("--")}
        assert options <= options_of(*PROGRAMS[program], *arguments[: program == "anynet"])
    else:
        assert command == "pip install ."


@pytest.mark.parametrize("page", PAGES)
def test_every_link_file_and_extra_that_is_named_is_there(page: str) -> None:
    folder = (CHECKOUT / page).parent
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", PAGES[page]):
        file = folder / target if target else CHECKOUT / page
        assert file.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles]
    code = " ".join(re.findall(r"`([^`\n]+)`", PAGES[page]))
    for path in re.findall(r"(?<![\w./])(?:anynet|ci|examples|tests)/[\w./-]+", code):
        assert "NAME" in path or (CHECKOUT / path).exists(), path
    for names in re.findall(r"\.\[([a-z0-9,]+)\]", PAGES[page]):
        assert {*names.split(",")} <= {*EXTRAS}
