"""A model as one file: safetensors, with the description and a checksum in its metadata, and no code."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from anynet import nn
from anynet.errors import AnynetError, BackendError, ModelFileError, UsageError, unknown
from anynet.nn.layer import Shape

FORMAT = 1
_KNOWN = (*nn.LAYERS, *nn.LOSSES, *nn.INITIALIZERS, *nn.OPTIMIZERS)


def describe(part: Any) -> Any:
    """A layer, loss, initializer or optimizer as what JSON can hold: its class's name and its fields.

    >>> describe(nn.LeakyReLU(0.1))
    {'is': 'LeakyReLU', 'negative_slope': 0.1}
    """
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        fields = {field.name: describe(getattr(part, field.name)) for field in dataclasses.fields(part)}
        return {"is": type(part).__name__, **fields}
    if isinstance(part, (list, tuple)):
        return [describe(item) for item in part]
    if part is None or isinstance(part, (bool, int, float, str)):
        return part
    raise UsageError(f"{part!r} cannot be written to a file: a layer's fields must be numbers, text or dataclasses")


def build(description: Any, known: Iterable[type] = ()) -> Any:
    """What `describe` described, from the closed list of anynet's own classes and those given as `known`.

    >>> build({"is": "LeakyReLU", "negative_slope": 0.1})
    LeakyReLU(negative_slope=0.1)
    """
    if isinstance(description, list):
        return tuple(build(item, known) for item in description)
    if not isinstance(description, dict):
        return description
    classes = {cls.__name__: cls for cls in (*_KNOWN, *known)}
    fields = {key: build(value, known) for key, value in description.items()}
    name = fields.pop("is", None)
    if name not in classes:
        raise ModelFileError(unknown("layer, loss or optimizer", name, classes))
    return classes[name](*fields["layers"]) if name == "Sequential" else classes[name](**fields)


def write(path: Path, arrays: Mapping[str, Any], description: dict[str, Any]) -> None:
    """Write atomically: the whole new file, or what was there before."""
    from safetensors.numpy import save

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

    if not path.is_file():
        raise ModelFileError(f"there is no model file {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelFileError(f"{path} is damaged or no safetensors file: {error}") from None
    with blamed(path):
        if "anynet" not in metadata:
            raise ModelFileError("it is a safetensors file, but no model that anynet saved")
        header = json.loads(metadata["anynet"])
        if header.pop("format") != FORMAT:
            raise ModelFileError(f"its format is not {FORMAT}; a newer anynet may have written it")
        if header.pop("sha256") != _checksum(arrays, header):
            raise ModelFileError("its checksum does not fit its content")
    return arrays, header


def check(arrays: Mapping[str, Any], shapes: Mapping[str, Shape]) -> None:
    """Refuse arrays that are not the ones the network needs."""
    found = {name: array.shape for name, array in arrays.items()}
    if found != dict(shapes):
        raise ModelFileError(f"it holds {found}, but its network needs {dict(shapes)}")


@contextmanager
def blamed(path: Path) -> Iterator[None]:
    """Turn whatever a damaged description causes into an error that names the file."""
    try:
        yield
    except BackendError:
        raise
    except (AnynetError, KeyError, TypeError, ValueError, AttributeError) as error:
        reason = str(error) if isinstance(error, AnynetError) else f"its description is damaged ({error!r})"
        raise ModelFileError(f"{path} cannot be loaded: {reason}") from None


def write_atomically(path: Path, data: bytes) -> None:
    """The whole new file, on the disk, or what was there before; an error leaves nothing behind."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _checksum(arrays: Mapping[str, Any], description: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()
