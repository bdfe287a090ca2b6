"""The optimizer of `anynet train`, with its learning rate schedule."""

from __future__ import annotations

from typing import Any

from anynet import nn
from anynet.cli.config import TrainConfig
from anynet.errors import UsageError

OPTIMIZERS: dict[str, Any] = {
    "sgd": nn.SGD,
    "adam": nn.Adam,
    "adamw": nn.AdamW,
    "nadam": nn.NAdam,
    "rmsprop": nn.RMSprop,
    "adagrad": nn.Adagrad,
    "lion": nn.Lion,
}
# Each takes a learning rate and the number of steps.
SCHEDULES: dict[str, Any] = {
    "constant": lambda lr, steps: lr,
    "linear": nn.LinearDecay,
    "cosine": nn.CosineDecay,
    "one_cycle": nn.OneCycle,
}


def learning_rate(config: TrainConfig) -> float:
    """The learning rate of a config: by default that of its optimizer, or 0.05 for SGD, which has none."""
    default: float = getattr(OPTIMIZERS[config.optimizer], "lr", 0.05)
    return config.lr or default


def optimizer_for(config: TrainConfig, steps: int) -> nn.Optimizer:
    """The optimizer that a config describes, for a training of this many steps.

    Raises
    ------
    UsageError
        When its numbers do not fit each other, as a momentum does not fit Adam.
    """
    settings: dict[str, Any] = {} if config.weight_decay is None else {"weight_decay": config.weight_decay}
    if config.optimizer == "sgd":
        settings["momentum"] = config.momentum
    elif config.momentum != TrainConfig.momentum:
        raise UsageError(f"momentum is an option of --optimizer sgd; {config.optimizer} has its own")
    optimizer: nn.Optimizer = OPTIMIZERS[config.optimizer](
        lr=SCHEDULES[config.schedule](learning_rate(config), steps), **settings
    )
    return optimizer
