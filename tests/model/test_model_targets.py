"""What a model says to targets it cannot learn, and to those that teach nothing."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.extra.numpy as arrays_of
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from model.six_samples import BETWEEN, CLASS, LABELS, MASKED, ONES, OUT_OF_RANGE, VALUE, YES, X, model, raised

from anynet.errors import DataError, ShapeError
from anynet.model.data_validation import check_targets

ROWS = "x has 6 samples, so the target must have as many rows, but has shape "
OUTPUT = "the network's output has shape (3,) for each sample, so "
TARGETS = [
    (CLASS, None, DataError, "the target is missing"),
    (CLASS, list("abcabc"), DataError, "the target must hold numbers, but its dtype is <U1"),
    (CLASS, LABELS + 0j, DataError, "the target must hold numbers, but its dtype is complex128"),
    (CLASS, [0, 1, math.nan, 0, 1, 2], DataError, "the target holds nan in row 2: every value must be a finite number"),
    (CLASS, LABELS - 1, DataError, OUT_OF_RANGE + "0 has -1"),
    (CLASS, LABELS + 1, DataError, OUT_OF_RANGE + "2 has 3"),
    (CLASS, LABELS.astype(np.uint64) + 2**63, DataError, OUT_OF_RANGE + "0 has 9223372036854775808"),
    (CLASS, LABELS + 2**32, DataError, OUT_OF_RANGE + "0 has 4294967296"),
    (CLASS, [0, 1.5, 2, 0, 1, 2], DataError, "CrossEntropyLoss needs class numbers, but row 1 has 1.5"),
    (CLASS, ONES, ShapeError, "CrossEntropyLoss needs one class number a sample, but the target has shape (6, 3)"),
    (CLASS, LABELS[:5], ShapeError, ROWS + "(5,)"),
    (CLASS, 1, ShapeError, ROWS + "()"),
    (YES, 2 * ONES, DataError, "BCEWithLogitsLoss needs targets from 0 to 1, but they go from 2.0 to 2.0"),
    (YES, -ONES, DataError, "BCEWithLogitsLoss needs targets from 0 to 1, but they go from -1.0 to -1.0"),
    (YES, LABELS > 1, ShapeError, OUTPUT + "BCEWithLogitsLoss needs a target of shape (6, 3), but got (6,)"),
    (VALUE, ONES[:, :2], ShapeError, OUTPUT + "MSELoss needs a target of shape (6, 3), but got (6, 2)"),
    (VALUE, ONES * 1e39, DataError, f"the target holds 1e+39 in row 0: {BETWEEN}"),
    (VALUE, np.ma.array(ONES, mask=ONES), DataError, f"the target {MASKED % 18}"),
    (CLASS, np.ma.array(LABELS, mask=LABELS == 2), DataError, f"the target {MASKED % 2}"),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "target", "error", "message"), [pytest.param(*t, id=t[3]) for t in TARGETS])
def test_targets_that_do_not_fit_are_refused(loss: Any, target: Any, error: Any, message: str) -> None:
    fresh = model(loss)
    assert raised(error, lambda: fresh.fit(X, target)) == message
    assert fresh.input_shape is None


def test_targets_are_never_reordered_to_fit() -> None:
    for shape in ((4, 3, 5), (4, 15)):
        message = raised(ShapeError, lambda shape=shape: model(VALUE).fit(np.zeros((4, 5, 2)), np.zeros(shape)))
        assert message.endswith(f"so MSELoss needs a target of shape (4, 5, 3), but got {shape}")


@pytest.mark.parametrize("shape", [(6, 3), (6, 1, 3), (6, 3, 1)])
def test_targets_may_differ_by_axes_of_length_1(shape: tuple[int, ...]) -> None:
    found = check_targets(np.arange(18).reshape(shape), 6, VALUE, (3,))
    np.testing.assert_array_equal(found, np.arange(18.0).reshape(6, 3))


@settings(max_examples=200, deadline=None)
@given(labels=arrays_of.arrays(st.sampled_from(["i1", "u1", "i4", "i8", "u8", "f4", "f8", "?"]), (4,)))
def test_labels_are_taken_exactly_when_they_are_class_numbers(labels: Any) -> None:
    if all(label in range(3) for label in labels.tolist()):
        np.testing.assert_array_equal(check_targets(labels, 4, CLASS, (3,)), labels)
    else:
        raised(DataError, lambda: check_targets(labels, 4, CLASS, (3,)))


def test_class_numbers_beyond_float64_are_still_told_apart() -> None:
    message = raised(DataError, lambda: model().fit(X, LABELS + 2**60))
    assert message == f"{OUT_OF_RANGE}0 has {2**60}"


ONE_CLASS = [
    (CLASS, np.full(6, 2), "all 6 targets are class 2: "),
    (YES, np.zeros((6, 3)), "all 6 targets are class 0: "),
    (YES, ONES, "all 6 targets are class 1: "),
]


@pytest.mark.parametrize(("loss", "target", "message"), ONE_CLASS)
def test_targets_of_one_class_are_warned_of_once_in_training_alone(loss: Any, target: Any, message: str) -> None:
    trained = model(loss)
    with pytest.warns(UserWarning, match=message) as caught:
        trained.fit(X, target, epochs=3, validation_data=(X, target))
    assert [warning.filename for warning in caught] == [__file__]
    trained.evaluate(X, target)


@pytest.mark.parametrize(
    ("loss", "x", "target"),
    [(CLASS, X[:1], LABELS[:1]), (YES, X, ONES / 2), (VALUE, X, ONES), (CLASS, X, LABELS), (YES, X, ONES * [0, 1, 1])],
)
def test_nothing_is_warned_of_where_there_is_something_to_learn(loss: Any, x: Any, target: Any) -> None:
    model(loss).fit(x, target)
