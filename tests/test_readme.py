"""The README's Python does what the README says, and type checkers have nothing to say of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from anynet import nn

pytestmark = pytest.mark.host

CHECKOUT = Path(__file__).parents[1]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)

PARTS_OF_ONES_OWN = """
from dataclasses import dataclass
from typing import Any

import anynet
import numpy as np
from anynet.nn import SGD, Dropout, Frozen, Linear, MSELoss, ReLU, Sequential
from anynet.training import Callback, StopTraining


@dataclass(frozen=True)
class Huber:
    delta: float = 1.0
    target_kind = "value"

    def __call__(self, xp: Any, prediction: Any, target: Any, weight: Any) -> tuple[Any, Any]:
        error = xp.clip(prediction - target, -self.delta, self.delta)
        return xp.sum(weight[:, None] * error * error), 2 * weight[:, None] * error


class SignSGD:
    lr = 0.1
    weight_decay = 0.0

    def init(self, xp: Any, block: Any) -> dict[str, Any]:
        return {}

    def update(
        self, xp: Any, block: Any, gradient: Any, slots: dict[str, Any], learning_rate: Any, step: Any
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
    assert "accuracy" in printed or "worst relative error" in printed


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


def test_every_layer_is_named() -> None:
    (named,) = re.findall(r"All backends have the layers (.*?);", README, re.DOTALL)
    assert named.replace("\n", " ").split(", ") == [layer.__name__ for layer in nn.LAYERS]


def test_no_figure_is_left_to_be_filled_in() -> None:
    assert not re.search(r"@[A-Z]+@", README)
