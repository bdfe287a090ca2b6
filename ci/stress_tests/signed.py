"""Models and checkpoints whose content is changed, signed again, so that the checksum does not give them away."""

from __future__ import annotations

import copy
import hashlib
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

Arrays = dict[str, Any]
Header = dict[str, Any]

_NAMES = ["", "0.weight", "losses", "extra", "weights/0.weight", "slots/velocity/0.weight", "callbacks/9/x", "../x"]
_NAMES += ["x" * 1000, "\0", "ü", "0", ".", "__metadata__x"]
_DTYPES = ["int8", "uint8", "int32", "int64", "float16", "float32", "float64", "bool"]
_FILLINGS = [np.nan, np.inf, -np.inf, 0.0, -0.0, -1.0, 1e30, 1e-45, 3e38]
_SHAPES = [(), (0,), (1,), (1, 1), (2, 3), (7,), (4, 3, 2), (100_000,), (0, 8), (8, 0), (1,) * 30]
_INPUT_SHAPES = [[300_000_000], [2**31], [2**70], [17_321, 17_321], [1] * 1000, [], [0], [-4], [4.0], [True], ["4"], 4]
_INPUT_SHAPES += [[[4]], [1e308], [4, 1], [1, 4], [3], [5], [2**62, 4], None, "4"]
# Between @, what JSON's writer here could not or would not write: see `_text`.
_DEEP = [f"@{what} {depth}@" for what in ("list", "dict", "network") for depth in (30, 200, 490, 900, 10_000)]
_VALUES: list[Any] = [
    *(None, True, False, -1, 0, 1, 3, 2**31, 2**63, 2**70, -(2**70), 0.5, 1e308, -1e308, 1e-320),
    *(float("nan"), float("inf"), "", "x", "\0", "\ud800", "x" * 100_000, "Linear", "float64", "nan", "1"),
    *([], {}, [[]], [None], {"is": "Linear"}, {"is": "Sequential", "layers": []}, {"is": "Sequential", "layers": 3}),
    *({"is": "Adam"}, {"is": None}, {"is": ["Linear"]}, [0] * 100_000, [[1.0, 2.0], [3.0]], {"": {}}, {"arrays": {}}),
    *({"is": "Values", "values": [[1.0] * 3] * 3}, "@digits 4000@", "@digits 5000@", *_DEEP),
]
_NUMBERS = [-1, 0, 1, 2, 3, 5, 10**6, 2**31, 2**63, 2**70, 1.0, 0.5, True, "1", None, [1], float("nan")]
_NETWORKS: list[list[dict[str, Any]]] = [
    [],
    [{"is": "ReLU"}],
    [{"is": "Flatten"}],
    [{"is": "Dropout", "p": 0.5}],
    [{"is": "BatchNorm"}],
    [{"is": "LayerNorm"}],
    [{"is": "Rescale", "scale": [1.0] * 1000, "shift": 0.0}],
    [{"is": "Rescale", "scale": [1.0] * 4, "shift": [0.0] * 4}],
    [{"is": "Flatten"}, {"is": "Linear", "out_features": 2**30}],
    [{"is": "Linear", "out_features": 2**62}, {"is": "Linear", "out_features": 2**62}],
    [{"is": "ReLU"}] * 10_000,
]


def read(path: Path) -> tuple[Arrays, Header]:
    """The arrays and the whole description in a file, unchecked."""
    with safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in list(file.keys())}, json.loads(file.metadata()["anynet"])


def write(path: Path, arrays: Arrays, header: Any) -> None:
    """Write a file with the checksum that its content needs."""
    arrays = {name: np.ascontiguousarray(array).reshape(np.shape(array)) for name, array in arrays.items()}
    if isinstance(header, dict):
        header = {**header, "sha256": _checksum(arrays, header)}
    path.write_bytes(save(arrays, metadata={"anynet": _text(header)}))


def mutate(arrays: Arrays, header: Header, generator: random.Random) -> Any:
    """Change one to three things in place; the header that goes with them."""
    for _ in range(generator.choice([1, 1, 1, 2, 3])):
        if arrays and generator.random() < 0.45:
            generator.choice(_OF_ARRAYS)(arrays, generator)
        else:
            generator.choice(_OF_HEADERS)(header, generator)
    return generator.choice([None, 1, "x", [], [header], {"anynet": header}]) if generator.random() < 0.01 else header


