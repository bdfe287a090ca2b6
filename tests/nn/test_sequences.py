"""Layers for sequences against PyTorch's with the same weights, and in training on every backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anynet import Model, nn
from anynet.backends import select
from anynet.errors import DataError, ShapeError, UsageError
from anynet.nn import Context, Layout
from anynet.nn.layout import by_name

ROWS, TIME, FEATURES = 3, 6, 4
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(ROWS, TIME, FEATURES))
WORDS = GENERATOR.integers(0, 9, (40, TIME))


def renamed(name: str) -> str:
    """PyTorch's name of a parameter as ours."""
    return name.replace("_l0", "").replace("out_proj.", "out_proj_")


def recurrent(name: str, **options: Any) -> Any:
    def make(torch: Any) -> Any:
        module = getattr(torch.nn, name)(FEATURES, 5, batch_first=True, **options)
        return module, lambda x: module(x)[0]

    return make


def attention(causal: bool) -> Any:
    def make(torch: Any) -> Any:
        module = torch.nn.MultiheadAttention(FEATURES, 2, batch_first=True)
        mask = torch.ones(TIME, TIME, dtype=torch.bool).triu(1) if causal else None
        return module, lambda x: module(x, x, x, attn_mask=mask, need_weights=False)[0]

    return make


def block(causal: bool) -> Any:
    def make(torch: Any) -> Any:
        module = torch.nn.TransformerEncoderLayer(FEATURES, 2, 7, dropout=0.0, batch_first=True, norm_first=True)
        mask = torch.ones(TIME, TIME, dtype=torch.bool).triu(1) if causal else None
        return module, lambda x: module(x, src_mask=mask)

    return make


def embedding(**options: Any) -> Any:
    def make(torch: Any) -> Any:
        module = torch.nn.Embedding(9, 2, **options)
        return module, lambda x: module(x.long())

    return make


COUNTERPARTS = [
    (nn.Embedding(9, 2), embedding(), WORDS),
    (nn.Embedding(9, 2, padding_idx=3), embedding(padding_idx=3), WORDS),
    (nn.MultiHeadAttention(2), attention(False), X),
    (nn.MultiHeadAttention(2, causal=True), attention(True), X),
    (nn.TransformerBlock(2, 7), block(False), X),
    (nn.TransformerBlock(2, 7, causal=True), block(True), X),
    (nn.GRU(5, True), recurrent("GRU"), X),
    (nn.GRU(5, True, bidirectional=True), recurrent("GRU", bidirectional=True), X),
    (nn.LSTM(5, True), recurrent("LSTM"), X),
    (nn.LSTM(5, True, bidirectional=True), recurrent("LSTM", bidirectional=True), X),
]


