"""What the library says when it refuses, and the least that it can be asked to take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from anynet.errors import AnynetError
from anynet.model import Model
from anynet.nn import SGD, Linear, MSELoss

X = np.random.default_rng(2).normal(size=(6, 2))


def said(call: Any) -> str:
    """What a reader sees of an error of the library; nothing where there is none."""
    try:
        call()
    except AnynetError as error:
        return str(error)
    return ""


def model(network: Any = Linear(1), **named: Any) -> Model:  # noqa: B008
    return Model(network, **{"loss": MSELoss(), "optimizer": SGD(0.1), **named})


@dataclass(frozen=True)
class Nameless:
    """No loss, since it says nothing of what it compares with."""

    def __call__(self, *arguments: Any) -> Any: ...


@dataclass(frozen=True)
class Unkind(Nameless):
    target_kind: str = "label"
