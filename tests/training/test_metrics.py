"""Whether a measure is better when it is higher."""

from __future__ import annotations

import pytest

from anynet.errors import UsageError
from anynet.training.metrics import higher_is_better


@pytest.mark.parametrize("name", ["accuracy", "score", "r2", "top5_accuracy"])
def test_what_tells_how_good_is_better_when_higher(name: str) -> None:
    assert higher_is_better(name)
    assert higher_is_better(f"val_{name}")


@pytest.mark.parametrize("name", ["loss", "error", "root_mean_squared_error"])
def test_what_tells_how_wrong_is_better_when_lower(name: str) -> None:
    assert not higher_is_better(name)
    assert not higher_is_better(f"val_{name}")


@pytest.mark.parametrize("name", ["perplexity", "val_top5", "val_", "gloss", "accuracy_of_two", ""])
def test_a_measure_of_somebody_else_needs_a_mode(name: str) -> None:
    with pytest.raises(UsageError, match='give mode="min" or mode="max"'):
        higher_is_better(name)
    assert higher_is_better(name, mode="max")
    assert not higher_is_better(name, mode="min")


@pytest.mark.parametrize("mode", ["maximum", "", None, ["min"]])
def test_a_mode_is_one_of_three(mode: object) -> None:
    with pytest.raises(UsageError, match=r"unknown mode .*known: auto, min, max"):
        higher_is_better("loss", mode)  # type: ignore[arg-type]
