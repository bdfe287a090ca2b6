"""What every layer promises, ours or a user's, on every array library."""

from __future__ import annotations

import copy
import tracemalloc
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import anynet
from anynet import nn
from anynet.checks import cases
from anynet.nn import Context, Layout
from anynet.nn.derived import Saved

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
        return y, dx, drawn.layout.summed(gradients)

    given = {name: library.given(array) for name, array in drawn.arrays.items()}
    return library.call(forward_and_backward, given, library.given(drawn.x), library.owned(drawn.dy))


def on_numpy(case: cases.LayerCase, drawn: Drawn) -> tuple[Any, Any, Any]:
    p = drawn.layout.unpack(np, *drawn.layout.blocks(np, drawn.arrays))
    y, saved = case.layer.forward(np, p, drawn.x, Context(training=True))
    dx, gradients = case.layer.backward(np, p, saved, drawn.dy.copy())
    return y, dx, drawn.layout.summed(gradients)


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


def arrays_in(kept: Any) -> list[Any]:
    """The arrays that nested tuples, lists and dicts hold, in order."""
    if isinstance(kept, Saved):
        kept = kept.arrays, kept.kept
    if isinstance(kept, dict):
        kept = tuple(kept.values())
    if isinstance(kept, tuple | list):
        return [array for part in kept for array in arrays_in(part)]
    return [kept] if isinstance(kept, np.ndarray) else []


def assert_same_arrays(actual: Any, expected: Any) -> None:
    for one, other in zip(arrays_in(actual), arrays_in(expected), strict=True):
        np.testing.assert_array_equal(one, other)


def test_inputs_parameters_and_saved_arrays_are_left_unchanged(case: cases.LayerCase) -> None:
    drawn = draw(case, "float64")
    p = drawn.layout.unpack(np, *drawn.layout.blocks(np, drawn.arrays))
    x, given = drawn.x.copy(), copy.deepcopy((p, drawn.arrays))
    y, saved = case.layer.forward(np, p, x, Context(training=True))
    before = copy.deepcopy((y, saved))
    case.layer.backward(np, p, saved, drawn.dy.copy())
    np.testing.assert_array_equal(x, drawn.x)
    assert_same_arrays((p, drawn.arrays), given)
    assert_same_arrays((y, saved), before)


def test_a_second_backward_gives_the_same_gradients(case: cases.LayerCase) -> None:
    drawn = draw(case, "float64")
    p = drawn.layout.unpack(np, *drawn.layout.blocks(np, drawn.arrays))
    _, saved = case.layer.forward(np, p, drawn.x, Context(training=True))
    # A copy, for the second might change what the first has given.
    first = copy.deepcopy(case.layer.backward(np, p, saved, drawn.dy.copy()))
    second = case.layer.backward(np, p, saved, drawn.dy.copy())
    assert_same_arrays(second, first)


def test_arrays_need_not_be_contiguous(case: cases.LayerCase) -> None:
    drawn = draw(case, "float64")
    expected = on_numpy(case, drawn)
    drawn.x = np.asfortranarray(np.repeat(drawn.x, 2, axis=0))[::2]
    drawn.dy = np.asfortranarray(np.repeat(drawn.dy, 2, axis=0))[::2]
    y, dx, gradients = on_numpy(case, drawn)
    # A number near 0 may be nothing but rounding errors.
    np.testing.assert_allclose(y, expected[0], rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(dx, expected[1], rtol=1e-13, atol=1e-13)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, expected[2][name], rtol=1e-12, atol=1e-13)


def test_without_need_for_dx_the_other_gradients_stay_the_same(case: cases.LayerCase) -> None:
    drawn = draw(case, "float64")
    p = drawn.layout.unpack(np, *drawn.layout.blocks(np, drawn.arrays))
    _, saved = case.layer.forward(np, p, drawn.x, Context(training=True))
    _, gradients = case.layer.backward(np, p, saved, drawn.dy.copy(), need_dx=False)
    expected = on_numpy(case, drawn)[2]
    assert drawn.layout.summed(gradients).keys() == expected.keys()
    for name, gradient in drawn.layout.summed(gradients).items():
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
    "LogSoftmax": lambda torch: torch.nn.LogSoftmax(dim=-1),
    "ELU": lambda torch: torch.nn.ELU(0.5),
    "GELU": lambda torch: torch.nn.GELU(),
    "GELU, tanh": lambda torch: torch.nn.GELU("tanh"),
    "SiLU": lambda torch: torch.nn.SiLU(),
    "Softplus": lambda torch: torch.nn.Softplus(2.0),
    "PReLU": lambda torch: torch.nn.PReLU(),
    "Flatten": lambda torch: torch.nn.Flatten(),
    "BatchNorm": lambda torch: torch.nn.BatchNorm1d(4),
    "LayerNorm": lambda torch: torch.nn.LayerNorm(4),
    "RMSNorm": lambda torch: torch.nn.RMSNorm(4, eps=1e-5),
}
# Whose weights are named, or packed, otherwise there: see test_sequences.
ELSEWHERE = {"Embedding", "MultiHeadAttention", "TransformerBlock", "GRU", "LSTM"}


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
    # Inputs takes a dict, so it has a file of tests of its own.
    assert {type(case.layer) for case in cases.LAYERS} == set(nn.LAYERS) - {nn.Inputs}


def test_every_layer_of_the_package_that_pytorch_has_is_held_against_it() -> None:
    without_a_counterpart = {
        "Reshape",
        "Rescale",
        "Dropout",
        "Sequential",
        "Masking",
        "Residual",
        "Concat",
        "Frozen",
        "Shared",
        "Inputs",
    }
    without_a_counterpart |= {"SinusoidalPositions", "LearnedPositions"}
    without_a_counterpart |= {"RandomTranslation", "RandomHorizontalFlip", "RandomCrop", "RandomErasing"}
    # In test_images_and_signals.py, since PyTorch has the channels first.
    of_images = {"GroupNorm", "Conv1d", "Conv2d", "ConvTranspose2d", "GlobalAvgPool", "Upsample"}
    of_images |= {"MaxPool1d", "MaxPool2d", "AvgPool1d", "AvgPool2d"}
    with_one = {name.partition(",")[0] for name in TORCH_MODULES}
    assert {layer.__name__ for layer in nn.LAYERS} == with_one | ELSEWHERE | of_images | without_a_counterpart


ACTIVATIONS = [
    *(nn.Sigmoid(), nn.Tanh(), nn.Softmax(), nn.LogSoftmax(), nn.ELU(), nn.GELU(), nn.GELU("tanh"), nn.SiLU()),
    nn.Softplus(),
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1e4, 1e-30])
@pytest.mark.parametrize("layer", ACTIVATIONS, ids=repr)
def test_activations_stay_finite_for_any_input(library: Any, layer: Any, scale: float) -> None:
    x = library.given(scale * np.asarray([[-1.0, 0.0, 1.0]]))

    def forward_and_backward(x: Any) -> Any:
        y, saved = layer.forward(library.xp, {}, x, Context())
        return y, layer.backward(library.xp, {}, saved, x * 0.0 + 1.0)[0]

    for array in library.call(forward_and_backward, x):
        assert np.isfinite(library.backend.to_numpy(array)).all()


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


def test_a_shape_of_millions_takes_no_memory_until_there_are_weights() -> None:
    network = nn.Sequential(nn.BatchNorm(), nn.LayerNorm())
    tracemalloc.start()
    Layout(network, (3 * 10**7,))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 1 << 20
