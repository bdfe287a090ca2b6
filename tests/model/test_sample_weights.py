"""What samples weigh: which weights are refused, and that they matter only beside each other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from model.six_samples import CLASS, LABELS, MASKED, X, model, raised

from anynet.errors import DataError, ShapeError
from anynet.model import Model
from anynet.model.data_validation import check_weights
from anynet.nn import SGD, Linear, Sequential


@pytest.mark.parametrize(
    ("weight", "error", "message"),
    [
        ([-1] * 6, DataError, "sample weights must be 0 or more, and not all 0"),
        ([0] * 6, DataError, "sample weights must be 0 or more, and not all 0"),
        ([math.nan] * 6, DataError, "sample_weight holds nan in row 0: every value must be a finite number"),
        ([1, math.inf] * 3, DataError, "sample_weight holds inf in row 1: every value must be a finite number"),
        (np.ma.array([1] * 6, mask=[0, 1] * 3), DataError, f"sample_weight {MASKED % 3}"),
        (["1"] * 6, DataError, "sample_weight must hold numbers, but its dtype is <U1"),
        ([1] * 5, ShapeError, "x has 6 samples, so sample_weight must have shape (6,), not (5,)"),
        (1, ShapeError, "x has 6 samples, so sample_weight must have shape (6,), not ()"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_are_refused(weight: Any, error: Any, message: str) -> None:
    assert raised(error, lambda: model().fit(X, LABELS, sample_weight=weight)) == message
    assert raised(error, lambda: model().evaluate(X, LABELS, weight)) == message


def test_weights_left_out_are_ones() -> None:
    np.testing.assert_array_equal(check_weights(None, 3), np.ones(3))


def outcome(weight: Any, dtype: str = "float32") -> tuple[Any, ...]:
    """All that weights have a part in."""
    trained = Model(Sequential(Linear(3)), CLASS, SGD(0.1), dtype=dtype)
    history = trained.fit(X, LABELS, epochs=2, batch_size=4, sample_weight=weight, validation_data=(X, LABELS, weight))
    measures = [{name: value for name, value in record.items() if "second" not in name} for record in history]
    return measures, trained.evaluate(X, LABELS, weight), trained.parameters["0.weight"].tolist()


UNEVEN = np.asarray([1.0, 0.3, 2.5, 0.0, 0.7, 1.0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("exponent", [-1050, -996, -130, -1, 3, 127, 996, 1021])
def test_weights_matter_only_beside_each_other(exponent: int, dtype: str) -> None:
    weight = UNEVEN if exponent > -1000 else np.ldexp(np.ldexp(UNEVEN, exponent), -exponent)
    assert outcome(np.ldexp(weight, exponent), dtype) == outcome(weight, dtype)


@pytest.mark.parametrize("size", [5e-324, 1e-300, 0.1, 1e38, 1e300, np.finfo(np.float64).max])
def test_equal_weights_of_any_size_are_as_good_as_none(size: float) -> None:
    assert outcome(np.full(6, size)) == outcome(None)


def test_weights_of_very_different_sizes_keep_what_float32_can_tell() -> None:
    found, expected = outcome([1e300, 1e-300, 1e300, 1.0, 1e38, 1e300]), outcome([1, 0, 1, 0, 0, 1])
    for one, other in zip((*found[0], found[1]), (*expected[0], expected[1]), strict=True):
        assert one == pytest.approx(other, rel=1e-6)
