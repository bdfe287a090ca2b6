"""Layers, losses, initializers, optimizers and schedules, written once for every array library.

Nothing here imports an array library; each function gets the namespace `xp`, with which it computes.
"""

from anynet.nn.activations import ELU, LeakyReLU, LogSoftmax, PReLU, ReLU, Sigmoid, SiLU, Softmax, Softplus, Tanh
from anynet.nn.adaptive import Adagrad, Adam, AdamW, NAdam, RMSprop
from anynet.nn.attention import MultiHeadAttention, TransformerBlock
from anynet.nn.augmentation import RandomCrop, RandomErasing, RandomHorizontalFlip, RandomTranslation
from anynet.nn.averaging import EMA
from anynet.nn.branches import Concat, Inputs, Residual
from anynet.nn.containers import Sequential
from anynet.nn.convolution import Conv1d, Conv2d, ConvTranspose2d
from anynet.nn.dropout import Dropout
from anynet.nn.embedding import Embedding, LearnedPositions, SinusoidalPositions
from anynet.nn.gelu import GELU
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
from anynet.nn.losses import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, HalfMSELoss, HingeLoss, Loss, MSELoss
from anynet.nn.masking import Masking
from anynet.nn.normalization import BatchNorm, GroupNorm, LayerNorm, RMSNorm
from anynet.nn.optimizers import SGD, Lion, Optimizer
from anynet.nn.pooling import AvgPool1d, AvgPool2d, GlobalAvgPool, MaxPool1d, MaxPool2d, Upsample
from anynet.nn.preprocessing import Flatten, Lambda, Rescale, Reshape
from anynet.nn.recurrent import GRU, LSTM
from anynet.nn.regression_losses import GaussianNLLLoss, HuberLoss, L1Loss, PoissonNLLLoss, QuantileLoss
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
from anynet.nn.wrappers import Frozen, Shared

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
    RandomTranslation,
    RandomHorizontalFlip,
    RandomCrop,
    RandomErasing,
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
    Masking,
    Residual,
    Concat,
    Inputs,
    Frozen,
    Shared,
)
LOSSES = (
    MSELoss,
    HalfMSELoss,
    L1Loss,
    HuberLoss,
    QuantileLoss,
    PoissonNLLLoss,
    GaussianNLLLoss,
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
    "ELU",
    "EMA",
    "GELU",
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
    "Concat",
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
    "GaussianNLLLoss",
    "GlobalAvgPool",
    "GlorotNormal",
    "GlorotUniform",
    "GroupNorm",
    "HalfMSELoss",
    "HeNormal",
    "HeUniform",
    "HingeLoss",
    "HuberLoss",
    "Inputs",
    "L1Loss",
    "Lambda",
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
    "LogSoftmax",
    "Loss",
    "MSELoss",
    "Masking",
    "MaxPool1d",
    "MaxPool2d",
    "MultiHeadAttention",
    "NAdam",
    "Normal",
    "OneCycle",
    "Ones",
    "Optimizer",
    "Orthogonal",
    "PReLU",
    "Parameter",
    "PoissonNLLLoss",
    "QuantileLoss",
    "RMSNorm",
    "RMSprop",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomTranslation",
    "ReLU",
    "Rescale",
    "Reshape",
    "Residual",
    "Schedule",
    "Sequential",
    "Shared",
    "SiLU",
    "Sigmoid",
    "SinusoidalPositions",
    "Softmax",
    "Softplus",
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
