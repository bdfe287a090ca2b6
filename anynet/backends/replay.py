"""A step noted down once as the NumPy calls it makes, and made again on the same memory.

Layers are followed with stand-ins for arrays, to which NumPy's own protocols (NEP 13 and 18) bring every call.
What is played back is those calls alone, each writing where it wrote before: no layers, no views to make, no
memory to ask for. It is the same arithmetic, so the numbers are the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from threading import Lock
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from anynet.backends.memory import Memory, Room
from anynet.backends.pieces import Call, Note, in_pieces


class NotReplayable(TypeError):
    """The step does something with an array that cannot be noted down."""


class Traced(NDArrayOperatorsMixin):
    """Stands for an array while a step is followed: whatever is done with it is noted, and nothing done to it."""

    def __init__(self, array: Any, notes: list[Note], memory: Memory, room: Room | None = None) -> None:
        self.array = array
        self.notes = notes
        self.memory = memory
        self.room = room

    def __getattr__(self, name: str) -> Any:
        if name in ("shape", "dtype", "ndim", "size", "device"):
            return getattr(self.array, name)
        raise NotReplayable(f"{name} of an array")

    def __len__(self) -> int:
        return len(self.array)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise NotReplayable("the value of an array")

    __bool__ = __float__ = __int__ = __index__ = __iter__ = __array__

    @property
    def mT(self) -> Traced:
        return self._of(self.array.mT)

    def reshape(self, shape: tuple[int, ...], copy: bool | None = None) -> Traced:
        return self._view_or(self.array.reshape(shape, copy=copy), lambda: self.array.reshape(shape))

    def astype(self, dtype: Any, copy: bool = True) -> Traced:
        if not copy and self.array.dtype == dtype:
            return self
        return self._note(_cast, (self.array,), self.array.astype(dtype), elementwise=True)

    def dot(self, other: Any) -> Traced:
        return self._product(self.array, self._array(other))

    def _product(self, x: Any, y: Any) -> Traced:
        result = x.dot(y)
        traced = self._note(x.dot, (y,), result)
        self.notes[-1] = replace(self.notes[-1], multiplications=result.size * x.shape[-1])
        return traced

    def __getitem__(self, key: Any) -> Traced:
        key = self._array(key)
        return self._view_or(self.array[key], lambda: self.array[key])

    def __setitem__(self, key: Any, value: Any) -> None:
        key = self._array(key)
        self.notes.append(Note(lambda value, out: out.__setitem__(key, value), (self._array(value),), self.array))

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = (None,), **options: Any) -> Any:
        inputs = self._array(inputs)
        function = ufunc if method == "__call__" else getattr(ufunc, method)
        (target,) = out
        if target is None:
            return self._note(function, inputs, function(*inputs, **options), options, method == "__call__")
        if not isinstance(target, Traced):
            raise NotReplayable("an array of the step's own, changed in place by others")
        self.notes.append(Note(function, inputs, target.array, options, method == "__call__"))
        return target

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        arguments, options = self._array(arguments), self._array(options)
        result = function(*arguments, **options)
        if isinstance(result, np.dtype):
            return result
        if function is np.dot:
            return self._product(*arguments)
        if function is np.concatenate:
            return self._note(function, arguments, result, options)
        if function is np.take:
            # Unless told to clip, NumPy takes into a copy first; the rows are our own.
            return self._note(function, arguments, result, {**options, "mode": "clip"})
        return self._view_or(result, lambda: function(*arguments, **options))

    def _view_or(self, result: Any, again: Call) -> Traced:
        """A view stays one for good; anything else is made again each time, and kept in the same place."""
        if isinstance(result, np.ndarray) and result.base is not None and np.may_share_memory(result, self.array):
            return self._of(result)
        if not isinstance(result, (np.ndarray, np.generic)):
            raise NotReplayable(f"{type(result).__name__} made of an array")
        return self._note(lambda out: out.__setitem__(..., again()), (), np.array(result))

    def _note(
        self,
        function: Callable[..., Any],
        inputs: tuple[Any, ...],
        out: Any,
        options: dict[str, Any] | None = None,
        elementwise: bool = False,
    ) -> Traced:
        array, room = self.memory.take(np.asarray(out))
        self.notes.append(Note(function, inputs, array, options or {}, elementwise))
        return Traced(array, self.notes, self.memory, room)

    def _of(self, view: Any) -> Traced:
        return Traced(view, self.notes, self.memory, self.room)

    def _array(self, value: Any) -> Any:
        """The arrays that stand-ins stand for; any other array as it is now, since it may change later in the step."""
        if isinstance(value, Traced):
            return value.array
        if isinstance(value, np.ndarray):
            return value.copy()
        if isinstance(value, (tuple, list)):
            return type(value)(self._array(item) for item in value)
        if isinstance(value, dict):
            return {key: self._array(item) for key, item in value.items()}
        return value


def _cast(x: Any, out: Any) -> None:
    np.copyto(out, x, casting="unsafe")


class Replay:
    """The calls of one step on one state and on batches of one shape.

    Raises
    ------
    NotReplayable
        When the step cannot be followed; the state is as it was.
    """

    def __init__(self, step: Callable[[Any, Any], Any], state: Any, batch: tuple[Any, ...]) -> None:
        self.state = state
        self.batch = tuple(np.array(array) for array in batch)
        self._leaves = leaves(state)
        if not all(isinstance(array, np.ndarray) for array in self._leaves):
            raise NotReplayable("a state that is no array")
        notes: list[Note] = []
        memory = Memory()
        given = [Traced(array, notes, memory) for array in self._leaves]
        batch = tuple(Traced(array, notes, memory) for array in self.batch)
        after, metrics = step(rebuilt(state, iter(given)), batch)
        for old, new in zip(given, leaves(after), strict=True):
            if new is not old:
                notes.append(_put_back(old, new, given))
        if not all(isinstance(value, Traced) for value in metrics.values()):
            raise NotReplayable("a metric that no batch changes")
        self.metrics = {name: value.array for name, value in metrics.items()}
        self.calls = [note.call for note in in_pieces(notes)]
        self.multiplications = sum(note.multiplications for note in notes)
        self._lock = Lock()

    def fits(self, state: Any) -> bool:
        return state is self.state or all(old is new for old, new in zip(self._leaves, leaves(state), strict=True))

    def run(self, batches: tuple[Any, ...]) -> dict[str, Any]:
        """Play the step for each batch, and collect its metrics."""
        steps = len(batches[0])
        collected = {name: np.empty((steps, *value.shape), value.dtype) for name, value in self.metrics.items()}
        with self._lock:
            for i in range(steps):
                for kept, array in zip(self.batch, batches, strict=True):
                    kept[...] = array[i]
                for call in self.calls:
                    call()
                for name, value in self.metrics.items():
                    collected[name][i] = value
        return collected


def _put_back(old: Traced, new: Any, given: list[Traced]) -> Note:
    if not isinstance(new, Traced) or any(np.may_share_memory(new.array, other.array) for other in given):
        raise NotReplayable("a state that changes places")
    return Note(_cast, (new.array,), old.array)


def leaves(tree: Any) -> list[Any]:
    """The arrays in nested tuples and dicts.

    >>> leaves((1, {"a": (2, 3)}))
    [1, 2, 3]
    """
    if isinstance(tree, dict):
        tree = tuple(tree.values())
    return [leaf for branch in tree for leaf in leaves(branch)] if isinstance(tree, tuple) else [tree]


def rebuilt(tree: Any, new: Any) -> Any:
    """The same nested tuples and dicts with the leaves that come next from an iterator.

    >>> rebuilt((1, {"a": (2, 3)}), iter("xyz"))
    ('x', {'a': ('y', 'z')})
    """
    if isinstance(tree, dict):
        return {key: rebuilt(branch, new) for key, branch in tree.items()}
    if not isinstance(tree, tuple):
        return next(new)
    branches = [rebuilt(branch, new) for branch in tree]
    return type(tree)(*branches) if hasattr(tree, "_fields") else tuple(branches)
