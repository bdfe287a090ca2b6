"""Stand-ins for arrays and for their namespace, which record each operation instead of computing it."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np

from anynet.tracing.program import BINARY, REDUCTIONS, UNARY, NotTraceable, Value
from anynet.tracing.recorder import Recorder


class _Memory:
    """The number of in-place changes so far, which an array and its views share."""

    changes = 0


class Array:
    """A stand-in for an array while a step is traced.

    After a change in place it stands for another value. Its views do not see the change, so two reads are errors: of
    a view after its array has changed, and of an array after its view has changed.
    """

    __array_ufunc__ = None
    __hash__ = object.__hash__

    def __init__(self, xp: Namespace, value: Value, memory: _Memory | None = None) -> None:
        self._xp = xp
        self._value = value
        self.memory = memory or _Memory()
        self._changes = self.memory.changes

    shape = property(lambda self: self._value.shape)
    dtype = property(lambda self: self._value.dtype)
    ndim = property(lambda self: len(self._value.shape))
    size = property(lambda self: self._value.size)
    device = property(lambda self: self._xp.device)
    mT = property(lambda self: self._xp.matrix_transpose(self))

    def __array_namespace__(self, *, api_version: str | None = None) -> Namespace:
        return self._xp

    def __getattr__(self, name: str) -> Any:
        raise NotTraceable(f"the attribute {name} of an array")

    def read(self) -> Value:
        if self._changes != self.memory.changes:
            raise NotTraceable("a view of an array that was changed in place, or an array with a view that was")
        return self._value

    def become(self, value: Value) -> Array:
        """Change the array in place."""
        if value.shape != self.shape or not np.can_cast(value.dtype, self.dtype, "same_kind"):
            raise NotTraceable(f"{value!r} assigned to {self._value!r}")
        self.read()
        self.memory.changes += 1
        self._value, self._changes = self._xp.recorder.cast(value, self.dtype), self.memory.changes
        return self

    def __getitem__(self, key: Any) -> Array:
        return Array(self._xp, self._xp.recorder.slice(self.read(), key), self.memory)

    def __setitem__(self, key: Any, x: Any) -> None:
        if key is not ... and key != slice(None):
            raise NotTraceable("assignment to a part of an array")
        value = self._xp.recorder.broadcast_to(self._xp.read(x, self.dtype), self.shape)
        self.become(value)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __bool__(self) -> Any:
        raise NotTraceable("an array's value, as bool, float, int or iteration reads it")

    __float__ = __int__ = __index__ = __complex__ = __iter__ = __array__ = __bool__

    def __neg__(self) -> Array:
        return self._xp.elementwise("negative", self)

    def __invert__(self) -> Array:
        return self._xp.elementwise("bitwise_invert", self)

    def __abs__(self) -> Array:
        return self._xp.elementwise("abs", self)


_OPERATORS = {
    **{"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide"},
    **{"mod": "remainder", "pow": "pow", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor"},
    **{"lshift": "bitwise_left_shift", "rshift": "bitwise_right_shift", "lt": "less", "le": "less_equal"},
    **{"gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal", "matmul": "matmul"},
}
for _name, _function in _OPERATORS.items():
    setattr(Array, f"__{_name}__", lambda x, y, f=_function: getattr(x._xp, f)(x, y))
    if _name not in ("lt", "le", "gt", "ge", "eq", "ne"):
        setattr(Array, f"__r{_name}__", lambda y, x, f=_function: getattr(y._xp, f)(x, y))
        setattr(Array, f"__i{_name}__", lambda x, y, f=_function: x.become(getattr(x._xp, f)(x, y).read()))


class Namespace:
    """The Array API functions, which record their calls; dtypes and constants are the library's own."""

    def __init__(self, xp: Any, device: Any = None) -> None:
        self._xp = xp
        self.device = device
        self.recorder = Recorder()

    def __getattr__(self, name: str) -> Any:
        own = getattr(self._xp, name)
        if name in UNARY or name in BINARY or name == "where":
            return partial(self.elementwise, name)
        if name in REDUCTIONS:
            return partial(self._reduce, name)
        if not callable(own) or isinstance(own, (type, np.dtype)) or name in ("finfo", "iinfo", "isdtype"):
            return own
        raise NotTraceable(f"{name}, which cannot be followed")

    def read(self, x: Any, dtype: Any = None) -> Value:
        """The value of an array, a stand-in or a number, cast to `dtype` if that is given."""
        if isinstance(x, Array):
            value = x.read()
        elif isinstance(x, (bool, int, float, np.generic)):
            return self.recorder.constant(x, dtype or np.asarray(x).dtype)
        elif hasattr(x, "dtype") and hasattr(x, "shape") and not _computes_otherwise(x):
            value = self.recorder.captured(x)
        else:
            raise NotTraceable(f"an operation of arrays with {type(x).__name__}")
        return value if dtype is None else self.recorder.cast(value, dtype)

    def _alike(self, *arrays: Any) -> list[Value]:
        """Their values, cast to one dtype; Python's numbers take the dtype of the arrays, as in NEP 50."""
        kinds: list[Any] = [type(x) if isinstance(x, (bool, int, float)) else self.read(x).dtype for x in arrays]
        common = _common(*kinds)
        return [self.read(x, common) for x in arrays]

    def elementwise(self, op: str, *arrays: Any) -> Array:
        first = [self.read(x, np.bool_) for x in arrays[:1] if op == "where"]
        return Array(self, self.recorder.elementwise(op, [*first, *self._alike(*arrays[len(first) :])]))

    def _reduce(self, op: str, x: Any, **told: Any) -> Array:
        return Array(self, self.recorder.reduce(op, self.read(x), **told))

    def _view(self, x: Any, value: Value) -> Array:
        return Array(self, value, x.memory if isinstance(x, Array) else None)

    def mean(self, x: Any, *, axis: Any = None, keepdims: bool = False) -> Array:
        if x.dtype.itemsize < 4:
            raise NotTraceable("a mean of a small dtype, which libraries add up in a larger one")
        total = self._reduce("sum", x, axis=axis, keepdims=keepdims)
        return self.elementwise("divide", total, x.size // max(total.size, 1))

    def clip(self, x: Any, min: Any = None, max: Any = None) -> Array:
        x = Array(self, self.read(x))
        x = x if min is None else self.elementwise("maximum", x, min)
        return x if max is None else self.elementwise("minimum", x, max)

    def matmul(self, x: Any, y: Any) -> Array:
        return Array(self, self.recorder.matmul(*self._alike(x, y)))

    def astype(self, x: Any, dtype: Any, *, copy: bool = True, device: Any = None) -> Array:
        if not copy and x.dtype == dtype and isinstance(x, Array):
            return x
        return Array(self, self.read(x, np.dtype(dtype)))

    def asarray(self, x: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Array:
        if isinstance(x, Array) and not copy:
            return self.astype(x, dtype or x.dtype, copy=False)
        x = self._xp.asarray(x) if isinstance(x, (list, tuple)) else x
        return Array(self, self.read(x, None if dtype is None else np.dtype(dtype)))

    def arange(self, start: Any, /, stop: Any = None, step: int = 1, *, dtype: Any = None, device: Any = None) -> Array:
        numbers = range(start) if stop is None else range(start, stop, step)
        counted = Array(self, self.recorder.add("arange", (), (len(numbers),), dtype or int))
        if (numbers.start, numbers.step) == (0, 1):
            return counted
        return self.elementwise("add", self.elementwise("multiply", counted, numbers.step), numbers.start)

    def full(self, shape: Any, number: Any, *, dtype: Any = None, device: Any = None) -> Array:
        return Array(self, self.recorder.full(shape, self.read(number, dtype)))

    def zeros(self, shape: Any, *, dtype: Any = None, device: Any = None) -> Array:
        return self.full(shape, 0.0, dtype=dtype)

    def ones(self, shape: Any, *, dtype: Any = None, device: Any = None) -> Array:
        return self.full(shape, 1.0, dtype=dtype)

    def full_like(self, x: Any, number: Any, *, dtype: Any = None, device: Any = None) -> Array:
        return self.full(x.shape, number, dtype=dtype or x.dtype)

    def zeros_like(self, x: Any, *, dtype: Any = None, device: Any = None) -> Array:
        return self.full_like(x, 0, dtype=dtype)

    def ones_like(self, x: Any, *, dtype: Any = None, device: Any = None) -> Array:
        return self.full_like(x, 1, dtype=dtype)

    def concat(self, arrays: Any, *, axis: int = 0) -> Array:
        return Array(self, self.recorder.concat(self._alike(*arrays), axis))

    def stack(self, arrays: Any, *, axis: int = 0) -> Array:
        return self.concat([self.expand_dims(x, axis=axis) for x in arrays], axis=axis)

    def take(self, x: Any, indices: Any, *, axis: int = 0) -> Array:
        return Array(self, self.recorder.take(self.read(x), self.read(indices), axis))

    def all_reduce(self, function: Any, x: Any) -> Array:
        """The sum of a vector over processes, which ``function(x, out)`` writes; not of the standard."""
        value = self.read(x)
        # Each is recorded, even of equal vectors, so that all processes make the same calls.
        place = len(self.recorder.values)
        told = {"function": function, "place": place}
        return Array(self, self.recorder.add("all_reduce", (value,), value.shape, value.dtype, **told))

    def reshape(self, x: Any, shape: Any, *, copy: bool | None = None) -> Array:
        return self._view(x, self.recorder.reshape(self.read(x), shape))

    def expand_dims(self, x: Any, *, axis: int = 0) -> Array:
        at = axis % (x.ndim + 1)
        return self.reshape(x, (*x.shape[:at], 1, *x.shape[at:]))

    def squeeze(self, x: Any, axis: Any) -> Array:
        axes = {one % x.ndim for one in ((axis,) if isinstance(axis, int) else axis)}
        return self.reshape(x, [length for at, length in enumerate(x.shape) if at not in axes])

    def broadcast_to(self, x: Any, shape: Any) -> Array:
        return self._view(x, self.recorder.broadcast_to(self.read(x), tuple(shape)))

    def permute_dims(self, x: Any, axes: Any) -> Array:
        return self._view(x, self.recorder.permute_dims(self.read(x), axes))

    def matrix_transpose(self, x: Any) -> Array:
        return self.permute_dims(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


@cache
def _common(*kinds: Any) -> Any:
    """The common dtype of arrays of these dtypes and Python numbers of these types."""
    common = np.result_type(*(kind() if isinstance(kind, type) else kind for kind in kinds))
    if common.kind == "f" and not any(kind is float or getattr(kind, "kind", "i") in "fc" for kind in kinds):
        raise NotTraceable("int64 with uint64, which have no common integer")
    return common


def _computes_otherwise(x: Any) -> bool:
    """Whether an array is of a subclass that NumPy computes with differently, such as a masked array."""
    return isinstance(x, np.ndarray) and type(x) not in (np.ndarray, np.memmap)