def _checksum(arrays: Arrays, header: Header) -> str:
    description = {name: value for name, value in header.items() if name not in ("format", "sha256")}
    digest = hashlib.sha256(_text(description).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()


def _text(value: Any) -> str:
    """JSON, with what is too deep or too long for its writer put in afterwards."""

    def written(match: re.Match[str]) -> str:
        what, number = match[1], int(match[2])
        if what == "digits":
            return "9" * number
        before, after = {"list": ("[", "]"), "dict": ('{"x": ', "}"), "network": _SEQUENTIAL}[what]
        return before * number + ("null" if what == "dict" else "") + after * number

    return re.sub(r'"@(\w+) (\d+)@"', written, json.dumps(value, sort_keys=True))


_SEQUENTIAL = '{"is": "Sequential", "layers": [', "]}"


def _one(arrays: Arrays, generator: random.Random) -> str:
    """The name of an array, of each group of names as often."""
    groups = sorted({name.rpartition("/")[0] for name in arrays})
    group = generator.choice(groups)
    return generator.choice(sorted(name for name in arrays if name.rpartition("/")[0] == group))


def _rename(arrays: Arrays, generator: random.Random) -> None:
    name = _one(arrays, generator)
    new = generator.choice([*_NAMES, f"{name}.", f" {name}", name.upper(), f"weights/{name}", name.rpartition("/")[2]])
    arrays[new] = arrays.pop(name)


def _swap(arrays: Arrays, generator: random.Random) -> None:
    one, other = _one(arrays, generator), _one(arrays, generator)
    arrays[one], arrays[other] = arrays[other], arrays[one]


def _reshape(arrays: Arrays, generator: random.Random) -> None:
    name = _one(arrays, generator)
    array = arrays[name]
    arrays[name] = array.reshape(generator.choice([(-1,), (1, *array.shape), (*array.shape, 1), array.shape[::-1]]))


def _transpose(arrays: Arrays, generator: random.Random) -> None:
    name = _one(arrays, generator)
    arrays[name] = arrays[name].T


def _cast(arrays: Arrays, generator: random.Random) -> None:
    names = list(arrays) if generator.random() < 0.1 else [_one(arrays, generator)]
    dtype = generator.choice(_DTYPES)
    with np.errstate(all="ignore"):
        arrays.update({name: arrays[name].astype(dtype) for name in names})


def _drop(arrays: Arrays, generator: random.Random) -> None:
    if generator.random() < 0.1:
        arrays.clear()
    else:
        del arrays[_one(arrays, generator)]


def _drop_group(arrays: Arrays, generator: random.Random) -> None:
    group = _one(arrays, generator).rpartition("/")[0]
    for name in [name for name in arrays if name.rpartition("/")[0] == group]:
        del arrays[name]


def _double(arrays: Arrays, generator: random.Random) -> None:
    name = _one(arrays, generator)
    if generator.random() < 0.5:
        arrays[generator.choice([*_NAMES, f"{name}2"])] = arrays[name]
    else:
        arrays[name] = np.concatenate([np.atleast_1d(arrays[name])] * 2)


def _fill(arrays: Arrays, generator: random.Random) -> None:
    name = _one(arrays, generator)
    array = arrays[name] = arrays[name].copy()
    value = generator.choice(_FILLINGS)
    with np.errstate(all="ignore"):
        if array.size and generator.random() < 0.5:
            array.flat[generator.randrange(array.size)] = np.asarray(value).astype(array.dtype)
        else:
            array[...] = np.asarray(value).astype(array.dtype)


def _resize(arrays: Arrays, generator: random.Random) -> None:
    name = _one(arrays, generator)
    shape = arrays[name].shape
    longer = [(*shape[:-1], shape[-1] + 1), (shape[0] - 1, *shape[1:])] if shape and shape[0] else []
    arrays[name] = np.resize(arrays[name], generator.choice([*_SHAPES, *longer]))


def _keys(tree: Any) -> list[Any]:
    return list(tree) if isinstance(tree, dict) else list(range(len(tree)))


def _place(tree: Any, generator: random.Random) -> tuple[Any, Any]:
    """A container in nested dicts and lists, and a key of it: each of the first level as often."""
    while True:
        key = generator.choice(_keys(tree))
        if not (isinstance(tree[key], (dict, list)) and tree[key] and generator.random() < 0.75):
            return tree, key
        tree = tree[key]


def _value(generator: random.Random) -> Any:
    return copy.deepcopy(generator.choice(_VALUES))


def _put_value(header: Header, generator: random.Random) -> None:
    tree, key = _place(header, generator)
    tree[key] = _value(generator)


def _put_number(header: Header, generator: random.Random) -> None:
    tree, key = _place(header, generator)
    tree[key] = generator.choice(_NUMBERS)


def _drop_key(header: Header, generator: random.Random) -> None:
    tree, key = _place(header, generator)
    if len(header) > 1:
        del tree[key]


def _rename_key(header: Header, generator: random.Random) -> None:
    tree, key = _place(header, generator)
    if isinstance(tree, dict):
        tree[generator.choice(["is", "layers", "other", "epoch", "arrays", "best", "", f"{key}_"])] = tree.pop(key)


def _add_key(header: Header, generator: random.Random) -> None:
    tree, _ = _place(header, generator)
    value = _value(generator)
    if isinstance(tree, dict):
        tree[generator.choice(["is", "layers", "other", "course", "callbacks", "arrays", "step", "name"])] = value
    else:
        tree.insert(generator.randrange(len(tree) + 1), value)


def _swap_values(header: Header, generator: random.Random) -> None:
    (tree, key), (other_tree, other_key) = _place(header, generator), _place(header, generator)
    values = copy.deepcopy([tree[key], other_tree[other_key]])
    other_tree[other_key], tree[key] = values if tree is not other_tree or key != other_key else values[::-1]


def _change_list(header: Header, generator: random.Random) -> None:
    tree, key = _place(header, generator)
    value = tree[key]
    if isinstance(value, list):
        tree[key] = generator.choice([value * 2, value[:-1], value[::-1], [value], dict(enumerate(map(str, value)))])
    else:
        tree[key] = [value]


def _other_input_shape(header: Header, generator: random.Random) -> None:
    header["input_shape"] = copy.deepcopy(generator.choice(_INPUT_SHAPES))


def _other_network(header: Header, generator: random.Random) -> None:
    layers = generator.choice(_NETWORKS)
    header["network"] = {"is": "Sequential", "layers": copy.deepcopy(layers)}
    if generator.random() < 0.5:
        _other_input_shape(header, generator)


def _huge_layer(header: Header, generator: random.Random) -> None:
    network = header.get("network")
    layers = network.get("layers") if isinstance(network, dict) else None
    layers = layers if isinstance(layers, list) else []
    sized = [layer for layer in layers if isinstance(layer, dict) and "out_features" in layer]
    if sized:
        generator.choice(sized)["out_features"] = generator.choice([10**6, 10**9, 2**31, 2**63, 2**70, -1, 0, 1e9])


def _other_course(header: Header, generator: random.Random) -> None:
    """Numbers of a training that do not go together."""
    course = header.get("course")
    if not (isinstance(course, dict) and course):
        return _put_number(header, generator)
    for key in generator.sample(sorted(course), k=min(len(course), generator.choice([1, 2]))):
        number = course[key] if type(course[key]) is int else 0
        course[key] = generator.choice([number + 1, number - 1, number * 2, *_NUMBERS])
    if generator.random() < 0.3:
        header["epoch"] = generator.choice(_NUMBERS)
    return None


def _other_history(header: Header, generator: random.Random) -> None:
    """Records that are doubled, dropped, or hold something else."""
    course = header.get("course")
    history = course.get("history") if isinstance(course, dict) else None
    if not (isinstance(history, list) and history and all(isinstance(record, dict) for record in history)):
        return _put_value(header, generator)
    record = generator.choice(history)
    how = generator.randrange(4)
    if how == 0:
        history.append(dict(record))
    elif how == 1:
        history.remove(record)
    elif how == 2:
        record[generator.choice([*record, "other"])] = _value(generator)
    elif record:
        record.pop(generator.choice(sorted(record)))
    return None


_OF_ARRAYS: list[Callable[[Arrays, random.Random], None]] = []
_OF_ARRAYS += [_rename, _swap, _reshape, _transpose, _cast, _drop, _drop_group, _double, _fill, _fill, _resize, _resize]
_OF_HEADERS: list[Callable[[Header, random.Random], None]] = []
_OF_HEADERS += [_put_value, _put_value, _put_number, _drop_key, _rename_key, _add_key, _swap_values, _change_list]
_OF_HEADERS += [_other_input_shape, _other_network, _huge_layer, _other_course, _other_history]
