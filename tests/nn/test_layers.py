"""What every layer promises, ours or a user's, on every array library."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import anynet
from anynet import nn
from anynet.checks import cases
from anynet.errors import ShapeError, UsageError
from anynet.nn import Context, Layout
from anynet.nn.layout import by_name

ROWS = 5


@pytest.fixture(params=cases.LAYERS, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> cases.LayerCase:
    return request.param


@dataclass
class Drawn:
    """A case's parameters, inputs and output gradient as NumPy arrays."""

    layout: Layout
    arrays: dict[str, Any]
    x: Any
    dy: Any


def draw(case: cases.LayerCase, dtype: str, rows: int = ROWS) -> Drawn:
    generator = np.random.default_rng(7)
    layout = Layout(case.layer, case.shape, pack_limit=0)
    arrays = {name: array.astype(dtype) for name, array in layout.initial(np, generator).items()}
    x = generator.normal(size=(rows, *case.shape)).astype(dtype)
    dy = generator.normal(size=(rows, *layout.out_shape)).astype(dtype)
    return Drawn(layout, arrays, x, dy)


def apply(library: Any, case: cases.LayerCase, drawn: Drawn, need_dx: bool = True) -> tuple[Any, Any, Any]:
    """Output, dx and gradients by name, from arrays nobody may change."""

    def forward_and_backward(arrays: dict[str, Any], x: Any, dy: Any) -> Any:
        p = drawn.layout.unpack(library.xp, *drawn.layout.blocks(library.xp, arrays))
        y, saved = case.layer.forward(library.xp, p, x, Context(training=True))
        dx, gradients = case.layer.backward(library.xp, p, saved, dy, need_dx)
        return y, dx, by_name(gradients)

    given = {name: library.given(array) for name, array in drawn.arrays.items()}
    return library.call(forward_and_backward, given, library.given(drawn.x), library.owned(drawn.dy))


def on_numpy(case: cases.LayerCase, drawn: Drawn) -> tuple[Any, Any, Any]:
    p = drawn.layout.unpack(np, *drawn.layout.blocks(np, drawn.arrays))
    y, saved = case.layer.forward(np, p, drawn.x, Context(training=True))
    dx, gradients = case.layer.backward(np, p, saved, drawn.dy.copy())
    return y, dx, by_name(gradients)


def test_output_and_gradients_are_those_of_numpy(library: Any, case: cases.LayerCase, dtype: str) -> None:
    drawn = draw(case, dtype)
    expected_y, expected_dx, expected_gradients = on_numpy(case, drawn)
    y, dx, gradients = apply(library, case, drawn)
    library.assert_equal(y, expected_y)
    library.assert_equal(dx, expected_dx)
    assert gradients.keys() == expected_gradients.keys() == {entry.name for entry in drawn.layout.parameters}
    for name, gradient in gradients.items():
        library.assert_equal(gradient, expected_gradients[name])


@pytest.mark.parametrize("rows", [0, 1])
def test_a_batch_may_be_empty_or_of_one_row(library: Any, case: cases.LayerCase, dtype: str, rows: int) -> None:
    drawn = draw(case, dtype, rows)
    y, dx, gradients = apply(library, case, drawn)
    assert y.shape == (rows, *drawn.layout.out_shape)
    assert dx.shape == drawn.x.shape
    for entry in drawn.layout.parameters:
        assert gradients[entry.name].shape == entry.parameter.shape


def test_inputs_parameters_and_saved_arrays_are_left_unchanged(case: cases.LayerCase) -> None:
    drawn = draw(case, "float64")
    p = drawn.layout.unpack(np, *drawn.layout.blocks(np, drawn.arrays))
    before = {name: array.copy() for name, array in drawn.arrays.items()}
    x = drawn.x.copy()
    y, saved = case.layer.forward(np, p, x, Context(training=True))
    y_before = y.copy()
    case.layer.backward(np, p, saved, drawn.dy.copy())
    np.testing.assert_array_equal(x, drawn.x)
    np.testing.assert_array_equal(y, y_before)
    for name, array in drawn.arrays.items():
        np.testing.assert_array_equal(array, before[name])


def test_a_second_backward_gives_the_same_gradients(case: cases.LayerCase) -> None:
    drawn = draw(case, "float64")
    first, second = on_numpy(case, drawn), on_numpy(case, drawn)
    np.testing.assert_array_equal(first[1], second[1])


