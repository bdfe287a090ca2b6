"""Layers, losses, initializers, optimizers and schedules, written once for every array library.

Nothing here imports an array library; each function gets the namespace `xp`, with which it computes.
"""

from anynet.nn.activations import LeakyReLU, ReLU, Sigmoid, Softmax, Tanh
from anynet.nn.adaptive import Adagrad, Adam, AdamW, NAdam, RMSprop
from anynet.nn.attention import MultiHeadAttention, TransformerBlock
from anynet.nn.averaging import EMA
from anynet.nn.containers import Frozen, Sequential
from anynet.nn.convolution import Conv1d, Conv2d, ConvTranspose2d
from anynet.nn.dropout import Dropout
from anynet.nn.embedding import Embedding, LearnedPositions, SinusoidalPositions
from anynet.nn.initializers import (
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    LeCunNormal,
    LeCunUniform,
    Normal,
    Ones,
    Orthogonal,
    TruncatedNormal,
    Values,
    Zeros,
)
from anynet.nn.layer import Context, Layer, Parameter
from anynet.nn.layout import Layout
from anynet.nn.linear import Linear
from anynet.nn.losses import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, HalfMSELoss, Loss, MSELoss
from anynet.nn.normalization import BatchNorm, GroupNorm, LayerNorm, RMSNorm
from anynet.nn.optimizers import SGD, Lion, Optimizer
from anynet.nn.pooling import AvgPool1d, AvgPool2d, GlobalAvgPool, MaxPool1d, MaxPool2d, Upsample
from anynet.nn.preprocessing import Flatten, Rescale
from anynet.nn.recurrent import GRU, LSTM
from anynet.nn.schedules import (
    CosineDecay,
    CosineRestarts,
    ExponentialDecay,
    LinearDecay,
    OneCycle,
    Schedule,
    StepDecay,
)
from anynet.nn.schedules_in_turn import Chain, Warmup

LAYERS = (
    Linear,
    ReLU,
    LeakyReLU,
    Sigmoid,
    Tanh,
    Softmax,
    Flatten,
    Rescale,
    Dropout,
    BatchNorm,
    LayerNorm,
    RMSNorm,
    GroupNorm,
    Conv1d,
    Conv2d,
    ConvTranspose2d,
    MaxPool1d,
    MaxPool2d,
    AvgPool1d,
    AvgPool2d,
    GlobalAvgPool,
    Upsample,
    Embedding,
    SinusoidalPositions,
    LearnedPositions,
    MultiHeadAttention,
    TransformerBlock,
    GRU,
    LSTM,
    Sequential,
    Frozen,
)
LOSSES = (MSELoss, HalfMSELoss, BCELoss, BCEWithLogitsLoss, CrossEntropyLoss)
INITIALIZERS = (
    HeNormal,
    HeUniform,
    GlorotNormal,
    GlorotUniform,
    LeCunNormal,
    LeCunUniform,
    Normal,
    TruncatedNormal,
    Orthogonal,
    Zeros,
    Ones,
    Values,
)
OPTIMIZERS = (SGD, Adam, AdamW, NAdam, RMSprop, Adagrad, Lion, EMA)
SCHEDULES = (LinearDecay, StepDecay, ExponentialDecay, CosineDecay, CosineRestarts, OneCycle, Warmup, Chain)

__all__ = [
    "EMA",
    "GRU",
    "LSTM",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "AvgPool1d",
    "AvgPool2d",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm",
    "Chain",
    "Context",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "CosineDecay",
    "CosineRestarts",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "ExponentialDecay",
    "Flatten",
    "Frozen",
    "GlobalAvgPool",
    "GlorotNormal",
    "GlorotUniform",
    "GroupNorm",
    "HalfMSELoss",
    "HeNormal",
    "HeUniform",
    "Layer",
    "LayerNorm",
    "Layout",
    "LeCunNormal",
    "LeCunUniform",
    "LeakyReLU",
    "LearnedPositions",
    "Linear",
    "LinearDecay",
    "Lion",
    "Loss",
    "MSELoss",
    "MaxPool1d",
    "MaxPool2d",
    "MultiHeadAttention",
    "NAdam",
    "Normal",
    "OneCycle",
    "Ones",
    "Optimizer",
    "Orthogonal",
    "Parameter",
    "RMSNorm",
    "RMSprop",
    "ReLU",
    "Rescale",
    "Schedule",
    "Sequential",
    "Sigmoid",
    "SinusoidalPositions",
    "Softmax",
    "StepDecay",
    "Tanh",
    "TransformerBlock",
    "TruncatedNormal",
    "Upsample",
    "Values",
    "Warmup",
    "Zeros",
]


def __dir__() -> list[str]:
    return __all__