@pytest.mark.needs("torch")
@pytest.mark.parametrize(("layer", "make", "x"), COUNTERPARTS, ids=lambda value: repr(value)[:60])
def test_output_and_gradients_are_those_of_pytorch(layer: Any, make: Any, x: Any) -> None:
    import torch

    module, apply = make(torch)
    module.double()
    arrays = {renamed(name): value.detach().numpy().T.copy() for name, value in module.named_parameters()}
    if isinstance(layer, nn.Embedding):
        arrays = {"weight": arrays["weight"].T.copy()}
    layout = Layout(layer, x.shape[1:], pack_limit=0)
    p = layout.unpack(np, *layout.blocks(np, arrays))
    y, saved = layer.forward(np, p, x.astype(np.float64), Context(training=True))
    theirs = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    expected = apply(theirs)
    dy = np.random.default_rng(1).normal(size=y.shape)
    expected.backward(torch.asarray(dy))
    dx, gradients = layer.backward(np, p, saved, dy.copy())
    np.testing.assert_allclose(y, expected.detach(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(dx, 0.0 * x if theirs.grad is None else theirs.grad, rtol=1e-10, atol=1e-12)
    found = by_name(gradients)
    for name, parameter in module.named_parameters():
        gradient = parameter.grad.numpy()
        gradient = gradient if isinstance(layer, nn.Embedding) else gradient.T
        np.testing.assert_allclose(found[renamed(name)], gradient, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("recurrent", [nn.GRU, nn.LSTM])
def test_the_last_output_is_that_of_the_last_time_and_on_the_way_back_of_the_first(recurrent: Any) -> None:
    whole, last = (recurrent(5, sequences, bidirectional=True) for sequences in (True, False))
    layout = Layout(whole, X.shape[1:], pack_limit=0)
    p = layout.unpack(np, *layout.blocks(np, layout.initial(np, np.random.default_rng(0))))
    y, of_last = (layer.forward(np, p, X, Context())[0] for layer in (whole, last))
    np.testing.assert_array_equal(of_last, np.concatenate([y[:, -1, :5], y[:, 0, 5:]], axis=-1))


NETWORKS = {
    "words": (
        nn.Embedding(9, 4),
        nn.LearnedPositions(),
        nn.TransformerBlock(2, 8, causal=True, rotary=True),
        nn.LayerNorm(),
        nn.Flatten(),
    ),
    "padded words": (nn.Embedding(9, 4, padding_idx=0), nn.SinusoidalPositions(), nn.MultiHeadAttention(2), nn.LSTM(3)),
    "both ways": (nn.Embedding(9, 4), nn.GRU(3, return_sequences=True, bidirectional=True), nn.GRU(3)),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", NETWORKS)
def test_every_backend_trains_them_to_the_same_numbers(backend_name: str, name: str) -> None:
    labels = (WORDS.sum(axis=1) > 24).astype(int)

    def losses(backend: str) -> list[float]:
        network = nn.Sequential(*NETWORKS[name], nn.Linear(2))
        model = Model(network, nn.CrossEntropyLoss(), nn.SGD(0.1), backend=backend, dtype="float64")
        return [record["loss"] for record in model.fit(WORDS, labels, epochs=2, batch_size=16)]

    np.testing.assert_allclose(losses(backend_name), losses("numpy"), rtol=1e-10)


@pytest.mark.needs("jax")
@pytest.mark.parametrize("layer", [nn.GRU(5, bidirectional=True), nn.LSTM(5, return_sequences=True)])
def test_jax_compiles_a_step_of_time_once_however_many_there_are(layer: Any) -> None:
    import jax

    def operations(time: int) -> int:
        layout = Layout(layer, (time, FEATURES), pack_limit=0)
        p = layout.unpack(np, *layout.blocks(np, layout.initial(np, np.random.default_rng(0))))

        def step(p: Any, x: Any) -> Any:
            y, saved = layer.forward(jax.numpy, p, x, Context(training=True, scan=select("jax").scan))
            return layer.backward(jax.numpy, p, saved, y)

        return str(jax.make_jaxpr(step)(p, np.zeros((ROWS, time, FEATURES)))).count(" = ")

    assert operations(3) == operations(30)


def test_the_rows_of_one_index_are_added_up_without_loss_of_digits(backend_name: str) -> None:
    from anynet.tracing.evaluation import segment_sum

    backend, generator = select(backend_name), np.random.default_rng(0)
    x, ids = generator.normal(1.0, 1.0, (3000, 4)).astype(np.float32), generator.integers(0, 900, 3000).astype(np.int32)
    with backend.scope():
        sums = backend.to_numpy(segment_sum(backend.xp, backend.asarray(x), backend.asarray(ids), 1000))
    assert sums.dtype == np.float32
    expected = np.asarray([x[ids == i].astype(np.float64).sum(axis=0) for i in range(1000)])
    np.testing.assert_allclose(sums, expected, rtol=1e-6, atol=3e-6)


def test_turned_by_their_time_queries_and_keys_meet_by_their_distance() -> None:
    from anynet.nn.attention import rotated

    q, k = (np.broadcast_to(GENERATOR.normal(size=6), (8, 6)) for _ in range(2))
    scores = rotated(np, q) @ rotated(np, k).T
    np.testing.assert_allclose(scores[1:, 1:], scores[:-1, :-1], rtol=1e-12)
    np.testing.assert_allclose(np.diagonal(scores), q[0] @ k[0], rtol=1e-12)


def test_without_a_look_ahead_the_past_does_not_depend_on_the_future() -> None:
    for layer in (nn.MultiHeadAttention(2, causal=True, rotary=True), nn.TransformerBlock(2, 8, causal=True)):
        layout = Layout(layer, X.shape[1:], pack_limit=0)
        p = layout.unpack(np, *layout.blocks(np, layout.initial(np, np.random.default_rng(0))))
        other = X.copy()
        other[:, 4:] = 1e3
        y, changed = (layer.forward(np, p, x, Context())[0] for x in (X, other))
        np.testing.assert_array_equal(y[:, :4], changed[:, :4])


@pytest.mark.parametrize(("index", "row"), [(9, 2), (-10, 0)])
def test_an_index_beyond_the_table_is_refused(index: int, row: int) -> None:
    words = WORDS.copy()
    words[row, 1] = index
    model = Model(nn.Sequential(nn.Embedding(9, 2), nn.Flatten(), nn.Linear(1)), nn.MSELoss(), nn.SGD(0.1))
    with pytest.raises(DataError, match=f"has 9 rows, so x must hold indices from 0 to 8, but row {row} has {index}"):
        model.fit(words, np.ones(40))
    with pytest.raises(DataError, match=f"row {row} has {index}"):
        model.build((TIME,)).predict(words)


def test_bytes_and_negative_indices_are_the_same_words() -> None:
    model = Model(nn.Embedding(9, 2), nn.MSELoss(), nn.SGD(0.1)).build((TIME,))
    expected = model.predict(WORDS)
    for words in (WORDS.astype(np.uint8), WORDS - 9, WORDS + 0.25):
        np.testing.assert_array_equal(model.predict(words), expected)


WRONG = [
    (lambda: nn.Embedding(9, 2, padding_idx=9), "padding_idx must be None or an index from 0 to 8, but is 9"),
    (lambda: nn.Embedding(0, 2), "num_embeddings must be a whole number, 1 or more, but is 0"),
    (lambda: nn.MultiHeadAttention(0), "num_heads must be a whole number, 1 or more, but is 0"),
    (lambda: nn.TransformerBlock(2, 8, causal=1), "causal must be True or False, but is 1"),
    (lambda: nn.TransformerBlock(2, 8, nn.ReLU), "make one, as in ReLU"),
    (lambda: nn.GRU(3, return_sequences="yes"), "GRU: return_sequences must be True or False, but is 'yes'"),
    (lambda: nn.LSTM(3, bias=0), "LSTM: bias must be an initializer"),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=lambda value: value if isinstance(value, str) else "")
def test_wrong_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (nn.MultiHeadAttention(3), (5, 4), "3 heads cannot divide 4 features in equal parts"),
        (nn.MultiHeadAttention(2, rotary=True), (5, 6), "2 heads cannot divide 6 features in an even number"),
        (nn.GRU(3), (4,), r"GRU needs samples of shape \(time, features\), but each has shape \(4,\)"),
    ],
    ids=repr,
)
def test_samples_of_another_shape_are_refused(layer: Any, shape: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        layer.parameters(shape)
