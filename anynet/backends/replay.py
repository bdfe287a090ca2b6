"""A step noted down once as the NumPy calls it makes, and made again on the same memory.

Layers are followed with stand-ins for arrays, to which NumPy's own protocols (NEP 13 and 18) bring every call.
What is played back is those calls alone, each writing where it wrote before: no layers, no views to make, no
memory to ask for. It is the same arithmetic, so the numbers are the same to the last bit; that is tried on the
first batch, and a step that does anything not known here is not played back at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from threading import Lock
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from anynet.backends.memory import Memory, Room, placed
from anynet.tracing.trees import leaves, rebuilt

# Functions whose result depends on values only in its values, and which change none of their arguments.
_MAKING_ARRAYS = frozenset(
    (np.where, np.argmax, np.argmin, np.copy, np.zeros_like, np.ones_like, np.full_like, np.mean, np.repeat, np.tile)
)
_MAKING_VIEWS = frozenset(
    (np.reshape, np.matrix_transpose, np.transpose, np.expand_dims, np.squeeze, np.broadcast_to, np.moveaxis)
)


Call: TypeAlias = Callable[[], Any]


class NotReplayable(TypeError):
    """The step does something with an array that cannot be noted down."""


class Note(NamedTuple):
    """One call, and how many numbers it multiplies."""

    call: Call
    multiplications: int = 0


class Traced(NDArrayOperatorsMixin):
    """Stands for an array while a step is followed: whatever is done with it is done and noted."""

    __slots__ = ("array", "is_scalar", "memory", "notes", "room")

    def __init__(
        self, array: Any, notes: list[Note], memory: Memory, room: Room | None = None, is_scalar: bool = False
    ) -> None:
        self.array = array
        self.notes = notes
        self.memory = memory
        self.room = room
        self.is_scalar = is_scalar

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

    def reshape(self, *shape: Any, copy: bool | None = None) -> Traced:
        return self._view_or(lambda: self.array.reshape(*shape, copy=copy))

    def astype(self, dtype: Any, copy: bool = True) -> Traced:
        if not copy and self.array.dtype == dtype:
            return self
        return self._note(_cast, (self.array,), self.array.astype(dtype))

    def dot(self, other: Any) -> Traced:
        return self._product(self.array, self._array(other))

    def __getitem__(self, key: Any) -> Traced:
        if not all(isinstance(part, (int, slice)) or part in (None, ...) for part in _as_tuple(key)):
            raise NotReplayable("rows chosen by an array")
        return self._view_or(lambda: self.array[key])

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = (None,), **options: Any) -> Any:
        if method == "reduce" and options.keys() <= {"axis", "dtype", "keepdims"} and out == (None,):
            inputs = self._array(inputs)
            return self._note(ufunc.reduce, inputs, ufunc.reduce(*inputs, **options), options)
        if ufunc is np.matmul and method == "__call__" and not options and out == (None,):
            x, y = self._array(inputs)
            return self._product(x, y, np.matmul)
        if method != "__call__" or options or ufunc.signature or ufunc.nout != 1:
            raise NotReplayable(f"{ufunc.__name__}.{method} with {', '.join(options)}")
        (target,) = out
        if target is not None and not isinstance(target, Traced):
            raise NotReplayable("an array of the step's own, changed in place by others")
        inputs = self._array(inputs)
        if target is None or target.is_scalar:
            result = ufunc(*inputs)
            if ufunc is np.power and isinstance(result, np.generic):
                raise NotReplayable("a power of a number, which NumPy computes in another way than one of an array")
            return self._note(ufunc, inputs, result)
        ufunc(*inputs, out=target.array)
        self.notes.append(Note(partial(ufunc, *inputs, out=target.array)))
        return target

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        arguments, options = self._array(arguments), self._array(options)
        if "out" in options or "where" in options:
            raise NotReplayable(f"{function.__name__} with an array to write to")
        if function is np.dot and len(arguments) == 2:
            return self._product(*arguments)
        if function is np.concatenate and options.keys() <= {"axis"}:
            return self._note(function, arguments, function(*arguments, **options), options)
        if function is np.take and len(arguments) == 2 and options.keys() <= {"axis"}:
            return self._note(function, arguments, function(*arguments, **options), options)
        if function in _MAKING_VIEWS:
            return self._view_or(lambda: function(*arguments, **options))
        if function in _MAKING_ARRAYS:
            return self._made_again(lambda: function(*arguments, **options), function(*arguments, **options))
        raise NotReplayable(function.__name__)

    def _product(self, x: Any, y: Any, product: Callable[..., Any] = np.dot) -> Traced:
        if not (isinstance(x, np.ndarray) and isinstance(y, np.ndarray) and x.ndim and y.ndim):
            raise NotReplayable("a product with a number")
        result = product(x, y)
        # The method saves the way through NumPy's dispatcher.
        traced = self._note(x.dot, (y,), result) if product is np.dot else self._note(product, (x, y), result)
        self.notes[-1] = self.notes[-1]._replace(multiplications=result.size * x.shape[-1])
        return traced

    def _view_or(self, make: Call) -> Traced:
        """A view stays one for good; anything else is made again each time."""
        result = make()
        if isinstance(result, np.ndarray) and np.may_share_memory(result, self.array):
            return self._of(result)
        return self._made_again(make, result)

    def _made_again(self, make: Call, result: Any) -> Traced:
        return self._note(lambda out: out.__setitem__(..., make()), (), result)

    def _note(
        self,
        function: Callable[..., Any],
        inputs: tuple[Any, ...],
        result: Any,
        options: dict[str, Any] | None = None,
    ) -> Traced:
        """Keep a result in a place of its own, and note how it came about."""
        if not isinstance(result, (np.ndarray, np.generic)):
            raise NotReplayable(f"{type(result).__name__} made of an array")
        array, room = self.memory.keep(np.asarray(result))
        self.notes.append(Note(partial(function, *inputs, out=array, **(options or {}))))
        return Traced(array, self.notes, self.memory, room, isinstance(result, np.generic))

    def _of(self, view: Any) -> Traced:
        return Traced(view, self.notes, self.memory, self.room)

    def _array(self, value: Any) -> Any:
        """The arrays that stand-ins stand for; any other array as it is now, since it may change later in the step."""
        if isinstance(value, Traced):
            return value.array
        if isinstance(value, np.ndarray):
            return value.copy()
        if type(value) in (tuple, list):
            return type(value)(self._array(item) for item in value)
        if isinstance(value, dict):
            return {key: self._array(item) for key, item in value.items()}
        return value


class Replay:
    """The calls of one step on batches of one shape.

    A state that the step changes is kept in memory of its own, and copied there when another is given; one that
    is only read is used where it is.

    Parameters
    ----------
    step : callable
        As `Backend.run` takes it, its namespace given.
    state : nested tuples and dicts of arrays
        It is left as it is.
    batch : tuple of arrays
    changes_state : bool
        Whether the step is known to change its state; else that is found out.

    Raises
    ------
    NotReplayable
        When the step cannot be followed, or does not give the same again.
    """

    def __init__(
        self, step: Callable[[Any, Any], Any], state: Any, batch: tuple[Any, ...], changes_state: bool = False
    ) -> None:
        given = leaves(state)
        if not all(type(array) in (np.ndarray, np.memmap) for array in (*given, *batch)) or _overlap(given):
            raise NotReplayable("a state of other things than arrays, each by itself")
        # Its calls share memory.
        self._in_use = Lock()
        self.batch = tuple(array.copy() for array in batch)
        self.changes_state = changes_state
        try:
            notes, metrics = self._follow(step, state, given)
        except (ValueError, _StateChanged):
            if self.changes_state:
                raise
            self.changes_state = True
            notes, metrics = self._follow(step, state, given)
        self._given = given
        self.metrics = {name: value.array for name, value in metrics.items()}
        if _overlap([*self._own, *self.metrics.values()]):
            raise NotReplayable("a metric that is part of the state")
        self.calls = [note.call for note in notes]
        self.multiplications = sum(note.multiplications for note in notes)
        self._prove(given)
        self._prove_on_another_batch(step, state)
        if self.changes_state:
            # The memory of a state that is only copied from.
            self._given = []

    def _follow(
        self, step: Callable[[Any, Any], Any], state: Any, given: list[Any]
    ) -> tuple[list[Note], dict[str, Traced]]:
        """Run the step once on the batch, for real but on copies of what it changes, and note its calls."""
        self._own = tuple(placed(x.copy()) if self.changes_state else _read_only(x) for x in given)
        notes: list[Note] = []
        memory = Memory()
        own = [Traced(array, notes, memory) for array in self._own]
        before = rebuilt(state, iter(own))
        after, metrics = step(before, tuple(Traced(array, notes, memory) for array in self.batch))
        changed = [(old, new) for old, new in _pairs(before, after) if new is not old]
        if changed and not self.changes_state:
            raise _StateChanged
        if _overlap([*self._own, *(new.array for _, new in changed)]):
            raise NotReplayable("a state that changes places")
        notes += [Note(partial(_cast, new.array, out=old.array)) for old, new in changed]
        for old, new in changed:
            old.array[...] = new.array
        if not all(isinstance(value, Traced) for value in metrics.values()):
            raise NotReplayable("a metric that no batch changes")
        return notes, metrics

    def _prove(self, given: list[Any]) -> None:
        """The calls, made again from the start, must give what following the step gave."""
        results = [*self.metrics.values(), *self._own]
        expected = [array.tobytes() for array in results]
        if self.changes_state:
            self._begin_with(given)
        for call in self.calls:
            call()
        if expected != [array.tobytes() for array in results]:
            raise NotReplayable("a step that does not give the same twice")

    def _prove_on_another_batch(self, step: Callable[[Any, Any], Any], state: Any) -> None:
        """What the step took from elsewhere while it was followed, such as np.random's numbers, comes out here."""
        batch = [np.roll(array, 1, axis=0) if array.ndim else array for array in self.batch]
        after, metrics = step(rebuilt(state, (x.copy() for x in self._given)), tuple(batch))
        replayed_state, replayed = self.run(state, tuple(array[None] for array in batch))
        if not (
            metrics.keys() == replayed.keys()
            and all(_same_bytes(value, replayed[name][0]) for name, value in metrics.items())
            and all(map(_same_bytes, leaves(after), leaves(replayed_state)))
        ):
            raise NotReplayable("a step that gives other numbers than its calls do")

    @contextmanager
    def taken(self, state: Any) -> Iterator[bool]:
        """The time in which no other thread may play the calls; False where another does, or for another state."""
        is_free = self._in_use.acquire(blocking=False)
        try:
            yield is_free and self.fits(state)
        finally:
            if is_free:
                self._in_use.release()

    def is_idle(self) -> bool:
        return not self._in_use.locked()

    def fits(self, state: Any) -> bool:
        """Whether this state can be copied to where it is changed, or is the one that is read."""
        there = leaves(state)
        if len(there) != len(self._own):
            return False
        if self.changes_state:
            return all((x.shape, x.dtype) == (own.shape, own.dtype) for x, own in zip(there, self._own, strict=True))
        return all(x is given for x, given in zip(there, self._given, strict=True))

    def run(self, state: Any, batches: tuple[Any, ...], data: tuple[Any, ...] = ()) -> tuple[Any, dict[str, Any]]:
        """Play the step for each batch, as `Backend.run` does; the state that comes of it, and the metrics."""
        if self.changes_state:
            self._begin_with(leaves(state))
            state = rebuilt(state, iter(self._own))
        collected = {n: np.empty((len(batches[0]), *v.shape), v.dtype) for n, v in self.metrics.items()}
        for i in range(len(batches[0])):
            self._fill([array[i] for array in batches], data)
            for call in self.calls:
                call()
            for name, value in self.metrics.items():
                collected[name][i] = value
        return state, collected

    def _fill(self, batch: list[Any], data: tuple[Any, ...]) -> None:
        """Put a batch, or the rows it names, where the calls read it."""
        for kept, array in zip(self.batch, data, strict=False):
            # Where NumPy checks each number, it takes into a copy first; these are row numbers of our own.
            np.take(array, batch[0], axis=0, out=kept, mode="wrap")
        for kept, array in zip(self.batch[len(data) :], batch[1:] if data else batch, strict=True):
            kept[...] = array

    def _begin_with(self, state: list[Any]) -> None:
        for own, array in zip(self._own, state, strict=True):
            if own is not array:
                own[...] = array


