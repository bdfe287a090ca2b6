"""What a training run is told: the options of ``anynet train``, and the config.toml that holds them."""

from __future__ import annotations

import dataclasses
import json
import os
import reprlib
import textwrap
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from anynet.errors import UsageError, unknown

ACTIVATIONS = ("relu", "leaky_relu", "sigmoid", "tanh")
DTYPES = ("float32", "float64")
MOST_LAYERS = 200
LARGEST_FILE = 8 << 10
_LARGEST_FLOAT32 = (2 - 2**-23) * 2.0**127


class Rule(NamedTuple):
    """What an option may be: in words that follow "must be", and as a test."""

    words: str
    holds: Callable[[Any], bool]


def _whole(least: int, most: int) -> Rule:
    return Rule(f"a whole number from {least} to {most}", lambda value: type(value) is int and least <= value <= most)


def _number(words: str, holds: Callable[[float], bool]) -> Rule:
    return Rule(words, lambda value: type(value) in (int, float) and holds(value))


def _are_sizes(value: Any) -> bool:
    return type(value) in (list, tuple) and len(value) <= MOST_LAYERS and all(map(_SIZE.holds, value))


_TEXT = Rule("text", lambda value: isinstance(value, str))
_SIZE = _whole(1, 2**31 - 1)
_SHARE = _number("a share from 0 to below 1", lambda value: 0 <= value < 1)

RULES = {
    "data": _TEXT,
    "target": _TEXT,
    "backend": _TEXT,
    "hidden": Rule(f"a list of at most {MOST_LAYERS} sizes, each {_SIZE.words}", _are_sizes),
    "activation": _TEXT,
    "epochs": _SIZE,
    "batch_size": _SIZE,
    "lr": _number("above 0 and no more than float32 holds", lambda value: 0 < value <= _LARGEST_FLOAT32),
    "momentum": _number("at least 0 and below 1", lambda value: 0 <= value < 1),
    "seed": _whole(0, 2**63 - 1),
    "dtype": _TEXT,
    "precision": _TEXT,
    "validation": _SHARE,
    "patience": _SIZE,
    "max_bytes": _whole(1, 2**63 - 1),
    "max_classes": _SIZE,
}
CHOICES = {"activation": ACTIVATIONS, "dtype": DTYPES}


@dataclass(frozen=True)
class TrainConfig:
    """The options that decide a run's result, with their defaults, each as `RULES` and `CHOICES` allow it."""

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
    max_bytes: int | None = None
    max_classes: int | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None or field.default is not None:
                _check(field.name, value)


def _check(name: str, value: Any) -> None:
    if not RULES[name].holds(value):
        raise UsageError(f"{name} must be {RULES[name].words}, but is {_shown(value)}")
    if name in CHOICES and value not in CHOICES[name]:
        raise UsageError(unknown(name, value, CHOICES[name]))


def _shown(value: Any) -> str:
    try:
        return reprlib.repr(value)
    # Python writes out no more than some thousand digits.
    except ValueError:
        return "a number of too many digits"


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
    # It brings NumPy, which `--help` need not wait for.
    from anynet.datasets.reading import open_file

    try:
        with open_file(path) as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    # Dotted keys take time and memory by the square of their number.
    if len(content) > LARGEST_FILE:
        raise UsageError(f"{path} is no config of a run: it has more than {LARGEST_FILE:,} bytes")
    try:
        values = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no TOML file: {textwrap.shorten(str(error), 150)}") from None
    for key, value in values.items():
        if key not in known:
            raise UsageError(f"{path}: {unknown('key', key, known)}")
        try:
            _check(key, value)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from None
    return values
