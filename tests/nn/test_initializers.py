"""What the first weights are: how widely they are spread, which shape they have, and what cannot be one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from anynet import nn
from anynet.errors import ShapeError, UsageError

pytestmark = pytest.mark.host

NORMAL = {
    nn.HeNormal: lambda fan_in, fan_out: 2 / fan_in,
    nn.GlorotNormal: lambda *fans: 2 / sum(fans),
    nn.LeCunNormal: lambda fan_in, fan_out: 1 / fan_in,
}
UNIFORM = {
    nn.HeUniform: lambda fan_in, fan_out: 2 / fan_in,
    nn.GlorotUniform: lambda *fans: 2 / sum(fans),
    nn.LeCunUniform: lambda fan_in, fan_out: 1 / fan_in,
}
# Shape, fan-in and fan-out.
FANS = [((40, 100), 40, 100), ((100, 40), 100, 40), ((3, 5, 20, 10), 300, 150)]


def draw(initializer: Any, shape: tuple[int, ...]) -> Any:
    return initializer(np.random.default_rng(1), shape)


@pytest.mark.parametrize(("shape", "fan_in", "fan_out"), FANS, ids=str)
@pytest.mark.parametrize("rule", NORMAL, ids=lambda rule: rule.__name__)
def test_normal_numbers_have_mean_0_and_the_variance_of_the_paper(
    rule: Any, shape: Any, fan_in: int, fan_out: int
) -> None:
    numbers = draw(rule(), shape)
    assert numbers.shape == shape
    deviation = math.sqrt(NORMAL[rule](fan_in, fan_out))
    standard = (numbers / deviation).ravel()
    assert abs(standard.mean()) < 4 / math.sqrt(standard.size)
    assert standard.std() == pytest.approx(1, abs=4 / math.sqrt(2 * standard.size))
    # In a normal distribution a third of all numbers are farther out than one deviation.
    assert (abs(standard) > 1).mean() == pytest.approx(0.317, abs=0.04)


@pytest.mark.parametrize(("shape", "fan_in", "fan_out"), FANS, ids=str)
@pytest.mark.parametrize("rule", UNIFORM, ids=lambda rule: rule.__name__)
def test_uniform_numbers_fill_the_bounds_that_give_the_variance_of_the_paper(
    rule: Any, shape: Any, fan_in: int, fan_out: int
) -> None:
    numbers = draw(rule(), shape)
    assert numbers.shape == shape
    # A uniform distribution within +-b has variance b^2 / 3.
    bound = math.sqrt(3 * UNIFORM[rule](fan_in, fan_out))
    assert numbers.max() == pytest.approx(bound, rel=0.01)
    assert numbers.min() == pytest.approx(-bound, rel=0.01)
    assert abs(numbers).max() <= bound
    counts, _ = np.histogram(numbers, bins=10, range=(-bound, bound))
    assert counts / numbers.size == pytest.approx(np.full(10, 0.1), abs=0.04)


@pytest.mark.parametrize("rule", [*NORMAL, *UNIFORM, nn.Orthogonal], ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("shape", [(), (3,), (0, 3), (3, 0), (0, 3, 3)], ids=str)
def test_a_parameter_without_inputs_and_outputs_is_refused(rule: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"needs a parameter of shape \(inputs, outputs\)"):
        draw(rule(), shape)


@pytest.mark.parametrize("shape", [(1, 2), (2, 1), (1, 1)], ids=str)
def test_one_input_or_one_output_is_enough(shape: tuple[int, ...]) -> None:
    for rule in (*NORMAL, *UNIFORM, nn.Orthogonal):
        assert draw(rule(), shape).shape == shape


@pytest.mark.parametrize("shape", [(40, 40), (100, 40), (40, 100), (3, 5, 4, 20), (1, 7), (7, 1)], ids=str)
def test_an_orthogonal_matrix_keeps_lengths_and_angles(shape: tuple[int, ...]) -> None:
    weight = draw(nn.Orthogonal(gain=2.0), shape)
    assert weight.shape == shape
    matrix = weight.reshape(-1, shape[-1]) / 2.0
    product = matrix.T @ matrix if len(matrix) >= shape[-1] else matrix @ matrix.T
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-14)


def test_every_rotation_and_reflection_is_equally_likely() -> None:
    """In the plane it is an angle, which fills the circle, and a reflection every other time."""
    generator = np.random.default_rng(1)
    drawn = np.asarray([nn.Orthogonal()(generator, (2, 2)) for _ in range(4000)])
    counts, _ = np.histogram(np.arctan2(drawn[:, 1, 0], drawn[:, 0, 0]), bins=8, range=(-np.pi, np.pi))
    assert counts / 4000 == pytest.approx(np.full(8, 1 / 8), abs=0.02)
    assert (np.linalg.det(drawn) > 0).mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("shape", [(50, 80), (4000,)], ids=str)
def test_a_truncated_normal_number_is_within_two_deviations(shape: tuple[int, ...]) -> None:
    numbers = draw(nn.TruncatedNormal(std=0.5), shape)
    assert numbers.shape == shape
    assert 0.98 < abs(numbers).max() <= 1.0
    assert abs(numbers.mean()) < 0.03
    # The deviation of a standard normal distribution that ends at 2, and its share within 1.
    assert numbers.std() == pytest.approx(0.5 * 0.8796, rel=0.03)
    assert (abs(numbers) < 0.5).mean() == pytest.approx(0.6827 / 0.9545, abs=0.03)
    assert draw(nn.TruncatedNormal(), ()).shape == ()


@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan, "1"], ids=repr)
def test_a_scale_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match="Orthogonal: gain must be above 0 and finite, but is"):
        nn.Orthogonal(value)
    with pytest.raises(UsageError, match="TruncatedNormal: std must be above 0 and finite, but is"):
        nn.TruncatedNormal(value)


def test_a_network_begins_with_what_each_draws() -> None:
    for rule in (*NORMAL, *UNIFORM, nn.Orthogonal, nn.TruncatedNormal):
        layout = nn.Layout(nn.Linear(3, weight=rule()), (4,))
        assert layout.initial(np, np.random.default_rng(1))["weight"].tolist() == draw(rule(), (4, 3)).tolist()


@pytest.mark.parametrize(
    ("values", "shape", "held"),
    [
        (2.5, (), 2.5),
        ([], (0,), ()),
        ([[], []], (2, 0), ((), ())),
        ([1, 2.5], (2,), (1, 2.5)),
        (np.asarray([[1.0], [2.0]], np.float32), (2, 1), ((1.0,), (2.0,))),
        ((np.float64(1), np.int32(2)), (2,), (1.0, 2)),
    ],
    ids=str,
)
def test_given_values_are_kept_as_python_numbers(values: Any, shape: Any, held: Any) -> None:
    given = nn.Values(values)
    assert given.values == held
    assert draw(given, shape) == held
    assert hash(given) == hash(nn.Values(held))


def test_given_values_of_another_shape_or_of_no_shape_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"the parameter has shape \(3,\), but the given values have \(2,\)"):
        draw(nn.Values([1.0, 2.0]), (3,))
    with pytest.raises(ShapeError, match=r"must be rectangular, but their rows have shapes \[\(1,\), \(2,\)\]"):
        draw(nn.Values([[1.0], [1.0, 2.0]]), (2, 2))


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, None, "1", True, 10**400, np.float64], ids=repr)
def test_only_finite_numbers_can_be_given(value: Any) -> None:
    with pytest.raises(UsageError, match="every one of the given values must be a finite number"):
        nn.Values([1.0, value])
