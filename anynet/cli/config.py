"""What a training run is told: the options of ``anynet train``, and the config.toml that holds them."""

from __future__ import annotations

import dataclasses
import json
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anynet.errors import UsageError, unknown

ACTIVATIONS = ("relu", "leaky_relu", "sigmoid", "tanh")


@dataclass(frozen=True)
class TrainConfig:
    """The options that decide a run's result, with their defaults."""

    data: str
    target: str | None = None
    backend: str = "auto"
    hidden: tuple[int, ...] = (128, 64)
    activation: str = "relu"
    epochs: int = 10
    batch_size: int = 64
    lr: float = 0.05
    momentum: float = 0.9
    seed: int = 0
    dtype: str = "float32"
    precision: str = "float32"
    validation: float | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise UsageError(unknown("activation", self.activation, ACTIVATIONS))
        if self.dtype not in ("float32", "float64"):
            raise UsageError(unknown("dtype", self.dtype, ("float32", "float64")))
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be 1 or more, but is {getattr(self, name)}")
        if self.seed < 0:
            raise UsageError(f"seed must be 0 or more, but is {self.seed}")
        if any(size < 1 for size in self.hidden):
            raise UsageError(f"every hidden layer needs a size of 1 or more, but hidden is {list(self.hidden)}")
        if self.patience is not None and self.patience < 1:
            raise UsageError(f"patience must be 1 or more, but is {self.patience}")
        if self.validation is not None and not 0 <= self.validation < 1:
            raise UsageError(f"validation must be a share from 0 to below 1, but is {self.validation}")


def defaults() -> dict[str, Any]:
    """The default of each option that has one."""
    return {field.name: field.default for field in dataclasses.fields(TrainConfig)}


def resolve(options: dict[str, Any]) -> TrainConfig:
    """A config from the options a person gave, over those of a config file if ``config`` names one.

    Raises
    ------
    UsageError
        When the file cannot be read, a key is unknown, a value has the wrong type, or there is no data.
    """
    known = [field.name for field in dataclasses.fields(TrainConfig)]
    given = {key: value for key, value in options.items() if key in known}
    if "config" in options:
        kept = _read(Path(options["config"]), known)
        if "data" in given:
            kept.pop("target", None)
        given = {**kept, **given}
    if "data" not in given:
        raise UsageError("tell what to train on, such as `anynet train mnist`, or --config FILE")
    if given["data"].endswith(".csv") and given.get("target") is None:
        raise UsageError(f"{given['data']} needs --target COLUMN, the name of the column to predict")
    given["data"] = ",".join(
        os.path.abspath(part) if os.path.exists(part) or "*" in part else part for part in given["data"].split(",")
    )
    given["hidden"] = tuple(given.get("hidden", TrainConfig.hidden))
    return TrainConfig(**given)


def to_toml(config: TrainConfig, version: str) -> str:
    """The config as TOML, from which ``anynet train --config`` runs it again.

    >>> print(to_toml(TrainConfig("mnist"), "0.1.0").splitlines()[1])
    data = "mnist"
    """
    lines = [f"# anynet {version}: run again with `anynet train --config` and this file"]
    for name, value in dataclasses.asdict(config).items():
        if value is not None:
            lines.append(f"{name} = {_toml_value(value)}")
    return "\n".join(lines) + "\n"


def _toml_value(value: Any) -> str:
    # What JSON writes is TOML too, for text, numbers and lists of them, but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _read(path: Path, known: list[str]) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML file: {error}") from None
    for key, value in values.items():
        if key not in known:
            raise UsageError(f"{path}: {unknown('key', key, known)}")
        if not _fits(key, value):
            raise UsageError(f"{path}: {key} = {_toml_value(value)} has the wrong type; expected {_EXPECTED[key]}")
    return values


_EXPECTED = {
    "hidden": "a list of whole numbers",
    **dict.fromkeys(("data", "target", "backend", "activation", "dtype", "precision"), "text"),
    **dict.fromkeys(("epochs", "batch_size", "seed", "patience"), "a whole number"),
    **dict.fromkeys(("lr", "momentum", "validation"), "a number"),
}


def _fits(key: str, value: Any) -> bool:
    types: dict[str, tuple[type, ...]] = {"text": (str,), "a whole number": (int,), "a number": (int, float)}
    if key == "hidden":
        return isinstance(value, list) and all(type(size) is int for size in value)
    return type(value) in types[_EXPECTED[key]]
