"""Every kind of file that anynet reads: a sound one, and what reads it and then uses it."""

from __future__ import annotations

import gzip
import io
import json
import math
import os
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from commands import killed_at

import anynet
from anynet import cli, datasets, nn
from anynet.cli.config import TrainConfig, resolve, to_toml
from anynet.errors import AnynetError, DataError, ShapeError, TrainingDiverged
from anynet.model import Checkpoints, Model
from anynet.training import Callback, EarlyStopping

Use = Callable[[], None]
_LARGEST_SAMPLE = 100_000
_MOST_AXES = 30


class Wrong(Exception):
    """A file was taken that should not have been, or its refusal changed something."""


@dataclass(frozen=True)
class Kind:
    """A sound file; `read` refuses another with an AnynetError, or gives what uses it. The slow ones are tried less."""

    name: str
    path: Path
    read: Callable[[Path], Use]
    share: int = 20


def signed_kinds(root: Path) -> list[Kind]:
    """Models and checkpoints: of each dtype and optimizer, with running statistics, with nothing to train."""
    kinds = [Kind("model", _saved(root, name), model) for name in _PARTS]
    kinds += [
        Kind("checkpoint", path, lambda path, name=name: _resumed(path, name))
        for name in ("float32", "float64")
        for path in _checkpoints(root, name)
    ]
    run, checkpoint = _stopped_run(root)
    return [
        *kinds,
        Kind("model of a run", run / "model.safetensors", _evaluated, share=10),
        Kind("checkpoint of a run", checkpoint, lambda path: _run_resumed(path, checkpoint), share=1),
    ]


def damaged_kinds(root: Path) -> list[Kind]:
    """One file of each format."""
    x, y = _samples("float32")
    np.savez(root / "data.npz", x=x, y=y)
    np.save(root / "x.npy", x)
    np.save(root / "y.npy", y)
    rows = "".join(f"{a:.3f},{b:.3f},{kind}\n" for (a, b, *_), kind in zip(x, y, strict=True))
    (root / "table.csv").write_text("height,width,kind\n" + rows)
    (root / "config.toml").write_text(to_toml(TrainConfig("mnist"), anynet.__version__))
    idx = bytes([0, 0, 8, 3, 0, 0, 0, 60, 0, 0, 0, 4, 0, 0, 0, 4]) + bytes(range(240)) * 4
    (root / "images.idx").write_bytes(idx)
    (root / "labels.idx").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 60]) + bytes(60))
    (root / "images.gz").write_bytes(gzip.compress(idx, mtime=0))
    return [
        Kind("model", _saved(root, "float32"), model),
        Kind("checkpoint", _checkpoints(root, "float32")[0], lambda path: _resumed(path, "float32")),
        Kind("npz", root / "data.npz", lambda path: data(str(path))),
        Kind("npy", root / "x.npy", lambda path: data(f"{path},{root / 'y.npy'}")),
        Kind("csv", root / "table.csv", lambda path: data(str(path), "kind")),
        Kind("toml", root / "config.toml", config),
        Kind("idx", root / "images.idx", lambda path: data(f"{path},{root / 'labels.idx'}")),
        Kind("idx, gzipped", root / "images.gz", lambda path: data(f"{path},{root / 'labels.idx'}")),
    ]


_PARTS: dict[str, Callable[[], tuple[Any, Any, Any]]] = {
    "float32": lambda: (
        nn.Sequential(nn.Linear(8), nn.BatchNorm(), nn.ReLU(), nn.Dropout(0.2), nn.Linear(3)),
        nn.CrossEntropyLoss(),
        nn.Adam(),
    ),
    "float64": lambda: (
        nn.Sequential(
            nn.Rescale([1.0, 2.0], [0.0, 1.0]), nn.Flatten(), nn.Linear(5), nn.Tanh(), nn.LayerNorm(), nn.Linear(1)
        ),
        nn.MSELoss(),
        nn.SGD(nn.LinearDecay(0.05, 100), momentum=0.9, nesterov=True, weight_decay=0.01),
    ),
    "without weights": lambda: (nn.Sequential(nn.Sequential(nn.Flatten()), nn.Sigmoid()), nn.BCELoss(), nn.Adam()),
}
_EPOCHS = 3
_RECORD = {"epoch", "loss", "val_loss", "seconds", "samples_per_second"}


