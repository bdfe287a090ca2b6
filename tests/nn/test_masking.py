"""Padded sequences: each comes to what it would come to alone, as in PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anynet import Model, nn
from anynet.errors import ShapeError, UsageError
from anynet.nn import Context, Layout
from anynet.nn.layout import by_name

LENGTHS = (6, 3, 1, 4)
TIME, FEATURES = 6, 4
GENERATOR = np.random.default_rng(0)
THERE = np.arange(TIME) < np.asarray(LENGTHS)[:, None]
X = np.where(THERE[..., None], GENERATOR.normal(size=(len(LENGTHS), TIME, FEATURES)), 0.0)
WORDS = np.where(THERE, GENERATOR.integers(1, 9, THERE.shape), 0)

SKIPPING = [
    nn.GRU(5, bidirectional=True),
    nn.LSTM(5, bidirectional=True),
    nn.GlobalAvgPool(),
    nn.Sequential(nn.MultiHeadAttention(2), nn.GlobalAvgPool()),
    nn.Residual(nn.Sequential(nn.LayerNorm(), nn.MultiHeadAttention(2, causal=True, rotary=True))),
    nn.Sequential(nn.TransformerBlock(2, 7), nn.GRU(3, return_sequences=True), nn.LSTM(2)),
]


def drawn(layer: Any, shape: Any) -> Any:
    layout = Layout(layer, shape, pack_limit=0)
    return layout.unpack(np, *layout.blocks(np, layout.initial(np, np.random.default_rng(1))))


@pytest.mark.parametrize("layer", SKIPPING, ids=repr)
def test_each_sequence_comes_to_what_it_comes_to_without_its_padding(layer: Any) -> None:
    masking = nn.Masking(layer)
    p = drawn(masking, X.shape[1:])
    y, saved = masking.forward(np, p, X, Context())
    dy = np.random.default_rng(2).normal(size=y.shape)
    if y.ndim == 3:
        dy = np.where(THERE[..., None], dy, 0.0)
    dx, gradients = masking.backward(np, p, saved, dy.copy())
    total: dict[str, Any] = {}
    for row, length in enumerate(LENGTHS):
        alone, kept = layer.forward(np, p["0"], X[row : row + 1, :length], Context())
        mine = slice(row, row + 1), slice(0, length) if y.ndim == 3 else slice(None)
        np.testing.assert_allclose(y[mine], alone, rtol=1e-12, atol=1e-13)
        dx_alone, of_row = layer.backward(np, p["0"], kept, dy[mine].copy())
        np.testing.assert_allclose(dx[row : row + 1, :length], dx_alone, rtol=1e-11, atol=1e-13)
        np.testing.assert_array_equal(dx[row, length:], 0.0)
        for name, gradient in by_name(of_row).items():
            total[name] = total.get(name, 0.0) + gradient
    for name, gradient in by_name(gradients).items():
        np.testing.assert_allclose(gradient, total[name.removeprefix("0.")], rtol=1e-10, atol=1e-12)


def attention(torch: Any, x: Any) -> Any:
    module = torch.nn.MultiheadAttention(FEATURES, 2, batch_first=True).double()
    return module, module(x, x, x, key_padding_mask=~torch.asarray(THERE), need_weights=False)[0]


def recurrent(name: str) -> Any:
    def apply(torch: Any, x: Any) -> Any:
        rnn = torch.nn.utils.rnn
        module = getattr(torch.nn, name)(FEATURES, 5, batch_first=True, bidirectional=True).double()
        packed = rnn.pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
        return module, rnn.pad_packed_sequence(module(packed)[0], batch_first=True)[0]

    return apply


@pytest.mark.needs("torch")
@pytest.mark.parametrize(
    ("layer", "apply"),
    [
        (nn.MultiHeadAttention(2), attention),
        (nn.GRU(5, True, bidirectional=True), recurrent("GRU")),
        (nn.LSTM(5, True, bidirectional=True), recurrent("LSTM")),
    ],
    ids=["attention", "GRU", "LSTM"],
)
def test_output_and_gradients_are_those_of_pytorch(layer: Any, apply: Any) -> None:
    import torch

    theirs = torch.tensor(X, requires_grad=True)
    module, expected = apply(torch, theirs)
    dy = np.where(THERE[..., None], np.random.default_rng(1).normal(size=expected.shape), 0.0)
    expected.backward(torch.asarray(dy))
    names = {name: "0." + name.replace("_l0", "").replace("out_proj.", "out_proj_") for name in module.state_dict()}
    layout = Layout(nn.Masking(layer), X.shape[1:], pack_limit=0)
    arrays = {names[name]: value.numpy().T.copy() for name, value in module.state_dict().items()}
    p = layout.unpack(np, *layout.blocks(np, arrays))
    y, saved = nn.Masking(layer).forward(np, p, X, Context())
    dx, gradients = nn.Masking(layer).backward(np, p, saved, dy.copy())
    np.testing.assert_allclose(y[THERE], expected.detach()[THERE], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(dx, theirs.grad, rtol=1e-10, atol=1e-12)
    found = by_name(gradients)
    for name, parameter in module.named_parameters():
        np.testing.assert_allclose(found[names[name]], parameter.grad.numpy().T, rtol=1e-10, atol=1e-12)


NETWORK = nn.Masking(
    *(nn.Embedding(9, 4, padding_idx=0), nn.SinusoidalPositions(), nn.TransformerBlock(2, 5)),
    nn.GRU(3, return_sequences=True),
    nn.GlobalAvgPool(),
)


@pytest.mark.filterwarnings("error")
def test_every_backend_trains_with_it_to_the_same_numbers_whatever_the_padding(backend_name: str) -> None:
    def losses(backend: str, words: Any) -> list[float]:
        network = nn.Sequential(NETWORK, nn.Linear(2))
        model = Model(network, nn.CrossEntropyLoss(), nn.SGD(0.1), backend=backend, dtype="float64")
        labels = np.arange(12) % 2
        return [record["loss"] for record in model.fit(words, labels, epochs=3, batch_size=5)]

    words = np.concatenate([WORDS] * 3)
    expected = losses("numpy", words)
    np.testing.assert_allclose(losses(backend_name, words), expected, rtol=1e-10)
    np.testing.assert_allclose(losses(backend_name, np.pad(words, [(0, 0), (0, 2)])), expected, rtol=1e-10)
    np.testing.assert_allclose(losses(backend_name, words.astype(np.uint8)), expected, rtol=1e-10)


def test_a_value_of_ones_own_marks_what_is_padding() -> None:
    layer = nn.Masking(nn.GlobalAvgPool(), mask_value=-7)
    x = np.where(THERE[..., None], X, -7.0)
    np.testing.assert_allclose(layer.forward(np, {"0": {}}, x, Context())[0][1], X[1, :3].mean(axis=0), rtol=1e-12)


@pytest.mark.parametrize("mask_value", [-1, 0.5, 300])
@pytest.mark.filterwarnings("error")
def test_a_value_that_no_byte_has_masks_no_bytes(backend_name: str, mask_value: float) -> None:
    network = nn.Sequential(nn.Masking(nn.Rescale(1.0), nn.GlobalAvgPool(), mask_value=mask_value))
    model = Model(network, nn.MSELoss(), nn.SGD(0.1), backend=backend_name).build((2, 1))
    # What -1 and 300 wrap around to.
    assert model.predict(np.asarray([[[255], [44]]], np.uint8)).tolist() == [[149.5]]


def test_a_sequence_of_padding_alone_comes_to_finite_numbers() -> None:
    for layer in SKIPPING:
        p = drawn(nn.Masking(layer), X.shape[1:])
        y, saved = nn.Masking(layer).forward(np, p, 0.0 * X, Context())
        dx, gradients = nn.Masking(layer).backward(np, p, saved, np.ones_like(y))
        assert all(np.isfinite(array).all() for array in (y, dx, *by_name(gradients).values()))


def test_a_part_of_it_masks_too_and_so_does_one_that_is_frozen_or_looked_into() -> None:
    assert NETWORK[:2] == nn.Masking(*NETWORK.layers[:2])
    for network in (nn.Sequential(NETWORK), nn.Sequential(nn.Frozen(NETWORK))):
        model = Model(network, nn.MSELoss(), nn.SGD(0.1), dtype="float64").build((TIME,))
        np.testing.assert_allclose(model.activations(WORDS)["0.4"], model.predict(WORDS), rtol=1e-12)


def test_wrong_arguments_and_shapes_are_refused() -> None:
    with pytest.raises(UsageError, match="Masking: mask_value must be finite, but is '0', which is no real number"):
        nn.Masking(nn.GRU(2), mask_value="0")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="layer 0 of Masking is 0, which is no layer"):
        nn.Masking(0, nn.GRU(2))  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"Masking needs samples of shape \(time, ...\)"):
        nn.Masking(nn.ReLU()).parameters(())
    network = nn.Masking(nn.AvgPool1d(2), nn.GRU(2))
    with pytest.raises(ShapeError, match="GRU gets 3 times in a Masking of 6: layers before it must keep the times"):
        network.forward(np, drawn(network, X.shape[1:]), X, Context())
