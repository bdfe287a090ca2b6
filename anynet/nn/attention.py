"""Attention, and the Transformer's block, for x of shape (batch, time, features)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from anynet.errors import ShapeError
from anynet.nn.activations import ReLU, softmax
from anynet.nn.checks import check_flag, check_initializer, check_number
from anynet.nn.embedding import angles, check_sequence
from anynet.nn.initializers import GlorotUniform, Zeros
from anynet.nn.layer import (
    Array,
    Context,
    Initializer,
    Layer,
    Namespace,
    Parameter,
    Parameters,
    Shape,
    Specs,
    check_layer,
    device_of,
)
from anynet.nn.linear import Linear
from anynet.nn.masking import mask_for
from anynet.nn.normalization import LayerNorm


def rotated(xp: Namespace, x: Array) -> Array:
    """x of shape (..., time, features), turned by its time: scores then depend on the distance (Su et al. 2021).

    Feature i makes a pair with feature i + features / 2, as in GPT-NeoX and Llama, not with its neighbour.
    """
    half = x.shape[-1] // 2
    turn = angles(xp, x.shape[-2], half, 2 * half, x)
    cos, sin, a, b = xp.cos(turn), xp.sin(turn), x[..., :half], x[..., half:]
    return xp.concat([a * cos - b * sin, a * sin + b * cos], axis=-1)


@dataclass(frozen=True)
class MultiHeadAttention(Layer):
    """Self-attention: each head gives softmax(q k^T / sqrt(d)) v, of d features (Vaswani et al. 2017).

    q, k and v are thirds of x in_proj_weight + in_proj_bias; the heads side by side go through the output's affine map.
    Those are PyTorch's weights transposed. For sequences of different lengths see `Masking`.

    Parameters
    ----------
    num_heads : int
        Divides the number of features.
    causal : bool
        Whether a time sees only itself and what is before it.
    rotary : bool
        Whether q and k are turned by their time, in pairs of features i and i + d / 2, as in GPT-NeoX and Llama
        (Su et al. 2021).
    weight, bias : initializers

    Raises
    ------
    UsageError, ShapeError
        When an argument is invalid, or heads do not divide the features; with rotary, into an even number each.

    >>> specs, out_shape = MultiHeadAttention(2, causal=True).parameters((5, 8))
    >>> specs["in_proj_weight"].shape, out_shape
    ((8, 24), (5, 8))
    """

    num_heads: int
    causal: bool = False
    rotary: bool = False
    weight: Initializer = GlorotUniform()
    bias: Initializer = Zeros()

    def __post_init__(self) -> None:
        check_number(self, "num_heads", "a whole number, 1 or more", lambda count: count >= 1, whole=True)
        check_flag(self, "causal")
        check_flag(self, "rotary")
        check_initializer(self.weight, "MultiHeadAttention: weight", "GlorotUniform()")
        check_initializer(self.bias, "MultiHeadAttention: bias", "Zeros()")

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        check_sequence(self, shape)
        features = shape[-1]
        if features % (self.num_heads * (1 + self.rotary)):
            words = "an even number of features each" if self.rotary else "equal parts"
            raise ShapeError(f"MultiHeadAttention: {self.num_heads} heads cannot divide {features} features in {words}")
        specs = {
            "in_proj_weight": Parameter((features, 3 * features), self.weight),
            "in_proj_bias": Parameter((3 * features,), self.bias, decay=False),
            "out_proj_weight": Parameter((features, features), self.weight),
            "out_proj_bias": Parameter((features,), self.bias, decay=False),
        }
        return specs, shape

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> Any:
        batch, time, features = x.shape
        depth = features // self.num_heads
        packed = xp.matmul(x, p["in_proj_weight"]) + p["in_proj_bias"]
        parts = xp.permute_dims(xp.reshape(packed, (batch, time, 3, self.num_heads, depth)), (2, 0, 3, 1, 4))
        q, k, v = parts[0, ...], parts[1, ...], parts[2, ...]
        if self.rotary:
            q, k = rotated(xp, q), rotated(xp, k)
        scores = xp.matmul(q / math.sqrt(depth), xp.matrix_transpose(k))
        if self.causal:
            times = xp.arange(time, device=device_of(x))
            # exp gives 0 of it, and no score comes near it.
            scores = xp.where(times <= xp.reshape(times, (time, 1)), scores, -1e30)
        mask = mask_for(self, xp, x, ctx, (batch, 1, 1, time))
        if mask is not None:
            scores = xp.where(mask, scores, -1e30)
        heads = xp.matmul(softmax(xp, scores), v)
        joined = xp.reshape(xp.permute_dims(heads, (0, 2, 1, 3)), x.shape)
        return xp.matmul(joined, p["out_proj_weight"]) + p["out_proj_bias"]


@dataclass(frozen=True)
class TransformerBlock(Layer):
    """x + attention(norm(x)), and then y = x + linear2(activation(linear1(norm(x)))): the pre-norm Transformer.

    (Xiong et al. 2020, and GPT-2.) A stack of them ends with a LayerNorm.

    Parameters
    ----------
    num_heads : int
    hidden : int
        Width of the layer between the two linear ones, often 4 times the features.
    activation : Layer
        Applied there; one without parameters.
    causal, rotary : bool
        See `MultiHeadAttention`.

    Raises
    ------
    UsageError, ShapeError
        When an argument is invalid, or the heads do not divide the features.

    >>> specs, out_shape = TransformerBlock(2, hidden=16, causal=True).parameters((5, 4))
    >>> list(specs), out_shape
    (['norm1', 'self_attn', 'norm2', 'linear1', 'linear2'], (5, 4))
    """

    num_heads: int
    hidden: int
    activation: Layer = ReLU()
    causal: bool = False
    rotary: bool = False

    def __post_init__(self) -> None:
        check_number(self, "hidden", "a whole number, 1 or more", lambda count: count >= 1, whole=True)
        check_layer(self.activation, "TransformerBlock: activation")
        attention = self._attention
        object.__setattr__(self, "num_heads", attention.num_heads)

    @property
    def stochastic(self) -> bool:
        return self.activation.stochastic

    @cached_property
    def _attention(self) -> MultiHeadAttention:
        return MultiHeadAttention(self.num_heads, self.causal, self.rotary)

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        check_sequence(self, shape)
        norm, wide = LayerNorm(), (*shape[:-1], self.hidden)
        layers = {"norm1": norm, "self_attn": self._attention, "norm2": norm, "linear1": Linear(self.hidden)}
        specs: dict[str, Specs] = {name: layer.parameters(shape)[0] for name, layer in layers.items()}
        specs["linear2"] = Linear(shape[-1], GlorotUniform()).parameters(wide)[0]
        return specs, shape

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> Any:
        def applied(layer: Layer, name: str, x: Array) -> Array:
            return layer.forward(xp, p[name], x, ctx)[0]

        x = x + applied(self._attention, "self_attn", applied(LayerNorm(), "norm1", x))
        wide = applied(Linear(self.hidden), "linear1", applied(LayerNorm(), "norm2", x))
        active = self.activation.forward(xp, {}, wide, ctx)[0]
        return x + applied(Linear(x.shape[-1]), "linear2", active)