def _new(name: str) -> Model:
    return Model(*_PARTS[name](), dtype="float32" if name == "float32" else "float64")


def _samples(name: str) -> tuple[Any, Any]:
    x = np.random.default_rng(0).normal(size=(60, 4))
    if name == "float32":
        return x, np.arange(60) % 3
    return (x.reshape(60, 2, 2), x[:, :1]) if name == "float64" else (x, np.abs(np.sin(x)))


def _saved(root: Path, name: str) -> Path:
    model, path = _new(name), root / f"{name}.safetensors"
    model.metadata = {"made": "here", "list": [1, 2.5, None]}
    model.fit(*_samples(name))
    model.save(path)
    return path


def _checkpoints(root: Path, name: str) -> tuple[Path, Path]:
    """One written in the middle of an epoch, and one after it."""
    folder = root / f"checkpoints {name}"
    _train(_new(name), name, checkpoints=Checkpoints(folder, every_seconds=0, every_steps=1, keep=100))
    paths = sorted(folder.iterdir())
    steps = len(paths) // _EPOCHS
    return paths[steps * (_EPOCHS - 1) - 2], paths[steps * (_EPOCHS - 1) - 1]


def _train(model: Model, name: str, **options: Any) -> list[dict[str, float]]:
    x, y = _samples(name)
    callbacks = [*options.pop("callbacks", []), EarlyStopping("val_loss", patience=2)]
    return model.fit(
        x, y, epochs=_EPOCHS, batch_size=16, validation_data=(x[:20], y[:20]), callbacks=callbacks, **options
    )


def model(path: Path) -> Use:
    model = Model.load(path)
    return lambda: _use(model, path.with_name(f"again-{path.name}"))


def _use(model: Model, path: Path) -> None:
    """Predict, train on a batch, save, and open what was saved."""
    _check_finite(model)
    shape = model.input_shape
    assert shape is not None
    if math.prod(shape) > _LARGEST_SAMPLE or len(shape) > _MOST_AXES:
        # A network without parameters takes samples of any shape, also of one that no array can have.
        return
    x = np.random.default_rng(0).normal(size=(3, *shape))
    out_shape = model.predict(x).shape
    kind = model.loss.target_kind
    try:
        model.fit(x, np.zeros(3, int) if kind == "class" else np.full(out_shape, 0.5))
    except TrainingDiverged:
        return
    except ShapeError:
        # A network that predicts well, but not what its loss compares.
        if kind != "class" or len(out_shape) == 2:
            raise
    _save_again(model, path)


def _save_again(model: Model, path: Path) -> None:
    model.save(path)
    again = Model.load(path).parameters
    if {name: a.tobytes() for name, a in model.parameters.items()} != {name: a.tobytes() for name, a in again.items()}:
        raise Wrong("saved and loaded, it has other weights")


def _check_finite(model: Model) -> None:
    for name, array in model.parameters.items():
        if not np.isfinite(array).all():
            raise Wrong("read with what is not finite", name)


class _Taken(Callback):
    """Whether training went on from a checkpoint."""

    is_taken = False

    def on_batches_end(self, model: Model, samples: int) -> None:
        self.is_taken = True


def _resumed(path: Path, name: str) -> Use:
    model, taken = _new(name), _Taken()
    untouched = _new(name).build(_samples(name)[0].shape[1:]).parameters
    try:
        history = _train(model, name, resume=path, callbacks=[taken])
    except TrainingDiverged:
        return lambda: None
    except AnynetError as error:
        if taken.is_taken:
            raise Wrong(f"resumed, and then {type(error).__name__}", str(error)) from error
        if model.epoch or (
            model.input_shape and any((untouched[n] != array).any() for n, array in model.parameters.items())
        ):
            raise Wrong("refused, but the model was changed", str(error)) from error
        raise
    return lambda: _look_at_resumed(model, history, path.with_name(f"again-{path.name}"))


