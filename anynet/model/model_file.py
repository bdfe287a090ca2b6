"""Model files: safetensors with a JSON description and a checksum in the metadata, and no code."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from anynet import nn
from anynet.errors import AnynetError, BackendError, ModelFileError, UsageError, WriteError, unknown
from anynet.model import schema
from anynet.model.atomic_files import write_atomically
from anynet.nn.containers import Layers
from anynet.nn.layer import Shape
from anynet.training.metrics import METRICS

FORMAT = 4
_READABLE = (1, 2, 3, 4)
# Errors that a damaged description can cause.
CAUSED_BY_DAMAGE = (
    AnynetError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    MemoryError,
)
_KINDS: dict[str, tuple[type, ...]] = {
    "network": nn.LAYERS,
    "loss": nn.LOSSES,
    "optimizer": nn.OPTIMIZERS,
    "metrics": METRICS,
}
_KNOWN = (*itertools.chain(*_KINDS.values()), *nn.INITIALIZERS, *nn.SCHEDULES)


def describe(part: Any) -> Any:
    """A layer, loss, initializer, optimizer or metric as values that JSON can hold: its class name and fields.

    >>> describe(nn.LeakyReLU(0.1))
    {'is': 'LeakyReLU', 'negative_slope': 0.1}
    """
    if isinstance(part, nn.Lambda):
        instead = "write a class derived from anynet.nn.Layer, with the function as its forward"
        raise UsageError(f"{part!r} cannot be written to a file, which holds no code: {instead}")
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        name = type(part).__name__
        if any(name == cls.__name__ and type(part) is not cls for cls in _KNOWN):
            raise UsageError(f"{part!r} cannot be written to a file: anynet has another {name}, so rename this one")
        return {"is": name, **{f.name: describe(getattr(part, f.name)) for f in dataclasses.fields(part) if f.init}}
    if isinstance(part, np.generic):
        part = part.item()
    if isinstance(part, (list, tuple)):
        return [describe(item) for item in part]
    if part is None or isinstance(part, (bool, int, float, str)):
        return part
    raise UsageError(f"{part!r} cannot be written to a file: it must be a dataclass of numbers, text and dataclasses")


def completed(description: Any) -> Any:
    """A description with the default of each setting that did not exist yet when it was written.

    >>> completed({"is": "LeakyReLU"})
    {'negative_slope': 0.01, 'is': 'LeakyReLU'}
    """
    if isinstance(description, list):
        return [completed(item) for item in description]
    if not isinstance(description, dict):
        return description
    classes = {cls.__name__: cls for cls in _KNOWN if dataclasses.is_dataclass(cls)}
    fields = dataclasses.fields(classes[description["is"]]) if description.get("is") in classes else ()
    defaults = {f.name: describe(f.default) for f in fields if f.init and f.default is not dataclasses.MISSING}
    return defaults | {key: completed(value) for key, value in description.items()}


def build(description: Any, known: Iterable[type] = ()) -> Any:
    """Make what `describe` described; only anynet's own classes, and those in `known`, are allowed.

    >>> build({"is": "LeakyReLU", "negative_slope": 0.1})
    LeakyReLU(negative_slope=0.1)
    """
    if isinstance(description, list):
        return tuple(build(item, known) for item in description)
    if not isinstance(description, dict):
        return description
    for cls in known:
        if not isinstance(cls, type):
            raise UsageError(f"known must hold classes, but holds {cls!r}")
    classes = {cls.__name__: cls for cls in (*_KNOWN, *known)}
    fields = {key: build(value, known) for key, value in description.items()}
    name = fields.pop("is", None)
    if name not in classes:
        raise ModelFileError(
            unknown("layer, loss, optimizer or metric", name, classes) + "; give your own as known=[...]"
        )
    if name == "Inputs":
        return nn.Inputs(**dict(zip(fields["names"], fields["layers"], strict=True)))
    one_by_one = fields.pop("layers") if issubclass(classes[name], Layers) else ()
    return classes[name](*one_by_one, **fields)


def write(path: Path, arrays: Mapping[str, Any], description: dict[str, Any]) -> None:
    """Write a file atomically: after an error, an earlier file at this path is unchanged."""
    from safetensors.numpy import save

    try:
        # The checksum must be that of the description as JSON will read it.
        description = json.loads(json.dumps(description))
    except (TypeError, ValueError) as error:
        raise UsageError(f"the model's metadata must be values that JSON can hold: {error}") from None
    _check_header(description)
    # safetensors writes wrong values for an array that is not C-contiguous.
    arrays = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}
    header = {"format": FORMAT, "sha256": _checksum(arrays, description), **description}
    write_atomically(path, save(arrays, metadata={"anynet": json.dumps(header, sort_keys=True)}))


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arrays and the description in a file.

    Raises
    ------
    ModelFileError
        When it is missing, damaged, or no model of anynet.
    """
    from safetensors import SafetensorError, safe_open

    if not os.path.isfile(path):
        raise ModelFileError(f"there is no model file {path}")
    try:
        opened = safe_open(path, framework="numpy")
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"{path} is damaged or no safetensors file: {error}") from None
    with blamed(path), opened as file:
        metadata = file.metadata() or {}
        if "anynet" not in metadata:
            raise ModelFileError("it is a safetensors file, but no model that anynet saved")
        header = json.loads(metadata["anynet"])
        if (found := header.pop("format")) not in _READABLE:
            raise ModelFileError(f"its format is {found!r}, not one of {_READABLE}; a newer anynet may have written it")
        names = file.keys()
        arrays = {name: file.get_tensor(name) for name in names}
        if header.pop("sha256") != _checksum(arrays, header):
            raise ModelFileError("its checksum does not fit its content")
        # The first two formats have neither metrics nor clipping; the first does not count steps apart.
        header = ({"clip_norm": None, "metrics": None, "steps_before": 0} if found < 3 else {}) | header
        header = ({"clip_value": None} if found < 4 else {}) | header
        _check_header(header)
        for name, array in arrays.items():
            if array.dtype != header["dtype"]:
                raise ModelFileError(f"it is a model of {header['dtype']}, but holds {name} as {array.dtype}")
    return arrays, header


