"""One small case for each layer, loss and optimizer, with data to try it on: for gradient checks, parity and tests."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from anynet import nn
from anynet.nn.layer import InputShape, Layer, Shape
from anynet.nn.losses import Loss, target_shape
from anynet.nn.optimizers import Optimizer


class LayerCase(NamedTuple):
    name: str
    layer: Layer
    shape: InputShape


class LossCase(NamedTuple):
    name: str
    loss: Loss
    shape: Shape


class OptimizerCase(NamedTuple):
    name: str
    optimizer: Optimizer


TOWER = nn.Shared(nn.Sequential(nn.Linear(4), nn.BatchNorm(), nn.Tanh()), "tower")

LAYERS = (
    LayerCase("Linear", nn.Linear(3), (4,)),
    LayerCase("Linear, last axis", nn.Linear(3, nn.GlorotUniform()), (2, 4)),
    LayerCase("ReLU", nn.ReLU(), (5,)),
    LayerCase("LeakyReLU", nn.LeakyReLU(0.1), (5,)),
    LayerCase("Sigmoid", nn.Sigmoid(), (5,)),
    LayerCase("Tanh", nn.Tanh(), (5,)),
    LayerCase("Softmax", nn.Softmax(), (5,)),
    LayerCase("LogSoftmax", nn.LogSoftmax(), (5,)),
    LayerCase("ELU", nn.ELU(0.5), (5,)),
    LayerCase("GELU", nn.GELU(), (5,)),
    LayerCase("GELU, tanh", nn.GELU("tanh"), (5,)),
    LayerCase("SiLU", nn.SiLU(), (5,)),
    LayerCase("Softplus", nn.Softplus(2.0), (5,)),
    LayerCase("PReLU", nn.PReLU(), (5,)),
    LayerCase("PReLU, per channel", nn.PReLU(per_channel=True), (2, 3)),
    LayerCase("Flatten", nn.Flatten(), (2, 3)),
    LayerCase("Reshape", nn.Reshape((3, 2)), (2, 3)),
    LayerCase("Rescale", nn.Rescale(1 / 255), (2, 3)),
    LayerCase("Rescale, columns", nn.Rescale(scale=(0.5, 2.0, 3.0), shift=(1.0, -1.0, 0.0)), (3,)),
    LayerCase("Dropout", nn.Dropout(0.4), (5,)),
    LayerCase("RandomTranslation", nn.RandomTranslation((1, 2)), (3, 4, 2)),
    LayerCase("RandomHorizontalFlip", nn.RandomHorizontalFlip(), (3, 4, 2)),
    LayerCase("RandomCrop", nn.RandomCrop((3, 2), padding=1), (3, 4, 2)),
    LayerCase("RandomErasing", nn.RandomErasing((2, 1)), (3, 4, 2)),
    LayerCase("BatchNorm", nn.BatchNorm(), (4,)),
    LayerCase("BatchNorm, last axis", nn.BatchNorm(momentum=0.5), (2, 4)),
    LayerCase("LayerNorm", nn.LayerNorm(), (2, 4)),
    LayerCase("RMSNorm", nn.RMSNorm(), (2, 4)),
    LayerCase("GroupNorm", nn.GroupNorm(2), (3, 2, 4)),
    LayerCase("Conv1d", nn.Conv1d(3, 2, stride=2, padding=1), (5, 2)),
    LayerCase("Conv2d", nn.Conv2d(2, (3, 2), padding="same"), (4, 3, 2)),
    LayerCase("Conv2d, groups", nn.Conv2d(4, 2, (2, 1), (1, 0), dilation=(1, 2), groups=2), (3, 4, 2)),
    LayerCase("ConvTranspose2d", nn.ConvTranspose2d(4, 3, 2, 1, groups=2, output_padding=(1, 0)), (2, 3, 2)),
    LayerCase("MaxPool1d", nn.MaxPool1d(3, stride=1, padding=1), (4, 2)),
    LayerCase("MaxPool2d", nn.MaxPool2d(2), (4, 5, 2)),
    LayerCase("AvgPool1d", nn.AvgPool1d(2), (5, 2)),
    LayerCase("AvgPool2d", nn.AvgPool2d(3, stride=2, padding=1), (4, 3, 2)),
    LayerCase("GlobalAvgPool", nn.GlobalAvgPool(), (2, 3, 2)),
    LayerCase("Upsample", nn.Upsample((2, 3)), (2, 3, 2)),
    LayerCase("Embedding", nn.Embedding(40, 3), (4,)),
    LayerCase("Embedding, padding", nn.Embedding(40, 2, padding_idx=1), (2, 3)),
    LayerCase("SinusoidalPositions", nn.SinusoidalPositions(), (3, 5)),
    LayerCase("LearnedPositions", nn.LearnedPositions(), (3, 4)),
    LayerCase("MultiHeadAttention", nn.MultiHeadAttention(2), (3, 4)),
    LayerCase("MultiHeadAttention, causal, rotary", nn.MultiHeadAttention(2, causal=True, rotary=True), (3, 4)),
    LayerCase("TransformerBlock", nn.TransformerBlock(2, 5, nn.Tanh(), causal=True), (3, 4)),
    LayerCase("GRU", nn.GRU(2), (3, 4)),
    LayerCase("GRU, both ways", nn.GRU(2, return_sequences=True, bidirectional=True), (3, 4)),
    LayerCase("LSTM", nn.LSTM(2, return_sequences=True), (3, 4)),
    LayerCase("LSTM, both ways", nn.LSTM(2, bidirectional=True), (2, 3)),
    LayerCase(
        "Sequential",
        nn.Sequential(
            nn.Flatten(), nn.Linear(6), nn.Tanh(), nn.Sequential(nn.Linear(4, nn.GlorotNormal()), nn.Sigmoid())
        ),
        (2, 3),
    ),
    LayerCase(
        "Masking",
        nn.Masking(nn.Embedding(40, 2), nn.TransformerBlock(1, 2, nn.Tanh()), nn.GlobalAvgPool(), mask_value=1),
        (4,),
    ),
    LayerCase(
        "Masking, rows", nn.Sequential(nn.ReLU(), nn.Masking(nn.GRU(2, True, bidirectional=True), nn.LSTM(2))), (4, 2)
    ),
    LayerCase("Residual", nn.Residual(nn.Sequential(nn.Linear(4), nn.BatchNorm(), nn.ReLU())), (4,)),
    LayerCase("Residual, shortcut", nn.Residual(nn.Sequential(nn.Linear(3), nn.Tanh()), nn.Linear(3)), (2, 4)),
    LayerCase("Concat", nn.Concat(nn.Linear(3), nn.Sequential(nn.Dropout(0.4), nn.BatchNorm()), nn.ReLU()), (4,)),
    LayerCase("Frozen", nn.Frozen(nn.Sequential(nn.Linear(3), nn.BatchNorm(), nn.Dropout(0.4), nn.Tanh())), (4,)),
    LayerCase("Shared", nn.Shared(nn.Sequential(TOWER, nn.ReLU(), nn.Residual(TOWER), nn.Linear(3)), "all"), (4,)),
)

# The first layer of a network, whose shape is a dict of shapes.
WITH_NAMED_INPUTS = (
    LayerCase(
        "Inputs",
        nn.Inputs(image=nn.Sequential(nn.Flatten(), nn.Linear(2)), table=nn.Sequential(nn.BatchNorm(), nn.Tanh())),
        {"image": (2, 3), "table": (4,)},
    ),
)

LOSSES = (
    LossCase("MSELoss", nn.MSELoss(), (3,)),
    LossCase("HalfMSELoss", nn.HalfMSELoss(), (3,)),
    LossCase("L1Loss", nn.L1Loss(), (3,)),
    LossCase("HuberLoss", nn.HuberLoss(0.8), (3,)),
    LossCase("QuantileLoss", nn.QuantileLoss(0.9), (3,)),
    LossCase("PoissonNLLLoss", nn.PoissonNLLLoss(), (3,)),
    LossCase("GaussianNLLLoss", nn.GaussianNLLLoss(), (4,)),
    LossCase("BCELoss", nn.BCELoss(), (2,)),
    LossCase("BCEWithLogitsLoss", nn.BCEWithLogitsLoss(), (2,)),
    LossCase("BCEWithLogitsLoss, pos_weight", nn.BCEWithLogitsLoss((2.0, 0.5, 1.0, 3.0)), (4,)),
    LossCase("HingeLoss", nn.HingeLoss(), (2,)),
    LossCase("CrossEntropyLoss", nn.CrossEntropyLoss(), (4,)),
    LossCase("CrossEntropyLoss, weights", nn.CrossEntropyLoss(0.1, (1.0, 0.5, 2.0, 1.5)), (4,)),
)

OPTIMIZERS = (
    OptimizerCase("SGD", nn.SGD(lr=0.1)),
    OptimizerCase("SGD, momentum", nn.SGD(lr=0.1, momentum=0.9)),
    OptimizerCase("SGD, Nesterov", nn.SGD(lr=0.1, momentum=0.9, nesterov=True)),
    OptimizerCase("SGD, weight decay", nn.SGD(lr=0.1, momentum=0.5, weight_decay=0.1)),
    OptimizerCase("SGD, linear decay", nn.SGD(lr=nn.LinearDecay(0.1, steps=20), momentum=0.9)),
    OptimizerCase("Adam", nn.Adam(lr=0.1)),
    OptimizerCase("Adam, no momentum", nn.Adam(lr=nn.LinearDecay(0.1, steps=20), betas=(0.0, 0.9), weight_decay=0.1)),
    OptimizerCase("AdamW, warm-up", nn.AdamW(lr=nn.Warmup(nn.CosineDecay(0.1, 20), 5))),
    OptimizerCase("NAdam, restarts", nn.NAdam(lr=nn.CosineRestarts(0.1, 3, growth=2, final=0.01))),
    OptimizerCase("RMSprop, step decay", nn.RMSprop(lr=nn.StepDecay(0.05, 5))),
    OptimizerCase("RMSprop, centered", nn.RMSprop(lr=0.01, momentum=0.9, centered=True)),
    OptimizerCase("Adagrad, exponential decay", nn.Adagrad(lr=nn.ExponentialDecay(0.5, 20))),
    OptimizerCase(
        "Adagrad, chain",
        nn.Adagrad(nn.Chain((0.5, nn.StepDecay(0.5, 4)), (4,)), lr_decay=0.01, initial_accumulator_value=0.1),
    ),
    OptimizerCase("EMA", nn.EMA(nn.Adam(lr=0.1, weight_decay=0.1), decay=0.5)),
    OptimizerCase("Lion", nn.Lion(lr=nn.CosineDecay(0.01, 20))),
    OptimizerCase("Lion, one cycle", nn.Lion(lr=nn.OneCycle(0.01, 20), weight_decay=0.1)),
)


def draw_input(generator: np.random.Generator, subject: object, shape: Shape) -> Any:
    """Random inputs of a layer, or predictions for a loss: probabilities for BCELoss, else normal numbers."""
    if isinstance(subject, nn.BCELoss):
        return generator.uniform(0.05, 0.95, shape)
    return generator.normal(0.0, 1.0, shape)


def draw_target(generator: np.random.Generator, loss: Loss, shape: Shape) -> Any:
    """Targets of the kind the loss compares with, for a prediction of this shape."""
    if loss.target_kind == "class":
        return generator.integers(0, shape[-1], shape[:1]).astype(np.int32)
    if loss.target_kind == "probability":
        return generator.integers(0, 2, shape).astype(np.float64)
    return generator.normal(0.0, 1.0, target_shape(loss, shape))


def draw_weight(generator: np.random.Generator, samples: int) -> Any:
    """Uneven sample weights that sum to 1."""
    weight = generator.uniform(0.5, 1.5, samples)
    return weight / weight.sum()
