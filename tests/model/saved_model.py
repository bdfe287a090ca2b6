"""A model to save, and what a reader of its file is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from anynet import nn
from anynet.errors import ModelFileError
from anynet.model import Model


def small_model(**named: Any) -> Model:
    network = nn.Sequential(nn.Linear(3), nn.LeakyReLU(0.1), nn.Linear(2))
    return Model(network, nn.CrossEntropyLoss(), nn.SGD(0.1), **named).build((2,))


def complaint(path: Path, **named: Any) -> str:
    """What a reader sees of an error, after the name of the file."""
    with pytest.raises(ModelFileError) as caught:
        Model.load(path, **named)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message.replace(str(path), "FILE")
