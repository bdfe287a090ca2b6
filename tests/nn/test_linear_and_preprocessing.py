"""The affine map, and the layers between raw data and it, against values worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anynet import nn
from anynet.errors import ShapeError, UsageError
from anynet.nn import Context, Flatten, Linear, Rescale


@pytest.mark.parametrize("shape", [(4,), (2, 4), (3, 2, 4)], ids=str)
def test_linear_is_the_affine_map_of_each_row_of_the_last_axis(library: Any, shape: tuple[int, ...]) -> None:
    generator = np.random.default_rng(1)
    x, dy = generator.normal(size=(5, *shape)), generator.normal(size=(5, *shape[:-1], 3))
    weight, bias = generator.normal(size=(4, 3)), generator.normal(size=3)

    def forward_and_backward(weight: Any, bias: Any, x: Any, dy: Any) -> Any:
        p = {"weight": weight, "bias": bias}
        y, saved = Linear(3).forward(library.xp, p, x, Context())
        return y, *Linear(3).backward(library.xp, p, saved, dy)

    given = library.given(weight), library.given(bias), library.given(x), library.owned(dy)
    y, dx, gradients = library.call(forward_and_backward, *given)
    library.assert_equal(y, np.einsum("...i,io->...o", x, weight) + bias)
    library.assert_equal(dx, np.einsum("...o,io->...i", dy, weight))
    assert gradients.keys() == {"weight", "bias"}
    rows, dy_rows = x.reshape(-1, 4), dy.reshape(-1, 3)
    library.assert_equal(gradients["weight"], sum(map(np.outer, rows, dy_rows)), tolerance=library.tolerance * 10)
    library.assert_equal(gradients["bias"], dy_rows.sum(axis=0), tolerance=library.tolerance * 10)


def test_linear_has_a_weight_that_decays_and_a_bias_that_does_not() -> None:
    specs, out_shape = Linear(3, bias=nn.Ones()).parameters((5, 4))
    assert out_shape == (5, 3)
    assert specs == {
        "weight": nn.Parameter((4, 3), nn.HeNormal()),
        "bias": nn.Parameter((3,), nn.Ones(), decay=False),
    }


def test_linear_computes_no_gradient_of_its_input_where_nobody_needs_it() -> None:
    p = {"weight": np.ones((2, 1)), "bias": np.ones(1)}
    y, saved = Linear(1).forward(np, p, np.ones((3, 2)), Context())
    dx, gradients = Linear(1).backward(np, p, saved, y.copy(), need_dx=False)
    assert dx is None
    assert gradients.keys() == {"weight", "bias"}


RESCALED = [
    (Rescale(), [[1.0, 2.0]], {"scale"}),
    (Rescale(0.5), [[0.5, 1.0]], {"scale"}),
    (Rescale(0.5, 1), [[0.0, 0.5]], {"scale", "shift"}),
    (Rescale((0.5, 2), 1.0), [[0.0, 2.0]], {"scale", "shift"}),
    (Rescale(2.0, (1.0, -1.0)), [[0.0, 6.0]], {"scale", "shift"}),
    (Rescale(np.asarray([0.5, 2.0]), [0.0, 0.0]), [[0.5, 4.0]], {"scale", "shift"}),
    (Rescale(3, 0), [[3.0, 6.0]], {"scale"}),
]


@pytest.mark.parametrize(("layer", "y", "names"), RESCALED, ids=str)
def test_what_is_rescaled_is_shifted_first_and_then_scaled(library: Any, layer: Any, y: Any, names: set[str]) -> None:
    layout = nn.Layout(layer, (2,), pack_limit=0)
    arrays = layout.initial(np, np.random.default_rng(0))
    assert arrays.keys() == names
    assert not layout.parameters

    def forward_and_backward(p: Any, x: Any, dy: Any) -> Any:
        output, saved = layer.forward(library.xp, p, x, Context())
        return output, *layer.backward(library.xp, p, saved, dy)

    p = {name: library.given(array) for name, array in arrays.items()}
    for dtype in (library.dtype, "uint8"):
        x = library.backend.asarray(np.asarray([[1, 2]], dtype))
        found, dx, gradients = library.call(forward_and_backward, p, x, library.owned(np.ones((1, 2))))
        library.assert_equal(found, np.asarray(y))
        library.assert_equal(dx, np.broadcast_to(np.asarray(layer.scale, float), (1, 2)))
        assert gradients == {}


def test_numbers_for_the_last_axis_fit_samples_of_any_other_axes() -> None:
    specs, shape = Rescale((1.0, 2.0), (3.0, 4.0)).parameters((5, 2))
    assert shape == (5, 2)
    assert {name: spec.shape for name, spec in specs.items()} == {"scale": (2,), "shift": (2,)}
    assert not any(spec.trainable for spec in specs.values())


@pytest.mark.parametrize("shape", [(), (3,), (2, 1)], ids=str)
@pytest.mark.parametrize("name", ["scale", "shift"])
def test_as_many_numbers_as_the_last_axis_is_long_are_needed(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError) as refused:
        Rescale(**{name: (1.0, 2.0)}).parameters(shape)
    assert str(refused.value) == f"Rescale has 2 numbers as {name}, but each sample has shape {shape}"


@pytest.mark.parametrize(("shape", "length"), [((), 1), ((4,), 4), ((2, 3), 6), ((2, 0, 3), 0)], ids=str)
def test_flatten_makes_one_row_of_each_sample(library: Any, shape: tuple[int, ...], length: int) -> None:
    assert Flatten().parameters(shape) == ({}, (length,))
    x = np.arange(float(5 * length)).reshape(5, *shape)

    def forward_and_backward(x: Any, dy: Any) -> Any:
        y, saved = Flatten().forward(library.xp, {}, x, Context())
        return y, Flatten().backward(library.xp, {}, saved, dy)[0]

    y, dx = library.call(forward_and_backward, library.given(x), library.owned(x.reshape(5, length)))
    library.assert_equal(y, x.reshape(5, length))
    library.assert_equal(dx, x)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Linear(-1), "Linear: out_features must be a whole number, 1 or more, but is -1"),
        (lambda: Linear(1.0), "Linear: out_features must be a whole number, 1 or more, but is 1.0"),
        (lambda: Linear(None), "Linear: out_features must be .*, but is None, which is no real number"),
        (lambda: Linear(4, 8), r"Linear takes the number of outputs alone, as in Linear\(8\): inputs are inferred"),
        (lambda: Linear(4, None), r"Linear: weight must be an initializer such as HeNormal\(\), but is None"),
        (
            lambda: Linear(4, bias=nn.Zeros),
            r"Linear: bias must be an initializer such as Zeros\(\) \(there is always a b",
        ),
        (
            lambda: nn.Parameter((1,), 0.0),
            r"Parameter: initializer must be an initializer such as Zeros\(\), but is 0.0",
        ),
    ],
)
def test_what_is_refused_is_told_in_full(make: Any, words: str) -> None:
    with pytest.raises(UsageError, match=f"^{words}"):
        make()


def test_the_shape_of_a_parameter_is_kept_as_python_numbers_and_one_that_cannot_be_is_refused() -> None:
    assert nn.Parameter([np.int64(2), 3], nn.Zeros()).shape == (2, 3)
    with pytest.raises(ShapeError, match=r"^the shape of a parameter must be a tuple of whole numbers"):
        nn.Parameter(3, nn.Zeros())  # type: ignore[arg-type]


def test_one_output_and_the_numbers_of_numpy_are_taken() -> None:
    assert Linear(1).out_features == 1
    assert type(Linear(np.int64(7)).out_features) is int
