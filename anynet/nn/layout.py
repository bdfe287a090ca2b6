"""`Layout`: the places of all weights, biases and buffers of a network in blocks of numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add, getitem
from typing import Any, TypeAlias

from anynet.errors import ShapeError, UsageError, shown
from anynet.nn.checks import check_input_shape, check_names
from anynet.nn.layer import (
    Array,
    Generator,
    InputShape,
    Layer,
    Namespace,
    Parameter,
    Parameters,
    Shape,
    Specs,
    check_layer,
)
from anynet.nn.wrappers import check_shared

Path: TypeAlias = tuple[str, ...]
Blocks: TypeAlias = tuple[Array, ...]


@dataclass(frozen=True)
class Entry:
    """The place of one named parameter: numbers `start` to `stop` of a packed block, or a whole block."""

    path: Path
    parameter: Parameter
    block: int
    start: int = 0
    stop: int | None = None

    @property
    def name(self) -> str:
        return ".".join(self.path)

    def view(self, xp: Namespace, blocks: Blocks) -> Array:
        """The parameter, as a view of its block."""
        return self.part(xp, blocks[self.block])

    def part(self, xp: Namespace, block: Array) -> Array:
        """The parameter's part of an array that is laid out like its block; a 0-d array is returned unchanged."""
        whole = self.stop is None or block.ndim == 0
        return block if whole else xp.reshape(block[self.start : self.stop], self.parameter.shape)


class Layout:
    """The map between a network's named parameters and the blocks that hold them.

    Parameters of up to `pack_limit` numbers share one 1-D block; each larger one is a block of its own, in its own
    shape. Buffers are stored in the same way. Layers do not see the blocks: `unpack` gives them views by name. What is
    shared is stored once, under its first name.

    Parameters
    ----------
    network : Layer
    shape : tuple of int, or dict
        The shape of one sample, without the batch axis, or of each input by name.
    pack_limit : float
        0 packs nothing, ``math.inf`` everything.

    Attributes
    ----------
    entries, parameters, buffers : list of Entry
        All in the order of the network, and those that are trainable or not.
    out_shape : tuple of int
        The shape of one output of the network, without the batch axis.

    >>> import numpy as np
    >>> from anynet.nn import Linear, Sequential
    >>> layout = Layout(Sequential(Linear(3), Linear(1)), (2,), pack_limit=5)
    >>> [(entry.name, entry.block, entry.start, entry.stop) for entry in layout.parameters]
    [('0.weight', 1, 0, None), ('0.bias', 0, 0, 3), ('1.weight', 0, 3, 6), ('1.bias', 0, 6, 7)]
    >>> layout.unpack(np, (np.arange(7), np.zeros((2, 3))), ())["1"]["bias"]
    array([6])
    """

    def __init__(self, network: Layer, shape: InputShape, pack_limit: float = math.inf) -> None:
        check_layer(network, "the network")
        given: Any = check_input_shape(check_names(shape, network.indices, "the shape of a sample"))
        specs, self.out_shape = network.parameters(given)
        leaves = _leaves(specs)
        check_shared(leaves)
        # By its first place, all places of each parameter.
        of: dict[Any, list[Path]] = {}
        for path, p in leaves:
            of.setdefault(_identity(path, p), []).append(path)
        self._places = {places[0]: places for places in of.values()}
        distinct = [(path, p) for path, p in leaves if path in self._places]
        self.parameters = _place([(path, p) for path, p in distinct if p.trainable], pack_limit)
        self.buffers = _place([(path, p) for path, p in distinct if not p.trainable], pack_limit)
        entries = {entry.path: entry for entry in (*self.parameters, *self.buffers)}
        self.entries = [entries[path] for path, _ in distinct]
        self._tree = _map(lambda path, p: entries[of[_identity(path, p)][0]], specs)

    def initial(self, xp: Namespace, generator: Generator) -> dict[str, Array]:
        """Initial values by name, drawn on the host as float64 arrays; `xp` is NumPy's namespace.

        Raises
        ------
        ShapeError
            When an initializer returns an array that does not have the shape of its parameter.
        UsageError
            When an initializer cannot be called, or does not return finite numbers.
        """
        return {entry.name: _drawn(xp, entry, generator) for entry in self.entries}

    @staticmethod
    def shapes(entries: Iterable[Entry]) -> dict[str, Shape]:
        """The shape of each of these parameters by name."""
        return {entry.name: entry.parameter.shape for entry in entries}

    def blocks(self, xp: Namespace, arrays: Mapping[str, Array]) -> tuple[Blocks, Blocks]:
        """Parameters and buffers as blocks, from arrays by name."""
        parameters = _join(xp, self.parameters, lambda entry: arrays[entry.name])
        return parameters, _join(xp, self.buffers, lambda entry: arrays[entry.name])

    def unpack(self, xp: Namespace, parameters: Blocks, buffers: Blocks) -> Parameters:
        """All arrays as the layers see them: nested by layer, as views of the blocks."""
        blocks = {True: parameters, False: buffers}
        views: Parameters = _map(lambda _, entry: entry.view(xp, blocks[entry.parameter.trainable]), self._tree)
        return views

    def split(self, xp: Namespace, blocks: Blocks) -> Blocks:
        """Copy blocks laid out like the parameters to one array for each parameter, in its own shape."""
        return tuple(xp.asarray(entry.view(xp, blocks), copy=True) for entry in self.parameters)

    def join(self, xp: Namespace, arrays: Blocks) -> Blocks:
        """One array for each parameter, in its own shape, as blocks."""
        of = dict(zip((entry.path for entry in self.parameters), arrays, strict=True))
        return _join(xp, self.parameters, lambda entry: of[entry.path])

    def pack(self, xp: Namespace, gradients: Parameters) -> Blocks:
        """Gradients, nested by layer, as blocks laid out like the parameters; those of a shared one are summed."""

        def summed(entry: Entry) -> Array:
            return reduce(add, (reduce(getitem, path, gradients) for path in self._places[entry.path]))

        return _join(xp, self.parameters, summed)

    def summed(self, gradients: Parameters) -> dict[str, Array]:
        """The same sums as one dictionary by name, without those that are missing."""
        found = dict(_leaves(gradients))
        at_places = ((entry.name, self._at_places(entry, found)) for entry in self.parameters)
        return {name: reduce(add, several) for name, several in at_places if several}

    def pack_buffers(self, xp: Namespace, changed: Parameters, p: Parameters) -> Blocks:
        """Buffers as blocks: those in `changed`, nested by layer, and the others from `p`; of shared ones, the mean."""
        found = dict(_leaves(changed))

        def new(entry: Entry) -> Array:
            several = self._at_places(entry, found) or [reduce(getitem, entry.path, p)]
            return several[0] if len(several) == 1 else reduce(add, several) / len(several)

        return _join(xp, self.buffers, new)

    def _at_places(self, entry: Entry, found: Mapping[Path, Array]) -> list[Array]:
        return [found[path] for path in self._places[entry.path] if path in found]

    def decays(self, xp: Namespace) -> Blocks:
        """1 where weight decay applies, else 0, laid out like the parameters; 0-d for a block with one parameter."""

        def marks(entry: Entry) -> Array:
            shape = () if entry.stop is None else entry.parameter.shape
            return xp.full(shape, float(entry.parameter.decay))

        return _join(xp, self.parameters, marks)


