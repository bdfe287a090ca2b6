"""The settings of a training run: the options of ``anynet train``, and the config.toml that holds them."""

from __future__ import annotations

import argparse
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

from anynet.backends import BACKENDS
from anynet.datasets.reading import open_file
from anynet.errors import UsageError, unknown

ACTIVATIONS = ("relu", "leaky_relu", "sigmoid", "tanh")
DTYPES = ("float32", "float64")
MLP = "mlp"
CNN = (
    'RandomTranslation(2), Conv2d(16, 3, padding="same"), BatchNorm(), ReLU(), MaxPool2d(2), '
    'Conv2d(32, 3, padding="same"), BatchNorm(), ReLU(), MaxPool2d(2), Flatten(), Linear(128), ReLU()'
)
OPTIMIZERS = ("sgd", "adam", "adamw", "nadam", "rmsprop", "adagrad", "lion")
SCHEDULES = ("constant", "linear", "cosine", "one_cycle")
MOST_LAYERS = 200
LARGEST_FILE = 8 << 10
DATA_HELP = (
    "mnist or circles, which come with anynet; table.csv with a header; data.npz holding x and y (and x_test, y_test); "
    "x.npy,y.npy, where a pattern such as 'x-*.npy' means many; images,labels in the IDX format, plain or gzipped; or "
    "a folder of PNG and JPEG images with a folder for each class"
)
_LARGEST_FLOAT32 = (2 - 2**-23) * 2.0**127


class Rule(NamedTuple):
    """The allowed values of an option: as words that follow "must be" in a message, and as a test."""

    words: str
    holds: Callable[[Any], bool]


class Option(NamedTuple):
    """An option of ``anynet train``, and a key of config.toml.

    Attributes
    ----------
    rule : Rule
    help : str
    metavar : str
    parse : callable
        Makes a value from the text on the command line.
    choices : tuple of str
        The allowed names; empty if the rule alone decides.
    """

    rule: Rule
    help: str
    metavar: str
    parse: Callable[[str], Any] = str
    choices: tuple[str, ...] = ()


def _whole(least: int, most: int) -> Rule:
    return Rule(f"a whole number from {least} to {most}", lambda value: type(value) is int and least <= value <= most)


def _number(words: str, holds: Callable[[float], bool]) -> Rule:
    return Rule(words, lambda value: type(value) in (int, float) and holds(value))


def _are_sizes(value: Any) -> bool:
    return type(value) in (list, tuple) and len(value) <= MOST_LAYERS and all(map(_SIZE.holds, value))


def _sizes(text: str) -> list[int]:
    try:
        return [int(size) for size in text.split(",") if size.strip()]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected whole numbers such as 128,64, but got {text!r}") from None


_TEXT = Rule("text", lambda value: isinstance(value, str))
_SIZE = _whole(1, 2**31 - 1)
_SIZES = Rule(f"a list of at most {MOST_LAYERS} sizes, each {_SIZE.words}", _are_sizes)
_SHARE = _number("a share from 0 to below 1", lambda value: 0 <= value < 1)
_RATE = _number("above 0 and no more than float32 holds", lambda value: 0 < value <= _LARGEST_FLOAT32)


def _option(default: Any, *option: Any, **more: Any) -> Any:
    return dataclasses.field(default=default, metadata={"option": Option(*option, **more)})