def _look_at_resumed(model: Model, history: list[dict[str, float]], path: Path) -> None:
    _check_finite(model)
    epochs = [record.get("epoch") for record in history]
    # A checkpoint may tell of a training that began after some epochs.
    if epochs != list(range(model.epoch - len(epochs) + 1, model.epoch + 1)) or not 0 < model.epoch <= _EPOCHS:
        raise Wrong("resumed to a history of other epochs", model.epoch, epochs)
    for record in history:
        # What a metric or a callback has measured may be undefined in an epoch, as where a class is missing.
        ours = [value for name, value in record.items() if name in _RECORD]
        others = [type(value) in (int, float) for value in record.values()]
        if not (record.keys() >= _RECORD and all(map(_is_number, ours)) and all(others)):
            raise Wrong("resumed to a history of other records", record)
    _save_again(model, path)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -math.inf < value < math.inf


def data(text: str, target: str | None = None) -> Use:
    data = datasets.load(text, target)
    return lambda: _check_rows(data)


def _check_rows(data: datasets.Dataset) -> None:
    if data.y is not None and len(data.x) != len(data.y):
        raise Wrong("read other numbers of rows", len(data.x), len(data.y))


def config(path: Path) -> Use:
    config = resolve({"config": str(path)})
    again = path.with_name(f"again-{path.name}")

    def write_again() -> None:
        again.write_text(to_toml(config, anynet.__version__), encoding="utf-8")
        if resolve({"config": str(again)}) != config:
            raise Wrong("written and read again, it is another config")

    return write_again


_CIRCLES = ["circles", "--backend", "numpy", "--hidden", "4", "--epochs", "2"]


def _stopped_run(root: Path) -> tuple[Path, Path]:
    """A run killed while it trained, with its only checkpoint; and beside it a finished one's model."""
    run, stopped = root / "run", root / "stopped"
    command("train", *_CIRCLES, "--out", str(run))
    killed_at(["train", *_CIRCLES, "--checkpoint-seconds", "0", "--out", str(stopped)], "checkpoint-", 4)
    return run, max((stopped / "checkpoints").glob("checkpoint-*"))


def _run_resumed(path: Path, sound: Path) -> Use:
    """`anynet train --resume` of a run with this checkpoint."""
    run = path.with_name(f"run-{os.getpid()}")
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(sound.parent.parent, run, ignore=lambda folder, names: set(names) & {sound.name})
    shutil.copy(path, run / "checkpoints" / sound.name)
    command("train", "--resume", str(run))
    return _evaluated(run / "model.safetensors")


def _evaluated(path: Path) -> Use:
    """`anynet evaluate` and `predict` of a run's model."""
    said = command("evaluate", str(path), "circles", "--backend", "numpy", "--json")
    json.loads(said, parse_constant=_refuse)
    return lambda: json.loads(
        command("predict", str(path), "circles", "--backend", "numpy", "--json"), parse_constant=_refuse
    )


def _refuse(constant: str) -> None:
    raise Wrong(f"printed {constant} as JSON")


def command(*arguments: str) -> str:
    """What a command printed; a refusal, which must be one line, as the error that it was."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = cli.main(arguments)
    last = err.getvalue().splitlines()[-1:]
    if code in (cli.USAGE_ERROR, cli.DATA_ERROR) and last and last[0].startswith("anynet "):
        raise DataError(last[0])
    if code == cli.FAILURE and last and "diverged" in last[0]:
        raise TrainingDiverged(last[0])
    if code:
        raise Wrong(f"anynet {arguments[0]} ended with exit code {code}: {' '.join(last)}")
    return out.getvalue()
