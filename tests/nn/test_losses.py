"""What every loss promises, on every array library."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import anynet
from anynet import nn
from anynet.checks import cases
from anynet.errors import UsageError
from anynet.nn.derived import value_and_gradient, value_of
from anynet.nn.losses import binary_cross_entropy_with_logits, cross_entropy

ROWS = 6


@pytest.fixture(params=cases.LOSSES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> cases.LossCase:
    return request.param


def draw(case: cases.LossCase, dtype: str = "float64") -> tuple[Any, Any, Any]:
    generator = np.random.default_rng(3)
    shape = (ROWS, *case.shape)
    prediction = cases.draw_input(generator, case.loss, shape).astype(dtype)
    target = cases.draw_target(generator, case.loss, shape)
    weight = cases.draw_weight(generator, ROWS).astype(dtype)
    return prediction, target if target.dtype == np.int32 else target.astype(dtype), weight


def test_value_and_gradient_are_those_of_numpy(library: Any, case: cases.LossCase, dtype: str) -> None:
    drawn = draw(case, dtype)
    expected = value_and_gradient(case.loss, np, *drawn)
    actual = library.call(
        lambda *batch: value_and_gradient(case.loss, library.xp, *batch), *(library.given(array) for array in drawn)
    )
    for found, wanted in zip(actual, expected, strict=True):
        library.assert_equal(found, wanted)


def test_gradient_agrees_with_differences(backend_name: str, case: cases.LossCase) -> None:
    assert anynet.gradcheck(case.loss, case.shape, backend=backend_name).error < 1e-7


def test_weights_carry_the_mean(case: cases.LossCase) -> None:
    prediction, target, _ = draw(case)
    even = value_and_gradient(case.loss, np, prediction, target, np.full(ROWS, 1 / ROWS))[0]
    single = [
        value_and_gradient(case.loss, np, prediction[i : i + 1], target[i : i + 1], np.ones(1))[0] for i in range(ROWS)
    ]
    np.testing.assert_allclose(even, np.mean(single), rtol=1e-13)


def test_a_sample_of_weight_zero_counts_for_nothing(case: cases.LossCase) -> None:
    prediction, target, weight = draw(case)
    weight[2] = 0
    value, gradient = value_and_gradient(case.loss, np, prediction, target, weight)
    rest = np.arange(ROWS) != 2
    expected = value_and_gradient(case.loss, np, prediction[rest], target[rest], weight[rest])
    np.testing.assert_allclose(value, expected[0], rtol=1e-13)
    np.testing.assert_allclose(gradient[rest], expected[1], rtol=1e-13)
    assert not gradient[2].any()


def test_a_batch_may_be_empty(library: Any, case: cases.LossCase) -> None:
    empty = [library.given(array[:0]) for array in draw(case, library.dtype)]
    value, gradient = library.call(lambda *batch: value_and_gradient(case.loss, library.xp, *batch), *empty)
    assert value.shape == ()
    assert gradient.shape == (0, *case.shape)


@pytest.mark.parametrize("name", ["BCEWithLogitsLoss", "CrossEntropyLoss"])
def test_logits_of_any_size_give_finite_values_and_gradients(library: Any, name: str) -> None:
    case = next(case for case in cases.LOSSES if case.name == name)
    logits = 1e4 * np.asarray([[1.0, -1.0, 0.0, 0.5], [-1.0, -1.0, -1.0, 1.0]])
    target = np.asarray([1, 3], dtype=np.int32) if name == "CrossEntropyLoss" else np.asarray([[0.0, 1, 0, 1]] * 2)
    batch = (library.given(logits), library.given(target), library.given(np.asarray([0.5, 0.5])))
    for array in library.call(lambda *batch: value_and_gradient(case.loss, library.xp, *batch), *batch):
        assert np.isfinite(library.backend.to_numpy(array)).all()


def test_probabilities_of_exactly_zero_and_one_give_finite_values_and_gradients(library: Any) -> None:
    batch = [library.given(np.asarray(rows)) for rows in ([[0.0], [1.0]], [[1.0], [0.0]], [0.5, 0.5])]
    value, gradient = library.call(lambda *batch: value_and_gradient(nn.BCELoss(), library.xp, *batch), *batch)
    np.testing.assert_allclose(library.backend.to_numpy(value), -np.log(1e-15), rtol=1e-6)
    assert np.isfinite(library.backend.to_numpy(gradient)).all()


def test_a_class_that_is_ruled_out_by_an_infinite_logit_does_not_spoil_the_loss() -> None:
    value, gradient = value_and_gradient(
        nn.CrossEntropyLoss(), np, np.asarray([[0.0, -np.inf]]), np.asarray([0]), np.ones(1)
    )
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


# The names of PyTorch's functions, and what they are told.
TORCH_LOSSES: dict[str, tuple[str, dict[str, Any]]] = {
    "MSELoss": ("mse_loss", {}),
    "L1Loss": ("l1_loss", {}),
    "HuberLoss": ("huber_loss", {"delta": 0.8}),
    "PoissonNLLLoss": ("poisson_nll_loss", {}),
    "BCELoss": ("binary_cross_entropy", {}),
    "BCEWithLogitsLoss": ("binary_cross_entropy_with_logits", {}),
    "BCEWithLogitsLoss, pos_weight": ("binary_cross_entropy_with_logits", {"pos_weight": [2.0, 0.5, 1.0, 3.0]}),
    "CrossEntropyLoss": ("cross_entropy", {}),
    "CrossEntropyLoss, weights": ("cross_entropy", {"label_smoothing": 0.1, "weight": [1.0, 0.5, 2.0, 1.5]}),
}


@pytest.mark.needs("torch")
@pytest.mark.parametrize("name", TORCH_LOSSES)
def test_value_and_gradient_are_those_of_pytorch(name: str) -> None:
    import torch

    case = next(case for case in cases.LOSSES if case.name == name)
    prediction, target, _ = draw(case)
    leaf = torch.asarray(prediction, requires_grad=True)
    function, told = TORCH_LOSSES[name]
    told = {
        key: torch.asarray(value, dtype=leaf.dtype) if isinstance(value, list) else value for key, value in told.items()
    }
    given = torch.asarray(target.astype(np.int64) if target.dtype == np.int32 else target)
    # Its mean would divide by the sum of the weights of the classes.
    expected = getattr(torch.nn.functional, function)(leaf, given, reduction="sum", **told) / target.size
    expected.backward()
    value, gradient = value_and_gradient(case.loss, np, prediction, target, np.full(ROWS, 1 / ROWS))
    np.testing.assert_allclose(value, expected.detach(), rtol=1e-12)
    np.testing.assert_allclose(gradient, leaf.grad, rtol=1e-9)


@pytest.mark.needs("jax")
def test_gradient_agrees_with_jax_grad(case: cases.LossCase) -> None:
    import jax

    drawn = draw(case)
    with jax.enable_x64(True):
        prediction, target, weight = map(jax.numpy.asarray, drawn)
        gradient = jax.grad(lambda p: value_of(case.loss, jax.numpy, p, target, weight))(prediction)
    np.testing.assert_allclose(value_and_gradient(case.loss, np, *drawn)[1], gradient, rtol=1e-11, atol=1e-14)


def test_every_loss_of_the_package_has_a_case() -> None:
    assert {type(case.loss) for case in cases.LOSSES} == set(nn.LOSSES)


# Two samples of two outputs and uneven weights, and what comes of them.
LOGS = [[math.log(0.25), math.log(0.5)], [math.log(0.75), math.log(0.9)]]
BY_HAND: list[tuple[Any, Any, Any, float, Any]] = [
    (
        nn.MSELoss(),
        [[1.0, 2.0], [3.0, 5.0]],
        [[0.0, 4.0], [3.0, 2.0]],
        0.25 * (1 + 4) / 2 + 0.75 * (0 + 9) / 2,
        [[0.25, -0.5], [0.0, 2.25]],
    ),
    (
        nn.HalfMSELoss(),
        [[1.0, 2.0], [3.0, 5.0]],
        [[0.0, 4.0], [3.0, 2.0]],
        (0.25 * (1 + 4) + 0.75 * (0 + 9)) / 2,
        [[0.25, -0.5], [0.0, 2.25]],
    ),
    (
        nn.L1Loss(),
        [[1.0, 2.0], [3.0, 5.0]],
        [[0.0, 4.0], [3.5, 2.0]],
        0.25 * (1 + 2) / 2 + 0.75 * (0.5 + 3) / 2,
        [[0.125, -0.125], [-0.375, 0.375]],
    ),
    (
        nn.HuberLoss(),
        [[1.0, 2.0], [3.0, 5.0]],
        [[0.5, 4.0], [3.0, 2.0]],
        0.25 * (0.125 + 1.5) / 2 + 0.75 * (0 + 2.5) / 2,
        [[0.125 * 0.5, -0.125], [0.0, 0.375]],
    ),
    (
        nn.QuantileLoss(0.9),
        [[1.0, 2.0], [3.0, 5.0]],
        [[0.0, 4.0], [2.0, 6.0]],
        0.25 * (0.1 + 1.8) / 2 + 0.75 * (0.1 + 0.9) / 2,
        [[0.125 * 0.1, -0.125 * 0.9], [0.375 * 0.1, -0.375 * 0.9]],
    ),
    (
        nn.PoissonNLLLoss(),
        [[0.0, math.log(2)], [math.log(3), 0.0]],
        [[1.0, 0.0], [2.0, 0.0]],
        0.25 * (1 + 2) / 2 + 0.75 * (3 - 2 * math.log(3) + 1) / 2,
        [[0.0, 0.25], [0.375, 0.375]],
    ),
    (
        nn.GaussianNLLLoss(0.5),
        [[1.0, math.log(2.0)], [3.0, math.log(0.25)]],
        [[3.0], [2.0]],
        0.25 * (math.log(2) + 2) / 2 + 0.75 * (math.log(0.5) + 2) / 2,
        [[-0.25, -0.125], [1.5, 0.0]],
    ),
    (
        nn.HingeLoss(),
        [[0.5, -2.0], [2.0, 0.5]],
        [[1.0, 0.0], [1.0, 0.0]],
        0.25 * (0.5 + 0) / 2 + 0.75 * (0 + 1.5) / 2,
        [[-0.125, 0.0], [0.0, 0.375]],
    ),
    (
        nn.BCELoss(),
        [[0.25, 0.5], [0.25, 0.1]],
        [[1.0, 0.0], [0.0, 0.0]],
        -0.25 * sum(LOGS[0]) / 2 - 0.75 * sum(LOGS[1]) / 2,
        [[-0.5, 0.25], [0.5, 0.375 / 0.9]],
    ),
    (
        nn.BCEWithLogitsLoss(),
        [[math.log(1 / 3), 0.0], [math.log(1 / 3), math.log(1 / 9)]],
        [[1.0, 0.0], [0.0, 0.0]],
        -0.25 * sum(LOGS[0]) / 2 - 0.75 * sum(LOGS[1]) / 2,
        [[-0.125 * 0.75, 0.125 * 0.5], [0.375 * 0.25, 0.375 * 0.1]],
    ),
    (
        nn.CrossEntropyLoss(),
        [[0.0, math.log(3.0)], [5.0, 5.0]],
        [0, 1],
        0.25 * math.log(4) + 0.75 * math.log(2),
        [[0.25 * (0.25 - 1), 0.25 * 0.75], [0.375, -0.375]],
    ),
]


@pytest.mark.parametrize(("loss", "prediction", "target", "value", "gradient"), BY_HAND, ids=lambda v: repr(v)[:20])
def test_value_and_gradient_are_those_worked_out_by_hand(
    library: Any, loss: Any, prediction: Any, target: Any, value: float, gradient: Any
) -> None:
    target = np.asarray(target, np.int32) if loss.target_kind == "class" else np.asarray(target)
    batch = [library.given(array) for array in (np.asarray(prediction), target, np.asarray([0.25, 0.75]))]
    found = library.call(lambda *batch: value_and_gradient(loss, library.xp, *batch), *batch)
    for actual, expected in zip(found, (value, gradient), strict=True):
        library.assert_equal(actual, np.asarray(expected))


def test_every_loss_of_the_package_is_worked_out_by_hand() -> None:
    assert {type(loss) for loss, *_ in BY_HAND} == set(nn.LOSSES)


@pytest.mark.parametrize(
    ("loss", "prediction", "probabilities", "classes"),
    [
        (nn.BCELoss(), [[0.5], [0.75], [0.49]], [[0.5], [0.75], [0.49]], [[1], [1], [0]]),
        (
            nn.BCEWithLogitsLoss(),
            [[0.0], [math.log(3)], [-0.1]],
            [[0.5], [0.75], [1 / (1 + math.exp(0.1))]],
            [[1], [1], [0]],
        ),
        (nn.CrossEntropyLoss(), [[0.0, math.log(3)], [math.log(4), 0.0]], [[0.25, 0.75], [0.8, 0.2]], [1, 0]),
        (nn.CrossEntropyLoss(), [[[0.0, 0.0, 1e4], [0.0, 1e4, 1e4]]], [[[0.0, 0.0, 1.0], [0.0, 0.5, 0.5]]], [[2, 1]]),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_prediction_means_probabilities_and_a_class(
    library: Any, loss: Any, prediction: Any, probabilities: Any, classes: Any
) -> None:
    given = library.given(np.asarray(prediction))
    found = library.call(lambda given: (loss.probabilities(library.xp, given), loss.classify(library.xp, given)), given)
    library.assert_equal(found[0], np.asarray(probabilities))
    library.assert_equal(found[1], np.asarray(classes, np.int32))


def test_no_sample_counts_for_more_than_the_largest_loss(library: Any) -> None:
    weight = library.given(np.asarray([0.5, 0.5]))
    logits, classes = library.given(np.asarray([[0.0, 40.0], [0.0, 0.0]])), library.given(np.asarray([0, 0], np.int32))
    yes, ones = library.given(np.asarray([[-40.0], [0.0]])), library.given(np.ones((2, 1)))
    for loss, batch in ((cross_entropy, (logits, classes)), (binary_cross_entropy_with_logits, (yes, ones))):

        def capped(*batch: Any, loss: Any = loss) -> Any:
            return loss(library.xp, *batch, weight), loss(library.xp, *batch, weight, 3.0)

        (whole, gradient), (value, same) = library.call(capped, *batch)
        library.assert_equal(whole, np.asarray((40 + math.log(2)) / 2))
        library.assert_equal(value, np.asarray((3 + math.log(2)) / 2))
        np.testing.assert_array_equal(library.backend.to_numpy(gradient), library.backend.to_numpy(same))


@pytest.mark.parametrize("epsilon", [0.0, 1.0, -0.1, 1.5, math.nan, "1e-15"], ids=repr)
def test_what_keeps_probabilities_from_0_is_between_0_and_1(epsilon: Any) -> None:
    with pytest.raises(UsageError, match="BCELoss: epsilon must be above 0 and below 1, but is"):
        nn.BCELoss(epsilon)


def test_probabilities_are_kept_as_far_from_0_and_1_as_asked(library: Any) -> None:
    batch = [library.given(np.asarray(rows)) for rows in ([[0.0], [1.0]], [[1.0], [0.0]], [0.5, 0.5])]
    value, gradient = library.call(lambda *batch: value_and_gradient(nn.BCELoss(0.125), library.xp, *batch), *batch)
    library.assert_equal(value, np.asarray(math.log(8)))
    library.assert_equal(gradient, np.asarray([[-4.0], [4.0]]))


@pytest.mark.parametrize(
    "name", sorted({loss.__name__ for loss in nn.LOSSES} - {"CrossEntropyLoss", "GaussianNLLLoss"})
)
def test_how_outputs_are_arranged_changes_nothing(library: Any, name: str) -> None:
    loss = getattr(nn, name)()
    generator = np.random.default_rng(6)
    prediction = cases.draw_input(generator, loss, (ROWS, 2, 1, 3))
    batch = prediction, cases.draw_target(generator, loss, (ROWS, 2, 1, 3)), cases.draw_weight(generator, ROWS)
    value, gradient = library.call(
        lambda *batch: value_and_gradient(loss, library.xp, *batch), *map(library.given, batch)
    )
    rows = [array.reshape(ROWS, -1) for array in batch[:2]]
    expected = value_and_gradient(loss, np, *rows, batch[2])
    library.assert_equal(value, expected[0])
    library.assert_equal(gradient, expected[1].reshape(ROWS, 2, 1, 3))


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(0.0, (1.0,) * 4), nn.CrossEntropyLoss(1e-300)], ids=repr)
def test_smoothing_of_0_and_even_weights_change_nothing(library: Any, loss: Any) -> None:
    batch = draw(next(case for case in cases.LOSSES if case.name == "CrossEntropyLoss"))
    found = library.call(lambda *batch: value_and_gradient(loss, library.xp, *batch), *map(library.given, batch))
    for actual, expected in zip(found, nn.CrossEntropyLoss()(np, *batch), strict=True):
        library.assert_equal(actual, expected)
