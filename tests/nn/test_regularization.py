"""What keeps weights and gradients small, on every array library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anynet.nn.regularization import clip_grad_norm, clip_grad_value, decay_weights


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
def test_a_norm_too_large_for_the_dtype_is_not_clipped_to_nothing() -> None:
    (clipped,) = clip_grad_norm(np, (np.asarray([1e30, 1.0], np.float32),), 1.0)
    assert np.isnan(clipped).all()


def test_a_gradient_of_nothing_is_not_scaled(library: Any) -> None:
    (clipped,) = library.call(
        lambda gradient: clip_grad_norm(library.xp, (gradient,), 1.0), library.given(np.zeros((2, 2)))
    )
    library.assert_equal(clipped, np.zeros((2, 2)))


def test_all_gradients_together_are_clipped_to_a_norm(library: Any) -> None:
    given = library.given(np.asarray([3.0])), library.given(np.asarray([[4.0]]))
    clipped = library.call(lambda *given: clip_grad_norm(library.xp, given, 1.0), *given)
    for part, expected in zip(clipped, ([0.6], [[0.8]]), strict=True):
        library.assert_equal(part, np.asarray(expected), tolerance=1e-5)


def test_each_number_is_clipped_to_a_value_and_nan_stays_nan(library: Any) -> None:
    given = library.given(np.asarray([3.0, -0.5, -np.inf, np.nan])), library.given(np.asarray([[0.25]]))
    clipped = library.call(lambda *given: clip_grad_value(library.xp, given, 1.0), *given)
    for part, expected in zip(clipped, ([1.0, -0.5, -1.0, np.nan], [[0.25]]), strict=True):
        library.assert_equal(part, np.asarray(expected))


def test_weights_decay_by_the_rate_where_they_are_marked(library: Any) -> None:
    block, marks = library.owned(np.asarray([2.0, 4.0, -2.0])), library.given(np.asarray([1.0, 0.0, 1.0]))
    decayed = library.call(decay_weights, block, marks, library.given(np.asarray(0.25)))
    library.assert_equal(decayed, np.asarray([1.5, 4.0, -1.5]))


def test_a_gradient_within_the_norm_is_left_as_it_is_and_one_beyond_it_keeps_its_direction(library: Any) -> None:
    small, large = library.given(np.asarray([0.3, -0.4])), library.given(np.asarray([30.0, -40.0]))
    for gradient, expected in ((small, [0.3, -0.4]), (large, [0.6, -0.8])):
        (clipped,) = library.call(lambda gradient: clip_grad_norm(library.xp, (gradient,), 1.0), gradient)
        library.assert_equal(clipped, np.asarray(expected), tolerance=1e-6)


def test_a_gradient_far_smaller_than_the_small_number_is_not_made_larger(library: Any) -> None:
    (clipped,) = library.call(
        lambda gradient: clip_grad_norm(library.xp, (gradient,), 1e-7), library.given(np.asarray([1e-7]))
    )
    # As PyTorch has it: 1e-7 / (1e-7 + 1e-6) of it.
    np.testing.assert_allclose(library.backend.to_numpy(clipped), [1e-7 / 11], rtol=1e-5)
