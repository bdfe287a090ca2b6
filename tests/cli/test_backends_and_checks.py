"""The commands that look at backends: what is here, whether they agree, and which is fastest."""

from __future__ import annotations

import json
import statistics
from typing import Any

import pytest
from chosen import BACKEND
from cli.commands import anynet, output_of

from anynet.cli import main


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