def test_arrays_need_not_be_contiguous(case: cases.LayerCase) -> None:
    drawn = draw(case, "float64")
    expected = on_numpy(case, drawn)
    drawn.x = np.asfortranarray(np.repeat(drawn.x, 2, axis=0))[::2]
    drawn.dy = np.asfortranarray(np.repeat(drawn.dy, 2, axis=0))[::2]
    y, dx, gradients = on_numpy(case, drawn)
    np.testing.assert_allclose(y, expected[0], rtol=1e-13)
    np.testing.assert_allclose(dx, expected[1], rtol=1e-13)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, expected[2][name], rtol=1e-12)


def test_without_need_for_dx_the_other_gradients_stay_the_same(case: cases.LayerCase) -> None:
    drawn = draw(case, "float64")
    p = drawn.layout.unpack(np, *drawn.layout.blocks(np, drawn.arrays))
    _, saved = case.layer.forward(np, p, drawn.x, Context(training=True))
    _, gradients = case.layer.backward(np, p, saved, drawn.dy.copy(), need_dx=False)
    expected = on_numpy(case, drawn)[2]
    assert by_name(gradients).keys() == expected.keys()
    for name, gradient in by_name(gradients).items():
        np.testing.assert_array_equal(gradient, expected[name])


def test_gradients_agree_with_differences(backend_name: str, case: cases.LayerCase) -> None:
    assert anynet.gradcheck(case.layer, case.shape, backend=backend_name, elements=8).error < 1e-7


@pytest.mark.needs("jax")
def test_gradients_agree_with_jax_grad(case: cases.LayerCase) -> None:
    import jax

    drawn = draw(case, "float64")
    _, expected_dx, expected_gradients = on_numpy(case, drawn)
    trained = {entry.name: drawn.arrays[entry.name] for entry in drawn.layout.parameters}

    def weighted_output(trained: Any, x: Any) -> Any:
        p = drawn.layout.unpack(jax.numpy, *drawn.layout.blocks(jax.numpy, {**drawn.arrays, **trained}))
        return jax.numpy.sum(case.layer.forward(jax.numpy, p, x, Context(training=True))[0] * drawn.dy)

    with jax.enable_x64(True):
        gradients, dx = jax.grad(weighted_output, argnums=(0, 1))(trained, drawn.x)
    np.testing.assert_allclose(dx, expected_dx, rtol=1e-12, atol=1e-12)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, expected_gradients[name], rtol=1e-12, atol=1e-12)


TORCH_MODULES = {
    "Linear": lambda torch: torch.nn.Linear(4, 3),
    "ReLU": lambda torch: torch.nn.ReLU(),
    "LeakyReLU": lambda torch: torch.nn.LeakyReLU(0.1),
    "Sigmoid": lambda torch: torch.nn.Sigmoid(),
    "Tanh": lambda torch: torch.nn.Tanh(),
    "Softmax": lambda torch: torch.nn.Softmax(dim=-1),
    "Flatten": lambda torch: torch.nn.Flatten(),
    "BatchNorm": lambda torch: torch.nn.BatchNorm1d(4),
    "LayerNorm": lambda torch: torch.nn.LayerNorm(4),
}


