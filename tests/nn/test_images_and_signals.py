"""Convolutions, pooling and the norms of images, against PyTorch's, which has the channels first."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import anynet
from anynet import nn
from anynet.errors import ShapeError, UsageError
from anynet.nn import Context, Layout
from anynet.nn.layout import by_name

CONVOLUTIONS = [
    (nn.Conv1d, (9, 4), {"kernel_size": 3}),
    (nn.Conv1d, (9, 4), {"kernel_size": 4, "padding": "same", "dilation": 2, "groups": 2}),
    (nn.Conv1d, (9, 4), {"kernel_size": (2,), "stride": 3, "padding": (2,)}),
    (nn.Conv2d, (6, 5, 4), {"kernel_size": 1}),
    (nn.Conv2d, (6, 5, 4), {"kernel_size": 3, "padding": 1}),
    (nn.Conv2d, (6, 5, 4), {"kernel_size": (2, 3), "padding": "same"}),
    (nn.Conv2d, (6, 5, 4), {"kernel_size": 3, "padding": "valid", "stride": 2}),
    (nn.Conv2d, (6, 5, 4), {"kernel_size": 2, "stride": (3, 1), "padding": (2, 0), "dilation": (1, 3)}),
    (nn.Conv2d, (6, 5, 4), {"kernel_size": 3, "stride": 2, "padding": 3, "groups": 2}),
    (nn.Conv2d, (6, 5, 4), {"kernel_size": 3, "padding": 1, "groups": 4}),
    (nn.Conv2d, (6, 5, 4), {"kernel_size": (6, 5)}),
    (nn.ConvTranspose2d, (3, 4, 4), {"kernel_size": 3}),
    (nn.ConvTranspose2d, (3, 4, 4), {"kernel_size": 2, "stride": 2}),
    (nn.ConvTranspose2d, (3, 4, 4), {"kernel_size": 1, "stride": 3, "output_padding": (2, 0)}),
    (nn.ConvTranspose2d, (3, 4, 4), {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1}),
    (nn.ConvTranspose2d, (3, 4, 4), {"kernel_size": (2, 3), "stride": (3, 2), "padding": (0, 2), "groups": 2}),
    (nn.ConvTranspose2d, (3, 4, 4), {"kernel_size": 2, "stride": 2, "dilation": (3, 2), "output_padding": (2, 1)}),
]
POOLING = [
    (getattr(nn, f"{kind}Pool{axes}d"), (7, 6, 3)[-axes - 1 :], options)
    for kind in ("Max", "Avg")
    for axes in (1, 2)
    for options in (
        {"kernel_size": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 3, "stride": 1},
        {"kernel_size": 2, "stride": 3},
        {"kernel_size": (2, 3)[-axes:], "stride": (1, 2)[-axes:], "padding": (0, 1)[-axes:]},
    )
]
NORMS = [(nn.GroupNorm, shape, {"num_groups": groups}) for shape in ((4,), (3, 2, 4)) for groups in (1, 2, 4)]
# A kernel's axes and the channels of the weight, in the order of PyTorch.
ORDERS = {"Conv1d": (2, 1, 0), "Conv2d": (3, 2, 0, 1), "ConvTranspose2d": (2, 3, 0, 1)}


def made(kind: Any, options: dict[str, Any]) -> Any:
    of_convolution = {"out_channels": 8} if kind.__name__ in ORDERS else {}
    return kind(**of_convolution, **options)


def named(value: Any) -> str:
    return value.__name__ if isinstance(value, type) else str(value)


def outcome(layer: Any, xp: Any, p: Any, x: Any, dy: Any) -> tuple[Any, Any, dict[str, Any]]:
    y, saved = layer.forward(xp, p, x, Context(training=True))
    dx, gradients = layer.backward(xp, p, saved, dy)
    return y, dx, by_name(gradients)


def drawn(layer: Any, shape: tuple[int, ...], whole: bool = False) -> tuple[Any, Any, Any]:
    generator = np.random.default_rng(3)
    layout = Layout(layer, shape, pack_limit=0)
    p = {entry.name: generator.normal(size=entry.parameter.shape) for entry in layout.parameters}
    x = generator.normal(size=(2, *shape))
    return p, np.round(x) if whole else x, generator.normal(size=(2, *layout.out_shape))


@pytest.mark.needs("torch")
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize(("kind", "shape", "options"), [*CONVOLUTIONS, *POOLING, *NORMS], ids=named)
def test_output_and_gradients_are_those_of_pytorch(kind: Any, shape: Any, options: dict[str, Any]) -> None:
    import torch

    layer, name = made(kind, options), kind.__name__
    # Whole numbers have ties, of which the first takes the gradient.
    p, x, dy = drawn(layer, shape, whole="Max" in name)
    channels = (shape[-1], 8)[: 2 if name in ORDERS else 0] or ((shape[-1],) if kind is nn.GroupNorm else ())
    first = {"num_groups": options["num_groups"]} if kind is nn.GroupNorm else {}
    rest = {} if first else options
    module = getattr(torch.nn, name)(*first.values(), *channels, **rest).double()
    for key, parameter in module.named_parameters():
        order = ORDERS.get(name, ()) if key == "weight" else ()
        parameter.data = torch.asarray(np.transpose(p[key], order or None).copy())
    x_first = torch.asarray(np.moveaxis(x, -1, 1).copy(), requires_grad=True)
    y = module(x_first)
    y.backward(torch.asarray(np.moveaxis(dy, -1, 1).copy()))
    found_y, found_dx, gradients = outcome(layer, np, p, x, dy.copy())
    np.testing.assert_allclose(np.moveaxis(found_y, -1, 1), y.detach(), rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(np.moveaxis(found_dx, -1, 1), x_first.grad, rtol=1e-11, atol=1e-11)
    for key, parameter in module.named_parameters():
        order = ORDERS.get(name, ()) if key == "weight" else ()
        found = np.transpose(gradients[key], order or None)
        np.testing.assert_allclose(found, parameter.grad, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("kind", "shape", "options"), [*CONVOLUTIONS, *POOLING, *NORMS], ids=named)
def test_gradients_agree_with_differences(kind: Any, shape: Any, options: dict[str, Any]) -> None:
    assert anynet.gradcheck(made(kind, options), shape, elements=6).error < 1e-7


@pytest.mark.needs("torch")
def test_upsampling_and_the_mean_of_each_channel_are_those_of_pytorch() -> None:
    import torch

    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    first = torch.asarray(np.moveaxis(x, -1, 1).copy())
    for factor in (2, (3, 1)):
        y, _ = nn.Upsample(factor).forward(np, {}, x, Context())
        expected = torch.nn.Upsample(scale_factor=factor)(first)
        np.testing.assert_array_equal(np.moveaxis(y, -1, 1), expected)
    y, _ = nn.GlobalAvgPool().forward(np, {}, x, Context())
    np.testing.assert_allclose(y, torch.nn.AdaptiveAvgPool2d(1)(first)[..., 0, 0], rtol=1e-12)


@pytest.mark.parametrize(("at", "first"), [((0, 0), (0, 0)), ((1, 0), (1, 0)), ((0, 1), (0, 1))])
def test_of_equal_maxima_the_first_takes_the_gradient(library: Any, at: Any, first: Any) -> None:
    x = np.full((1, 2, 2, 1), 5.0)
    x[0, : at[0]] = x[0, at[0], : at[1]] = 0.0

    def gradient(x: Any, dy: Any) -> Any:
        return outcome(nn.MaxPool2d(2), library.xp, {}, x, dy)[1]

    expected = np.zeros((1, 2, 2, 1))
    expected[0, first[0], first[1]] = 3.0
    library.assert_equal(library.call(gradient, library.given(x), library.owned(np.full((1, 1, 1, 1), 3.0))), expected)


def test_a_maximum_of_what_is_no_number_is_none() -> None:
    x = np.asarray([[[1.0], [np.nan], [2.0], [3.0]]])
    np.testing.assert_array_equal(nn.MaxPool1d(2).forward(np, {}, x, Context())[0], [[[np.nan], [3.0]]])


NETWORK = (
    nn.Conv2d(4, 3, padding="same"),
    nn.BatchNorm(),
    nn.ReLU(),
    nn.MaxPool2d(3, stride=2, padding=1),
    nn.Conv2d(4, 3, stride=2, padding=1, groups=2),
    nn.GroupNorm(2),
    nn.Upsample(2),
    nn.ConvTranspose2d(4, 2, stride=2),
    nn.RMSNorm(),
    nn.AvgPool2d(2),
    nn.GlobalAvgPool(),
    nn.Linear(3),
)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_network_of_images_trains_alike_on_every_library_and_compiled(backend_name: str, dtype: str) -> None:
    generator = np.random.default_rng(1)
    x, y = generator.normal(size=(10, 7, 6, 2)), generator.normal(size=(10, 3))

    def trained(name: str) -> list[float]:
        model = anynet.Model(nn.Sequential(*NETWORK), nn.MSELoss(), nn.SGD(0.05), backend=name, dtype=dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            history = model.fit(x.astype(dtype), y.astype(dtype), epochs=2, batch_size=4)
        assert {str(array.dtype) for array in model.parameters.values()} == {dtype}
        return [record["loss"] for record in history]

    np.testing.assert_allclose(trained(backend_name), trained("numpy"), rtol=1e-9 if dtype == "float64" else 1e-4)


def test_batch_normalization_of_images_is_over_all_their_places() -> None:
    x = np.random.default_rng(0).normal(2.0, 3.0, (3, 4, 5, 2))
    p = {name: np.full(2, number) for name, number in (("weight", 1.0), ("bias", 0.0))}
    running = {"running_mean": np.zeros(2), "running_var": np.ones(2)}
    y, _ = nn.BatchNorm().forward(np, {**p, **running}, x, Context(training=True))
    np.testing.assert_allclose(y.mean(axis=(0, 1, 2)), 0.0, atol=1e-12)
    np.testing.assert_allclose(y.std(axis=(0, 1, 2)), 1.0, rtol=1e-5)


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: nn.Conv2d(0, 3), "Conv2d: out_channels must be a whole number, 1 or more, but is 0"),
    (lambda: nn.Conv2d(4, 0), "Conv2d: kernel_size must be a whole number, 1 or more, or 2 of them, but is 0"),
    (lambda: nn.Conv2d(4, (3, 3, 3)), "Conv2d: kernel_size must be a whole number, 1 or more, or 2 of them"),
    (lambda: nn.Conv1d(4, (3, 3)), r"Conv1d: kernel_size must be a whole number, 1 or more, but is \(3, 3\)"),
    (lambda: nn.Conv2d(4, 3, stride=1.5), "Conv2d: stride must be a whole number"),
    (lambda: nn.Conv2d(4, 3, padding=-1), "Conv2d: padding must be a whole number, 0 or more"),
    (
        lambda: nn.Conv2d(4, 3, padding="full"),
        'Conv2d: padding must be .*, or 2 of them, "same" or "valid", but is \'full\'',
    ),
    (lambda: nn.Conv2d(4, 3, 2, "same"), r'Conv2d: padding "same" needs stride 1, but it is \(2, 2\)'),
    (lambda: nn.Conv2d(4, 3, groups=3), "Conv2d: out_channels, 4, must be a multiple of groups, 3"),
    (lambda: nn.Conv2d(4, 3, bias=None), r"Conv2d: bias must be an initializer such as Zeros\(\)"),
    (lambda: nn.ConvTranspose2d(4, 3, padding="same"), "ConvTranspose2d: padding must be a whole number, 0 or more"),
    (lambda: nn.ConvTranspose2d(4, 3, output_padding=1), "ConvTranspose2d: output_padding must be below"),
    (lambda: nn.MaxPool2d(3, padding=2), "MaxPool2d: padding must be at most half of kernel_size"),
    (lambda: nn.AvgPool1d(2, stride=0), "AvgPool1d: stride must be a whole number, 1 or more, but is 0"),
    (lambda: nn.Upsample(0.5), "Upsample: scale_factor must be a whole number"),
    (lambda: nn.Upsample(()), "Upsample: scale_factor must be a whole number"),
    (lambda: nn.GroupNorm(0), "GroupNorm: num_groups must be a whole number, 1 or more, but is 0"),
    (lambda: nn.RMSNorm(0), "RMSNorm: eps must be above 0 and finite, but is 0"),
]


@pytest.mark.parametrize(("make", "words"), REFUSED)
def test_settings_that_cannot_be_are_refused(make: Any, words: str) -> None:
    with pytest.raises(UsageError, match=f"^{words}"):
        make()


MISFITS = [
    (nn.Conv2d(4, 3), (28, 28), r"Conv2d needs samples of shape \(height, width, channels\), but each has .*28, 28\)"),
    (nn.Conv1d(4, 3), (), r"Conv1d needs samples of shape \(length, channels\)"),
    (nn.Conv2d(4, 5, padding=1), (2, 9, 1), r"Conv2d needs lengths of at least \(5, 5\), but .* has \(4, 11\)"),
    (nn.Conv2d(4, 3, groups=2), (5, 5, 3), "Conv2d has groups=2, which do not divide 3 channels"),
    (nn.ConvTranspose2d(4, 1, padding=1), (2, 2, 1), r"ConvTranspose2d with padding \(1, 1\) leaves nothing"),
    (nn.MaxPool2d(2), (1, 4, 3), r"MaxPool2d needs lengths of at least \(2, 2\), but"),
    (nn.Upsample((2, 2)), (4, 3), r"Upsample has scale_factor=\(2, 2\), one for each axis"),
    (nn.GlobalAvgPool(), (3,), "GlobalAvgPool needs samples of shape"),
    (nn.GroupNorm(2), (4, 3), "GroupNorm has num_groups=2, which do not divide 3 channels"),
    (nn.RMSNorm(), (), "RMSNorm needs samples with at least one axis"),
]


@pytest.mark.parametrize(("layer", "shape", "words"), MISFITS)
def test_samples_that_do_not_fit_are_refused(layer: Any, shape: Any, words: str) -> None:
    with pytest.raises(ShapeError, match=f"^{words}"):
        layer.parameters(shape)


def test_a_model_of_images_is_loaded_as_it_was_saved(tmp_path: Any) -> None:
    model = anynet.Model(nn.Sequential(*NETWORK), nn.MSELoss(), nn.SGD(0.1), backend="numpy").build((7, 6, 2))
    model.save(tmp_path / "model.safetensors")
    again = anynet.Model.load(tmp_path / "model.safetensors", backend="numpy")
    assert again.network == model.network
    x = np.ones((2, 7, 6, 2), np.float32)
    np.testing.assert_array_equal(again.predict(x), model.predict(x))