def by_name(tree: Parameters) -> dict[str, Array]:
    """Arrays nested by layer, as one dictionary with dotted names.

    >>> by_name({"0": {"weight": 1, "bias": 2}, "1": {}})
    {'0.weight': 1, '0.bias': 2}
    """
    return {".".join(path): array for path, array in _leaves(tree)}


def _identity(path: Path, parameter: Parameter) -> Any:
    return parameter.shared or (path,)


def _drawn(xp: Namespace, entry: Entry, generator: Generator) -> Array:
    parameter = entry.parameter
    whose = f"{shown(parameter.initializer)}, the initializer of {entry.name},"
    try:
        values = parameter.initializer(generator, parameter.shape)
    except TypeError as error:
        raise UsageError(f"{whose} is called as initializer(generator, shape), but: {error}") from error
    try:
        array = xp.asarray(values, dtype=xp.float64)
    except (TypeError, ValueError):
        raise UsageError(f"{whose} must give an array of numbers, but gives {shown(values)}") from None
    if array.shape not in ((), parameter.shape):
        raise ShapeError(f"{whose} must give an array of shape {parameter.shape}, but gives one of {array.shape}")
    if not xp.all(xp.isfinite(array)):
        raise UsageError(f"{whose} must give finite numbers, but gives {shown(values)}")
    return xp.zeros(parameter.shape) + array


def _map(function: Callable[[Path, Any], Any], tree: Any, path: Path = ()) -> Any:
    if isinstance(tree, Mapping):
        return {key: _map(function, value, (*path, key)) for key, value in tree.items()}
    return function(path, tree)


def _leaves(tree: Parameters | Specs) -> list[tuple[Path, Any]]:
    leaves: list[tuple[Path, Any]] = []
    _map(lambda path, leaf: leaves.append((path, leaf)), tree)
    return leaves


def _place(parameters: list[tuple[Path, Parameter]], pack_limit: float) -> list[Entry]:
    """Put small parameters, if there are any, into block 0, and each larger one into a block after it."""
    sizes = [math.prod(parameter.shape) for _, parameter in parameters]
    start, block = 0, int(any(size <= pack_limit for size in sizes))
    entries = []
    for (path, parameter), size in zip(parameters, sizes, strict=True):
        if size <= pack_limit:
            entries.append(Entry(path, parameter, 0, start, start + size))
            start += size
        else:
            entries.append(Entry(path, parameter, block))
            block += 1
    return entries


def _join(xp: Namespace, entries: list[Entry], array_of: Callable[[Entry], Array]) -> Blocks:
    """The array of each entry, joined into blocks."""
    packed = [xp.reshape(array_of(entry), (-1,)) for entry in entries if entry.stop is not None]
    alone = [array_of(entry) for entry in entries if entry.stop is None]
    return (xp.concat(packed), *alone) if packed else tuple(alone)