@pytest.mark.needs("torch")
@pytest.mark.parametrize("name", TORCH_MODULES)
def test_output_and_gradients_are_those_of_pytorch(name: str) -> None:
    import torch

    case = next(case for case in cases.LAYERS if case.name == name)
    drawn = draw(case, "float64")
    module = TORCH_MODULES[name](torch).double()
    for key, parameter in module.named_parameters():
        parameter.data = torch.asarray(drawn.arrays[key].T.copy())
    x = torch.asarray(drawn.x, requires_grad=True)
    y = module(x)
    y.backward(torch.asarray(drawn.dy))
    expected_y, expected_dx, expected_gradients = on_numpy(case, drawn)
    np.testing.assert_allclose(expected_y, y.detach(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(expected_dx, x.grad, rtol=1e-12, atol=1e-12)
    for key, parameter in module.named_parameters():
        np.testing.assert_allclose(expected_gradients[key], parameter.grad.numpy().T, rtol=1e-12, atol=1e-12)


def test_every_layer_of_the_package_has_a_case() -> None:
    assert {type(case.layer) for case in cases.LAYERS} == set(nn.LAYERS)


@pytest.mark.parametrize("scale", [1e4, 1e-30])
@pytest.mark.parametrize("layer", [nn.Sigmoid(), nn.Tanh(), nn.Softmax()], ids=repr)
def test_activations_stay_finite_for_any_input(library: Any, layer: Any, scale: float) -> None:
    x = library.given(scale * np.asarray([[-1.0, 0.0, 1.0]]))

    def forward_and_backward(x: Any) -> Any:
        y, saved = layer.forward(library.xp, {}, x, Context())
        return y, layer.backward(library.xp, {}, saved, x * 0.0 + 1.0)[0]

    for array in library.call(forward_and_backward, x):
        assert np.isfinite(library.backend.to_numpy(array)).all()


def test_sequential_infers_sizes_and_names_parameters_by_position() -> None:
    layout = Layout(nn.Sequential(nn.Flatten(), nn.Linear(3), nn.ReLU(), nn.Linear(2)), (2, 2))
    shapes = {entry.name: entry.parameter.shape for entry in layout.parameters}
    assert shapes == {"1.weight": (4, 3), "1.bias": (3,), "3.weight": (3, 2), "3.bias": (2,)}
    assert layout.out_shape == (2,)


def test_no_gradient_is_carried_below_the_first_layer_that_trains() -> None:
    class Below(nn.Flatten):
        def backward(self, *arguments: Any) -> Any:
            raise AssertionError("the gradient of the input was computed")

    network = nn.Sequential(Below(), nn.Sequential(nn.Rescale(2.0), nn.Linear(2)), nn.ReLU())
    layout = Layout(network, (3,))
    p = layout.unpack(np, *layout.blocks(np, layout.initial(np, np.random.default_rng(0))))
    y, saved = network.forward(np, p, np.ones((4, 3)), Context())
    dx, gradients = network.backward(np, p, saved, y.copy(), need_dx=False)
    assert dx is None
    assert gradients["1"]["1"].keys() == {"weight", "bias"}


def test_a_users_own_layer_is_three_methods() -> None:
    @dataclass(frozen=True)
    class Scale(nn.Layer):
        def parameters(self, shape: Any) -> Any:
            return {"factor": nn.Parameter(shape[-1:], nn.Values((1.0,) * shape[-1]))}, shape

        def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
            return x * p["factor"], (x, p["factor"])

        def backward(self, xp: Any, p: Any, saved: Any, dy: Any, need_dx: bool = True) -> Any:
            x, factor = saved
            return dy * factor, {"factor": xp.sum(dy * x, axis=0)}

    assert anynet.gradcheck(Scale(), (3,)).error < 1e-7
    assert anynet.gradcheck(nn.Sequential(nn.Linear(3), Scale(), nn.Tanh()), (2,)).error < 1e-7


def test_gradcheck_finds_a_layer_that_changes_its_input_or_forgets_a_gradient() -> None:
    class Doubled(nn.Tanh):
        def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
            x *= 2
            return super().forward(xp, p, x, ctx)

    class Forgetful(nn.Linear):
        def backward(self, *arguments: Any, **options: Any) -> Any:
            dx, gradients = super().backward(*arguments, **options)
            return dx, {"weight": gradients["weight"]}

    with pytest.raises(UsageError, match="changes its input"):
        anynet.gradcheck(Doubled(), (3,))
    with pytest.raises(UsageError, match="no gradient of bias"):
        anynet.gradcheck(Forgetful(2), (3,))


def test_gradcheck_checks_a_loss_at_the_prediction_it_is_given() -> None:
    class WrongFarOut(nn.MSELoss):
        def __call__(self, xp: Any, prediction: Any, target: Any, weight: Any) -> Any:
            value, gradient = super().__call__(xp, prediction, target, weight)
            return value, gradient * xp.where(prediction > 100, 2.0, 1.0)

    assert anynet.gradcheck(WrongFarOut(), (2,)).error < 1e-7
    assert anynet.gradcheck(WrongFarOut(), np.full((3, 2), 1000.0)).error > 0.1


def test_gradcheck_finds_a_wrong_gradient_and_says_where() -> None:
    class Wrong(nn.Linear):
        def backward(self, *arguments: Any, **options: Any) -> Any:
            dx, gradients = super().backward(*arguments, **options)
            gradients["weight"][1, 0] *= 1.01
            return dx, gradients

    check = anynet.gradcheck(nn.Sequential(nn.Tanh(), Wrong(2)), (3,))
    assert check.error > 1e-3
    assert check.where == "1.weight[1, 0]"


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        (nn.Linear(2), (), "at least one axis"),
        (nn.Softmax(), (), "at least one axis"),
        (nn.Rescale(scale=(1.0, 2.0)), (3,), "2 numbers as scale.*shape \\(3,\\)"),
        (nn.Linear(2, bias=nn.HeNormal()), (3,), "shape \\(inputs, outputs\\), but it has shape \\(2,\\)"),
        (nn.Linear(2, weight=nn.Values([[1.0]])), (3,), "shape \\(3, 2\\).*given values have \\(1, 1\\)"),
        (
            nn.Linear(2, bias=lambda generator, shape: [0.0]),
            (3,),
            "bias, must give .* \\(2,\\), but gives one of \\(1,\\)",
        ),
        (nn.Linear(2), 784, "must be a tuple of whole numbers, such as \\(784,\\), but is 784"),
        (nn.Linear(2), (2.5,), "tuple of whole numbers"),
        (nn.Linear(2), (-1,), "tuple of whole numbers"),
        (nn.Sequential(nn.Flatten(), nn.Rescale(scale=(1.0,))), (3,), "layer 1 \\(Rescale\\)"),
    ],
)
def test_shapes_that_do_not_fit_are_named(layer: Any, shape: Any, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        Layout(layer, shape).initial(np, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.Linear(0), "Linear: out_features must be a whole number, 1 or more, but is 0"),
        (lambda: nn.Linear(2.5), "1 or more, but is 2.5"),
        (lambda: nn.Linear("8"), "1 or more, but is '8', which is no real number"),
        (lambda: nn.Linear(True), "1 or more, but is True"),
        (lambda: nn.Linear(4, 8), r"number of outputs alone, as in Linear\(8\): inputs are inferred"),
        (lambda: nn.Linear(8, bias=False), r"must be an initializer such as Zeros\(\) \(there is always a bias\)"),
        (lambda: nn.Linear(8, nn.HeNormal), "an initializer such as HeNormal\\(\\), but is the class HeNormal"),
        (lambda: nn.LeakyReLU(-1.0), "LeakyReLU: negative_slope must be 0 or more, but is -1.0"),
        (lambda: nn.Dropout("0.5"), "Dropout: p must be at least 0 and below 1, but is '0.5'"),
        (lambda: nn.Rescale("x"), "a finite number, but one is 'x'"),
        (lambda: nn.Rescale([1.0, math.nan]), "a finite number, but one is nan"),
        (lambda: nn.Sequential(nn.ReLU), r"layer 0 of Sequential is the class ReLU; make one, as in ReLU\(...\)"),
        (lambda: nn.Sequential(nn.Linear(2), 3), "layer 1 of Sequential is 3, which is no layer"),
        (lambda: nn.Sequential([nn.Linear(2)]), r"Sequential\(\*layers\), not Sequential\(layers\)"),
        (lambda: nn.Sequential(nn.ReLU(), [nn.ReLU()]), r"layer 1 of Sequential is a list.*Sequential\(\*layers\)"),
        (lambda: nn.Frozen(nn.ReLU), "to be Frozen is the class ReLU"),
    ],
)
def test_a_layer_that_cannot_be_is_refused(make: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make()


def test_a_layer_that_lacks_a_method_is_refused_by_its_name() -> None:
    class Half(nn.Layer):
        def forward(self, *arguments: Any) -> Any: ...

    with pytest.raises(UsageError, match=r"layer 1 of Sequential is .*Half.*, a layer that has no method backward"):
        nn.Sequential(nn.ReLU(), Half())


def test_what_has_a_layers_methods_but_not_its_base_is_told_what_to_do() -> None:
    class Alike:
        forward = backward = parameters = None

    with pytest.raises(UsageError, match=r"which is no layer: derive Alike from anynet\.nn\.Layer"):
        nn.Sequential(Alike())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("initializer", "words"),
    [
        (lambda: 0.0, r"is called as initializer\(generator, shape\), but: .*takes 0 positional arguments"),
        (lambda generator, shape: None, "must give finite numbers, but gives None"),
        (lambda generator, shape: "abc", "must give an array of numbers, but gives 'abc'"),
        (lambda generator, shape: [1.0, math.inf], "must give finite numbers"),
    ],
)
def test_first_values_that_cannot_be_are_refused(initializer: Any, words: str) -> None:
    with pytest.raises(UsageError, match=f"the initializer of bias, {words}"):
        Layout(nn.Linear(2, bias=initializer), (3,)).initial(np, np.random.default_rng(0))