class _StateChanged(Exception):
    """A state that was taken for one that is only read."""


def _cast(x: Any, out: Any) -> None:
    np.copyto(out, x, casting="unsafe")


def _same_bytes(one: Any, other: Any) -> bool:
    return np.asarray(one).tobytes() == np.asarray(other).tobytes()


def _read_only(array: Any) -> Any:
    view = array.view()
    view.flags.writeable = False
    return view


def _overlap(arrays: list[Any]) -> bool:
    """Whether any two share memory, by the bytes that they span."""
    spans = sorted(np.lib.array_utils.byte_bounds(array) for array in arrays if array.size)
    return any(before[1] > after[0] for before, after in pairwise(spans))


def _as_tuple(key: Any) -> tuple[Any, ...]:
    return key if isinstance(key, tuple) else (key,)


def _pairs(before: Any, after: Any) -> Iterator[tuple[Traced, Traced]]:
    """The arrays of two states, place by place."""
    if isinstance(before, Traced):
        if not isinstance(after, Traced) or (before.shape, before.dtype) != (after.shape, after.dtype):
            raise NotReplayable("a state that changes its shape or dtype")
        yield before, after
        return
    if type(before) is not type(after) or len(before) != len(after):
        raise NotReplayable("a state that changes its structure")
    keys = before if isinstance(before, dict) else range(len(before))
    for key in keys:
        if isinstance(before, dict) and key not in after:
            raise NotReplayable("a state that changes its structure")
        yield from _pairs(before[key], after[key])
