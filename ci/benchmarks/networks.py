"""Networks that are not dense: each in anynet, and in PyTorch's own modules with the same weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from anynet import nn

NETWORKS = {
    "convolutions": nn.Sequential(
        nn.Rescale(1 / 255),
        nn.Reshape((28, 28, 1)),
        nn.Conv2d(16, 3, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 3, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(10),
    ),
    "LSTM": nn.Sequential(nn.LSTM(64), nn.Linear(10)),
    "Transformer block": nn.Sequential(nn.TransformerBlock(4, 512), nn.Flatten(), nn.Linear(10)),
}
SEQUENCES = {"LSTM": (50, 64), "Transformer block": (64, 128)}


def sequences(layers: str, rows: int) -> tuple[Any, Any]:
    """Random sequences, each of the class of its largest mean feature of ten."""
    x = np.random.default_rng(0).standard_normal((rows, *SEQUENCES[layers]), np.float32)
    return x, x[..., :10].mean(axis=1).argmax(axis=1)


def in_torch(layers: str, parameters: Mapping[str, Any], x: Any) -> tuple[Any, Any]:
    """PyTorch's module with these weights, and x as it wants it: float32, images in its faster memory order."""
    import torch

    if layers == "convolutions":
        images = torch.from_numpy(np.multiply(x[:, None], 1 / 255, dtype=np.float32))
        module = _convolutions(torch).to(memory_format=torch.channels_last)
        x = images.contiguous(memory_format=torch.channels_last)
    else:
        module, x = (_lstm if layers == "LSTM" else _block)(torch), torch.from_numpy(x)
    found = dict(module.named_parameters())
    assert len(found) == len(parameters)
    with torch.no_grad():
        for name, values in parameters.items():
            theirs = found[_THEIR_NAMES[layers].get(name, name)]
            # A kernel's axes are height, width, inputs and outputs here; a matrix has the inputs first.
            theirs.copy_(torch.from_numpy(values.transpose(3, 2, 0, 1) if values.ndim == 4 else values.T))
    return module, x


_THEIR_NAMES: dict[str, dict[str, str]] = {
    "convolutions": {},
    "LSTM": {f"0.{name}": f"0.{name}_l0" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")},
    "Transformer block": {
        f"0.self_attn.out_proj_{kind}": f"0.self_attn.out_proj.{kind}" for kind in ("weight", "bias")
    },
}


def _convolutions(torch: Any) -> Any:
    class ChannelsLast(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return x.permute(0, 2, 3, 1).flatten(1)

    modules = torch.nn
    layers = {
        "2": modules.Conv2d(1, 16, 3, padding=1),
        "3": modules.ReLU(),
        "4": modules.MaxPool2d(2),
        "5": modules.Conv2d(16, 32, 3, padding=1),
        "6": modules.ReLU(),
        "7": modules.MaxPool2d(2),
        "8": ChannelsLast(),
        "9": modules.Linear(7 * 7 * 32, 10),
    }
    return _in_sequence(torch, layers)


def _lstm(torch: Any) -> Any:
    class Last(torch.nn.LSTM):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return super().forward(x)[0][:, -1]

    return _in_sequence(torch, {"0": Last(64, 64, batch_first=True), "1": torch.nn.Linear(64, 10)})


def _block(torch: Any) -> Any:
    block = torch.nn.TransformerEncoderLayer(128, 4, 512, dropout=0.0, batch_first=True, norm_first=True)
    return _in_sequence(torch, {"0": block, "1": torch.nn.Flatten(), "2": torch.nn.Linear(64 * 128, 10)})


def _in_sequence(torch: Any, layers: dict[str, Any]) -> Any:
    module = torch.nn.Sequential()
    for name, layer in layers.items():
        module.add_module(name, layer)
    return module