def test_a_shape_of_millions_takes_no_memory_until_there_are_weights() -> None:
    network = nn.Sequential(nn.BatchNorm(), nn.LayerNorm())
    tracemalloc.start()
    Layout(network, (3 * 10**7,))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 1 << 20


class TestSequential:
    layers = (nn.Linear(3), nn.ReLU(), nn.Linear(1))
    network = nn.Sequential(*layers)

    def test_it_has_the_length_the_items_and_the_order_of_its_layers(self) -> None:
        assert len(self.network) == 3
        assert tuple(self.network) == self.layers
        assert (self.network[0], self.network[-1]) == (self.layers[0], self.layers[-1])
        assert nn.ReLU() in self.network

    @pytest.mark.parametrize("part", [slice(1), slice(1, None), slice(None, None, -1), slice(5, 9)])
    def test_a_slice_is_a_sequential(self, part: slice) -> None:
        assert self.network[part] == nn.Sequential(*self.layers[part])

    def test_there_is_nothing_behind_its_end(self) -> None:
        with pytest.raises(IndexError):
            self.network[3]

    def test_equal_layers_make_it_equal_and_give_it_the_same_hash(self) -> None:
        assert self.network == nn.Sequential(*self.network)
        assert hash(self.network) == hash(nn.Sequential(*self.network))
        assert self.network != self.network[:2]


