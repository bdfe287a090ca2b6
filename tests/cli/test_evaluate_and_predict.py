"""What a trained network says of data, and what its file says of its outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chosen import BACKEND
from cli.commands import anynet, assert_one_clear_line, output_of, trained_table

from anynet import Model


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
