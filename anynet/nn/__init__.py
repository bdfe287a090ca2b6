"""Layers, losses, initializers, optimizers and schedules, written once for every array library.

Nothing here imports an array library; each function gets the namespace `xp`, with which it computes.
"""

from anynet.nn.activations import ELU, LeakyReLU, LogSoftmax, PReLU, ReLU, Sigmoid, SiLU, Softmax, Softplus, Tanh
from anynet.nn.adaptive import Adagrad, Adam, AdamW, NAdam, RMSprop
from anynet.nn.averaging import EMA
from anynet.nn.branches import Concat, Residual
from anynet.nn.containers import Frozen, Sequential
from anynet.nn.dropout import Dropout
from anynet.nn.gelu import GELU
from anynet.nn.initializers import (
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    LeCunNormal,
    LeCunUniform,
    Ones,
    Orthogonal,
    TruncatedNormal,
    Values,
    Zeros,
)
from anynet.nn.layer import Context, Layer, Parameter
from anynet.nn.layout import Layout
from anynet.nn.linear import Linear
from anynet.nn.losses import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, HalfMSELoss, HingeLoss, Loss, MSELoss
from anynet.nn.normalization import BatchNorm, LayerNorm
from anynet.nn.optimizers import SGD, Lion, Optimizer
from anynet.nn.preprocessing import Flatten, Lambda, Rescale, Reshape
from anynet.nn.regression_losses import HuberLoss, L1Loss, PoissonNLLLoss, QuantileLoss
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
    LogSoftmax,
    ELU,
    GELU,
    SiLU,
    Softplus,
    PReLU,
    Flatten,
    Reshape,
    Rescale,
    Dropout,
    BatchNorm,
    LayerNorm,
    Sequential,
    Residual,
    Concat,
    Frozen,
)
LOSSES = (
    MSELoss,
    HalfMSELoss,
    L1Loss,
    HuberLoss,
    QuantileLoss,
    PoissonNLLLoss,
    BCELoss,
    BCEWithLogitsLoss,
    HingeLoss,
    CrossEntropyLoss,
)
INITIALIZERS = (
    HeNormal,
    HeUniform,
    GlorotNormal,
    GlorotUniform,
    LeCunNormal,
    LeCunUniform,
    TruncatedNormal,
    Orthogonal,
    Zeros,
    Ones,
    Values,
)
OPTIMIZERS = (SGD, Adam, AdamW, NAdam, RMSprop, Adagrad, Lion, EMA)
SCHEDULES = (LinearDecay, StepDecay, ExponentialDecay, CosineDecay, CosineRestarts, OneCycle, Warmup, Chain)

__all__ = [
    "ELU",
    "EMA",
    "GELU",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm",
    "Chain",
    "Concat",
    "Context",
    "CosineDecay",
    "CosineRestarts",
    "CrossEntropyLoss",
    "Dropout",
    "ExponentialDecay",
    "Flatten",
    "Frozen",
    "GlorotNormal",
    "GlorotUniform",
    "HalfMSELoss",
    "HeNormal",
    "HeUniform",
    "HingeLoss",
    "HuberLoss",
    "L1Loss",
    "Lambda",
    "Layer",
    "LayerNorm",
    "Layout",
    "LeCunNormal",
    "LeCunUniform",
    "LeakyReLU",
    "Linear",
    "LinearDecay",
    "Lion",
    "LogSoftmax",
    "Loss",
    "MSELoss",
    "NAdam",
    "OneCycle",
    "Ones",
    "Optimizer",
    "Orthogonal",
    "PReLU",
    "Parameter",
    "PoissonNLLLoss",
    "QuantileLoss",
    "RMSprop",
    "ReLU",
    "Rescale",
    "Reshape",
    "Residual",
    "Schedule",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "StepDecay",
    "Tanh",
    "TruncatedNormal",
    "Values",
    "Warmup",
    "Zeros",
]


def __dir__() -> list[str]:
    return __all__