class TestFrozen:
    x = np.random.default_rng(4).normal(size=(40, 5))
    y = x[:, :2] * x[:, 1:3]

    def partly_frozen(self, **options: Any) -> anynet.Model:
        base = nn.Sequential(nn.Linear(6), nn.BatchNorm(), nn.Dropout(0.5), nn.Tanh())
        network = nn.Sequential(nn.Frozen(base), nn.Linear(2))
        return anynet.Model(network, nn.MSELoss(), nn.Adam(0.01, weight_decay=0.1), dtype="float64", **options)

    def test_nothing_in_it_changes_on_any_backend(self, backend_name: str) -> None:
        model = self.partly_frozen(backend=backend_name).build((5,))
        before = model.parameters
        model.fit(self.x, self.y, epochs=2, batch_size=8)
        after = model.parameters
        changed = [name for name in before if (before[name] != after[name]).any()]
        assert changed == ["1.weight", "1.bias"]

    def test_what_comes_after_it_learns_as_it_would_from_fixed_inputs(self) -> None:
        frozen = self.partly_frozen().build((5,))
        head = anynet.Model(nn.Sequential(nn.Linear(2)), frozen.loss, frozen.optimizer, dtype="float64")
        head.build((6,), {f"0.{name}": frozen.parameters[f"1.{name}"] for name in ("weight", "bias")})
        base = frozen.network[0].layer
        part = {name[2:]: array for name, array in frozen.parameters.items() if name.startswith("0.")}
        features = anynet.Model(base, frozen.loss, frozen.optimizer, dtype="float64").build((5,), part).predict(self.x)
        found = frozen.fit(self.x, self.y, epochs=3, batch_size=8)
        expected = head.fit(features, self.y, epochs=3, batch_size=8)
        np.testing.assert_allclose([r["loss"] for r in found], [r["loss"] for r in expected], rtol=1e-12)

    def test_the_gradient_passes_through_it(self) -> None:
        network = nn.Sequential(nn.Linear(4), nn.Frozen(nn.Sequential(nn.Linear(3), nn.Tanh())), nn.Linear(2))
        assert anynet.gradcheck(network, (5,)).error < 1e-7

    def test_no_gradient_is_carried_into_it_where_nothing_below_trains(self) -> None:
        class Below(nn.Tanh):
            def backward(self, *arguments: Any) -> Any:
                raise AssertionError("a gradient was computed for nothing")

        network = nn.Sequential(nn.Frozen(nn.Sequential(nn.Linear(3), Below())), nn.Linear(2))
        anynet.Model(network, nn.MSELoss(), nn.SGD(0.1)).fit(self.x, self.y)

    def test_a_network_that_is_frozen_altogether_keeps_its_weights(self, backend_name: str) -> None:
        network = nn.Frozen(nn.Sequential(nn.Linear(2)))
        model = anynet.Model(network, nn.MSELoss(), nn.SGD(0.1), backend=backend_name).build((5,))
        before = model.parameters["0.weight"]
        model.fit(self.x, self.y)
        np.testing.assert_array_equal(model.parameters["0.weight"], before)

    def test_bytes_reach_a_frozen_rescale_as_bytes(self) -> None:
        assert nn.Frozen(nn.Rescale(1 / 255)).takes_bytes
        assert not nn.Frozen(nn.ReLU()).takes_bytes