@dataclass(frozen=True)
class TrainConfig:
    """The options that decide a run's result: a field for each, with its default, its rule and its help."""

    data: str = dataclasses.field(metadata={"option": Option(_TEXT, f"{DATA_HELP} (default mnist)", "DATA")})
    target: str | None = _option(None, _TEXT, "the CSV file's column to predict: class names or numbers", "COLUMN")
    backend: str = _option(
        "auto",
        _TEXT,
        f"one of {', '.join(BACKENDS)}, with a device as in cupy:1; or auto, which is CuPy where a CUDA GPU can be "
        "used and else NumPy",
        "B",
    )
    network: str = _option(
        MLP,
        _TEXT,
        "mlp, which is fully connected; cnn, which shifts images at random and convolves them twice; or layers of "
        "anynet.nn, as in 'Conv2d(16, 3), ReLU(), Flatten(), Linear(64)'; the output layer follows from the data",
        "NET",
    )
    hidden: tuple[int, ...] = _option((128, 64), _SIZES, "sizes of the hidden layers of mlp", "SIZES", _sizes)
    activation: str = _option("relu", _TEXT, "of mlp: relu, leaky_relu, sigmoid or tanh", "NAME", choices=ACTIVATIONS)
    dropout: float = _option(
        0.0,
        _SHARE,
        "share of numbers left out after each hidden layer of mlp, else before the output layer",
        "P",
        float,
    )
    augment: str | None = _option(
        None,
        _TEXT,
        "layers that change the images of each batch at random, as in 'RandomTranslation(2)' (default none)",
        "LAYERS",
    )
    epochs: int = _option(10, _SIZE, "times through the data", "N", int)
    batch_size: int = _option(64, _SIZE, "samples a batch; on many ranks, of all together", "N", int)
    accumulate: int = _option(1, _SIZE, "batches whose gradients are added up for one step", "N", int)
    optimizer: str = _option("sgd", _TEXT, ", ".join(OPTIMIZERS), "NAME", choices=OPTIMIZERS)
    lr: float | None = _option(
        None, _RATE, "learning rate (default 0.05 for sgd, and PyTorch's default for the others)", "X", float
    )
    schedule: str = _option(
        "linear",
        _TEXT,
        "how the learning rate changes in the run: constant, linear or cosine, which fall to 0, or one_cycle",
        "NAME",
        choices=SCHEDULES,
    )
    momentum: float = _option(
        0.9, _number("at least 0 and below 1", lambda value: 0 <= value < 1), "of sgd", "X", float
    )
    weight_decay: float | None = _option(
        None,
        _number("0 or more, and no more than float32 holds", lambda value: 0 <= value <= _LARGEST_FLOAT32),
        "of the optimizer (default 0, but 0.01 for adamw)",
        "X",
        float,
    )
    seed: int = _option(0, _whole(0, 2**63 - 1), "of weights, order and split", "N", int)
    dtype: str = _option("float32", _TEXT, "float32 or float64", "D", choices=DTYPES)
    precision: str = _option(
        "float32",
        _TEXT,
        "how matrices of float32 are multiplied: float32 or, with CuPy, tf32, which rounds to 10 bits first",
        "P",
    )
    validation: float | None = _option(
        None,
        _SHARE,
        "share of the training data held out and measured after each epoch (default: 0 if the data have a test "
        "part, which is measured instead; else 0.2)",
        "F",
        float,
    )
    patience: int | None = _option(
        None,
        _SIZE,
        "stop when the loss of the part that is measured has not improved for N epochs, and keep the best weights",
        "N",
        int,
    )
    image_size: tuple[int, ...] | None = _option(
        None,
        Rule("a size, or a height and a width", lambda value: _are_sizes(value) and 1 <= len(value) <= 2),
        "the size, or HEIGHT,WIDTH, that the images of a folder are scaled to (default: all have one size)",
        "SIZE",
        _sizes,
    )
    max_bytes: int | None = _option(
        None,
        _whole(1, 2**63 - 1),
        "how many bytes a compressed file may unpack to (default: 10 times its own, but at least 256 MiB)",
        "N",
        int,
    )
    max_classes: int | None = _option(
        None,
        _SIZE,
        "how many classes the target may name; more whole numbers are values to predict, more names an error (default "
        "1000, but 20 different numbers in a CSV file)",
        "N",
        int,
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None or field.default is not None:
                _check(field.name, value)


FIELDS = {field.name: field for field in dataclasses.fields(TrainConfig)}


def option_of(name: str) -> Option:
    option: Option = FIELDS[name].metadata["option"]
    return option


def _check(name: str, value: Any) -> None:
    option = option_of(name)
    if not option.rule.holds(value):
        raise UsageError(f"{name} must be {option.rule.words}, but is {_shown(value)}")
    if option.choices and value not in option.choices:
        raise UsageError(unknown(name, value, option.choices))


def _shown(value: Any) -> str:
    try:
        return reprlib.repr(value)
    # Python refuses to print a number of more than some thousand digits.
    except ValueError:
        return "a number of too many digits"


def resolve(options: dict[str, Any]) -> TrainConfig:
    """Make a config from the given options. If ``config`` names a file, the other options come from that.

    Raises
    ------
    UsageError
        When the file cannot be read, a key is unknown, a value has the wrong type, or there is no data.
    """
    given = {key: value for key, value in options.items() if key in FIELDS}
    if "config" in options:
        kept = _read(Path(options["config"]))
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
    for name in {"hidden", "image_size"} & given.keys():
        given[name] = tuple(given[name])
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
    # JSON's text, numbers and lists are valid TOML, except for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _read(path: Path) -> dict[str, Any]:
    try:
        with open_file(path) as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    # Dotted keys take time and memory that grow with the square of their number.
    if len(content) > LARGEST_FILE:
        raise UsageError(f"{path} is no config of a run: it has more than {LARGEST_FILE:,} bytes")
    try:
        values = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no TOML file: {textwrap.shorten(str(error), 150)}") from None
    for key, value in values.items():
        if key not in FIELDS:
            raise UsageError(f"{path}: {unknown('key', key, FIELDS)}")
        try:
            _check(key, value)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from None
    return values
