"""What a model says to inputs and settings it cannot use: one clear line, and nothing has changed."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.extra.numpy as arrays_of
import hypothesis.strategies as st
import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from model.six_samples import BETWEEN, CLASS, LABELS, MASKED, YES, X, model, raised

from anynet.backends import select
from anynet.errors import DataError, ShapeError, UsageError
from anynet.model.data_validation import check_inputs, check_targets, check_weights


def with_value(value: float, row: int) -> Any:
    return np.where(np.arange(12).reshape(6, 2) == 2 * row + 1, value, X)


INPUTS = {
    "x is missing": None,
    "x must be a rectangular array of numbers: ": [[1, 2], [3]],
    "x must hold numbers, but its dtype is <U1": [["1", "2"]] * 6,
    "x must hold numbers, but its dtype is object": X.astype(object),
    "x must hold numbers, but its dtype is complex128": X + 1j,
    "x must hold numbers, but its dtype is datetime64[s]": np.zeros((6, 2), "M8[s]"),
    "x must hold numbers, but its dtype is [('a', '<f4')]": np.zeros(6, [("a", "<f4")]),
    "x holds nan in row 4: every value must be a finite number": with_value(math.nan, 4),
    "x holds -inf in row 2: every value must be a finite number": with_value(-math.inf, 2),
    f"x holds 1e+39 in row 3: {BETWEEN}": with_value(1e39, 3),
    f"x {MASKED % 4}": np.ma.array(X, mask=[[True, False]] * 4 + [[False, False]] * 2),
    f"x {MASKED % 1}": [[1.0, np.ma.masked], *X[1:].tolist()],
    f"x {MASKED % 6}": [np.ma.array(row, mask=[True, False]) for row in X],
    "x holds 9007199254740993 in row 0: float64 holds every whole number only up to 9007199254740992; scale": np.full(
        (6, 2), 2**53 + 1
    ),
    "x holds 18446744073709551615 in row 5: float64 holds every": np.asarray(
        [[0, 0]] * 5 + [[0, 2**64 - 1]], np.uint64
    ),
    "there are no samples: x has shape (0, 2)": X[:0],
    "the samples hold no numbers: x has shape (6, 0)": X[:, :0],
}
MISSHAPEN_INPUTS = {
    "x must have one row for each sample, but is a single number": 7.0,
    "layer 0 (Linear): Linear needs samples with at least one axis, but each sample is a single number": X[:, 0],
    "CrossEntropyLoss needs one row of class scores a sample, but the network gives shape (2, 3); is there a Flatten()"
    " missing before the first Linear?": np.zeros((6, 2, 2)),
}


@pytest.mark.parametrize("message", [*INPUTS, *MISSHAPEN_INPUTS])
def test_inputs_that_cannot_be_trained_on_are_refused(message: str) -> None:
    error, x = (DataError, INPUTS[message]) if message in INPUTS else (ShapeError, MISSHAPEN_INPUTS[message])
    fresh = model()
    assert raised(error, lambda: fresh.fit(x, LABELS)).startswith(message)
    assert fresh.input_shape is None


def test_arrays_on_any_device_are_taken(backend_name: str) -> None:
    x = select(backend_name).asarray(X)
    assert model().fit(x, LABELS)[0]["loss"] == model().fit(X.astype(np.float32), LABELS)[0]["loss"]


@pytest.mark.backends("torch")
def test_arrays_that_cannot_leave_their_library_are_refused(backend_name: str) -> None:
    x = select(backend_name).asarray(np.zeros((6, 2))).to_sparse()
    assert raised(DataError, lambda: model().fit(x, LABELS)).startswith("x must be a rectangular array of numbers: ")


@pytest.mark.parametrize("method", ["predict", "probabilities", "classify"])
def test_samples_of_another_shape_than_before_are_refused(method: str) -> None:
    built = model().build((2,))
    message = raised(ShapeError, lambda: getattr(built, method)(X[:, :1]))
    assert message == "the network takes samples of shape (2,), but x has samples of shape (1,)"


@pytest.mark.parametrize("name", ["batch_size", "epochs"])
@pytest.mark.parametrize("number", [0, -1, 1.5, "3", None])
def test_a_number_of_steps_that_is_none_is_refused(name: str, number: Any) -> None:
    message = raised(UsageError, lambda: model().fit(X, LABELS, **{name: number}))
    assert message == f"{name} must be a whole number, 1 or more, but is {number!r}"


def test_a_failed_fit_leaves_a_new_model_ready_for_other_data() -> None:
    failed, fresh = model(), model()
    raised(DataError, lambda: failed.fit(np.ones((6, 5)), LABELS - 1))
    assert failed.fit(X, LABELS)[0]["loss"] == fresh.fit(X, LABELS)[0]["loss"]


@pytest.mark.parametrize(
    ("x", "y", "weight"), [(with_value(math.nan, 0), LABELS, None), (X, LABELS - 1, None), (X, LABELS, [-1] * 6)]
)
def test_a_failed_fit_leaves_a_trained_model_as_it_was(x: Any, y: Any, weight: Any) -> None:
    trained, failed = model(), model()
    for one in (trained, failed):
        one.fit(X, LABELS, epochs=2)
    raised(DataError, lambda: failed.fit(x, y, sample_weight=weight))
    assert failed.epoch == 2
    assert failed.fit(X, LABELS)[0]["loss"] == trained.fit(X, LABELS)[0]["loss"]


ARRAYS = {
    "nested lists": X.astype(np.float16).tolist(),
    "float16": X.astype(np.float16),
    "big-endian": X.astype(np.float16).astype(">f8"),
    "long double": X.astype(np.float16).astype(np.longdouble),
    "Fortran order": np.asfortranarray(X.astype(np.float16)),
    "every second of more": np.repeat(X.astype(np.float16), 2, axis=0)[::2],
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_the_same_numbers_train_alike_however_they_are_stored(kind: str) -> None:
    expected = model().fit(X.astype(np.float16).astype(np.float32), LABELS, epochs=3, batch_size=4)
    found = model().fit(ARRAYS[kind], LABELS.astype(np.float64)[:, None], epochs=3, batch_size=4)
    assert [record["loss"] for record in found] == [record["loss"] for record in expected]


def test_bytes_stay_bytes_and_other_integers_become_floats() -> None:
    for dtype, expected in {"u1": "u1", "i8": "f8", "u2": "f8", "?": "f8", "f2": "f2", "f4": "f4"}.items():
        assert check_inputs(np.ones((2, 3), dtype)).dtype == np.dtype(expected)


def test_what_a_person_gives_is_never_changed() -> None:
    given_arrays = [X.copy(), LABELS.copy(), np.ones(6)]
    for array in given_arrays:
        array.flags.writeable = False
    x, y, weight = given_arrays
    trained = model()
    trained.fit(x, y, sample_weight=weight, epochs=2, batch_size=4, validation_data=(x, y, weight))
    trained.predict(x)


@settings(max_examples=200, deadline=None)
@given(numbers=arrays_of.arrays(st.sampled_from(["f2", "f4", "f8"]), (3, 2)))
def test_inputs_are_taken_exactly_when_float32_can_hold_them(numbers: Any) -> None:
    if (np.abs(numbers.astype(np.float64)) <= np.finfo(np.float32).max).all():
        assert check_inputs(numbers) is numbers
    else:
        raised(DataError, lambda: check_inputs(numbers))


def test_a_mask_that_hides_nothing_is_let_through() -> None:
    masked = [np.ma.array(array) for array in (X, LABELS, np.ones(6))]
    plain, other = model(), model()
    plain.fit(X, LABELS, sample_weight=np.ones(6))
    other.fit(masked[0], masked[1], sample_weight=masked[2])
    np.testing.assert_array_equal(other.predict(X), plain.predict(X))


@pytest.mark.parametrize(
    ("dtype", "message"),
    [("Int64", "x holds nan in row 1"), ("Float64", "x holds nan in row 1"), ("boolean", "x must hold numbers")],
)
def test_missing_values_of_a_pandas_column_are_refused(dtype: str, message: str) -> None:
    column = pandas.array([True, None, False, True, False, True], dtype=dtype)
    assert raised(DataError, lambda: model().fit(pandas.DataFrame({"a": column}), LABELS)).startswith(message)


def test_masked_validation_data_are_refused_before_training() -> None:
    masked = np.ma.array(X, mask=X > 0)
    for held_out in ((masked, LABELS), (X, np.ma.array(LABELS, mask=LABELS == 2)), (X, LABELS, masked[:, 0])):
        assert "masked values" in raised(
            DataError, lambda held_out=held_out: model().fit(X, LABELS, validation_data=held_out)
        )


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i8", "u1", "?", "u8", "g"])
def test_what_comes_in_is_looked_at_without_floating_point_errors(dtype: str) -> None:
    x = np.asarray([[0, 1], [1, 0]], dtype)
    with np.errstate(all="raise"):
        check_inputs(x)
        check_targets(x[:, 0], 2, CLASS, (2,))
        check_targets(x, 2, YES, (2,))
        check_weights(np.asarray([1e-320, 1e300]), 2)
        for value in (math.nan, math.inf, 1e39):
            raised(DataError, lambda value=value: check_inputs(np.full((2, 2), value)))