def parts(model: Any) -> dict[str, Any]:
    """The parts and settings of a model, as values that JSON can hold."""
    described = {part: describe(getattr(model, part)) for part in ("network", "loss", "optimizer")}
    clipping = {"clip_norm": model.clip_norm, "clip_value": model.clip_value}
    return described | {"metrics": describe(model.metrics), **clipping, "dtype": model.backend.dtype_name}


_PART = {"is": schema.TEXT}
_METRICS = schema.Kind("null or a list of metrics", lambda metrics: metrics is None or isinstance(metrics, list))
_SCHEMA = {
    **dict.fromkeys(("network", "loss", "optimizer"), _PART),
    "metrics": _METRICS,
    **dict.fromkeys(("clip_norm", "clip_value"), schema.NUMBER_OR_NONE),
    "input_shape": schema.INPUT_SHAPE,
    "dtype": schema.one_of("float32", "float64"),
    **dict.fromkeys(("seed", "epoch"), schema.WHOLE),
    "step": schema.STEPS,
    "metadata": schema.MAPPING,
}


def _check_header(header: dict[str, Any]) -> None:
    """Refuse a description with invalid content, even if its checksum is right."""
    schema.check(header, _SCHEMA)
    for part, kinds in _KINDS.items():
        described = header[part] or [] if part == "metrics" else [header[part]]
        others = {cls.__name__ for cls in _KNOWN} - {cls.__name__ for cls in kinds}
        for one in described:
            schema.check(one, _PART, f"its {part} is")
            if one["is"] in others:
                raise ModelFileError(f"its {part} cannot be {one['is']}")


def check(arrays: Mapping[str, Any], shapes: Mapping[str, Shape]) -> None:
    """Refuse arrays that do not have the names and shapes that the network needs, or hold inf or nan."""
    for name in sorted({*arrays, *shapes}):
        found = f"{name} of shape {arrays[name].shape}" if name in arrays else f"no {name}"
        needed = f"{name} of shape {shapes[name]}" if name in shapes else f"no {name}"
        if found != needed:
            raise ModelFileError(f"it holds {found}, but its network needs {needed}")
        if not np.isfinite(arrays[name]).all():
            raise ModelFileError(f"its {name} holds numbers that are not finite")


@contextmanager
def blamed(path: Path) -> Iterator[None]:
    """Turn any error from a damaged description into a ModelFileError that names the file."""
    try:
        yield
    except (BackendError, WriteError):
        raise
    except CAUSED_BY_DAMAGE as error:
        kind, reason = type(error).__name__, textwrap.shorten(str(error), 150)
        reason = str(error) if isinstance(error, AnynetError) else f"its description is damaged: {kind}: {reason}"
        raise ModelFileError(f"{path} cannot be loaded: {reason}") from None


def _checksum(arrays: Mapping[str, Any], description: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()
