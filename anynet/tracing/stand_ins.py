"""Stand-ins for arrays and for their namespace, which record each operation instead of computing it."""

from __future__ import annotations

from functools import cache, partial
from itertools import count
from typing import Any

import numpy as np

from anynet.tracing.functions import FUNCTIONS, linalg
from anynet.tracing.indexing import assigned, has_arrays, taken
from anynet.tracing.program import BINARY, REDUCTIONS, UNARY, NoSuchFunction, NotTraceable, Value
from anynet.tracing.recorder import Recorder, numpy_dtype

_DTYPES = frozenset(
    ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")
)


class _Memory:
    """The number of in-place changes so far, which an array and its views share."""

    changes = 0


class Array:
    """A stand-in for an array while a function is traced.

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
    T = property(lambda self: self._xp.permute_dims(self, range(self.ndim)[::-1]))

    def __array_namespace__(self, *, api_version: str | None = None) -> Namespace:
        return self._xp

    def to_device(self, device: Any, /, *, stream: Any = None) -> Array:
        return self

    def __getattr__(self, name: str) -> Any:
        raise NoSuchFunction(f"the attribute {name} of an array")

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

    def __getitem__(self, key: Any) -> Any:
        if has_arrays(key):
            return taken(self._xp, self, key)
        return Array(self._xp, self._xp.recorder.slice(self.read(), key), self.memory)

    def __setitem__(self, key: Any, x: Any) -> None:
        self.become(assigned(self._xp, self, key, x).read())

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
    setattr(Array, f"__{_name}__", lambda x, y, f=_function: getattr(innermost(x, y), f)(x, y))
    if _name not in ("lt", "le", "gt", "ge", "eq", "ne"):
        setattr(Array, f"__r{_name}__", lambda y, x, f=_function: getattr(innermost(x, y), f)(x, y))
        setattr(Array, f"__i{_name}__", lambda x, y, f=_function: x.become(getattr(x._xp, f)(x, y).read()))


class Namespace:
    """The functions of the Array API standard, which record their calls. Dtypes are NumPy's.

    Parameters
    ----------
    xp : namespace
        The library whose default dtypes the stand-ins have; another Namespace, if that records, too.
    device : object, optional
        The `device` attribute of the stand-ins.
    """

    # Of stand-ins of two namespaces, an operation is recorded by the one made later: it stands in for the other's.
    _numbers = count()

    def __init__(self, xp: Any, device: Any = None) -> None:
        self.number = next(self._numbers)
        self.__name__ = f"anynet.tracing, number {self.number}"
        self.device = device
        self.recorder = Recorder()
        self.defaults = default_dtypes(xp)

    pi, e, inf, nan, newaxis = np.pi, np.e, np.inf, np.nan, None
    linalg = property(linalg)

    def __getattr__(self, name: str) -> Any:
        if name in _DTYPES:
            return np.dtype(name)
        if name in UNARY or name in BINARY or name == "where":
            return partial(self.elementwise, name)
        if name in REDUCTIONS:
            return partial(self._reduce, name)
        if name in FUNCTIONS:
            return partial(FUNCTIONS[name], self)
        raise NoSuchFunction(f"{name}, which cannot be recorded")

    def __array_namespace_info__(self) -> Any:
        return _Info(self)

    def default_dtype(self, number: Any) -> Any:
        """The dtype of a Python number, or of the numbers of this type."""
        kind = number if isinstance(number, type) else type(number)
        return self.defaults.get(kind) or np.dtype(kind)

    def read(self, x: Any, dtype: Any = None) -> Value:
        """The value of an array, a stand-in or a number, cast to `dtype` if that is given."""
        if self._records(x):
            value = x.read()
        elif isinstance(x, (bool, int, float, np.generic)):
            own = x.dtype if isinstance(x, np.generic) else self.default_dtype(x)
            return self.recorder.constant(x, dtype or own)
        elif isinstance(x, Array) and x._xp.number > self.number:
            raise NotTraceable("an array of an inner derivative")
        elif hasattr(x, "dtype") and hasattr(x, "shape") and not _computes_otherwise(x):
            value = self.recorder.captured(x)
        else:
            raise NotTraceable(f"an operation of arrays with {type(x).__name__}")
        return value if dtype is None else self.recorder.cast(value, dtype)

    def _alike(self, *arrays: Any) -> list[Value]:
        """Their values, cast to one dtype."""
        common = self.common_dtype(*arrays)
        return [self.read(x, common) for x in arrays]

    def common_dtype(self, *arrays: Any) -> Any:
        """The common dtype of arrays, dtypes and numbers; Python's numbers take that of the arrays, as in NEP 50."""

        def kind(x: Any) -> Any:
            return x if isinstance(x, np.dtype) else type(x) if type(x) in (bool, int, float) else self.read(x).dtype

        kinds = [kind(x) for x in arrays]
        if all(isinstance(kind, type) for kind in kinds):
            kinds = [self.default_dtype(kind) for kind in kinds]
        return _common(*kinds)

    def elementwise(self, op: str, *arrays: Any) -> Array:
        first = [self.read(x, np.bool_) for x in arrays[:1] if op == "where"]
        return Array(self, self.recorder.elementwise(op, [*first, *self._alike(*arrays[len(first) :])]))

    def _reduce(self, op: str, x: Any, **told: Any) -> Array:
        return Array(self, self.recorder.reduce(op, self.read(x), **told))

    def _view(self, x: Any, value: Value) -> Array:
        return Array(self, value, x.memory if self._records(x) else None)

    def _records(self, x: Any) -> bool:
        return isinstance(x, Array) and x._xp is self

    def matmul(self, x: Any, y: Any) -> Array:
        a, b = self._alike(x, y)
        # A vector is a matrix of one row, or of one column.
        rows = self.recorder.reshape(a, (1, a.size)) if len(a.shape) == 1 else a
        columns = self.recorder.reshape(b, (b.size, 1)) if len(b.shape) == 1 else b
        product = self.recorder.matmul(rows, columns)
        kept = (*product.shape[:-2], *a.shape[-2:-1], *(b.shape[-1:] if len(b.shape) > 1 else ()))
        return Array(self, self.recorder.reshape(product, kept))

    def astype(self, x: Any, dtype: Any, *, copy: bool = True, device: Any = None) -> Any:
        if not copy and x.dtype == dtype and self._records(x):
            return x
        return Array(self, self.read(x, np.dtype(dtype)))

    def asarray(self, x: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Any:
        if self._records(x) and not copy:
            return self.astype(x, dtype or x.dtype, copy=False)
        if isinstance(x, (list, tuple)):
            return self._of_list(x, dtype)
        return Array(self, self.read(x, None if dtype is None else np.dtype(dtype)))

    def _of_list(self, x: Any, dtype: Any) -> Array:
        numbers = np.asarray(x)
        if numbers.dtype.kind not in "bif":
            raise NotTraceable("a list of what are no numbers")
        own = self.default_dtype(type(numbers.flat[0].item()) if numbers.size else float)
        return Array(self, self.recorder.captured(numbers.astype(dtype or own)))

    def arange(self, start: Any, /, stop: Any = None, step: int = 1, *, dtype: Any = None, device: Any = None) -> Any:
        numbers = range(start) if stop is None else range(start, stop, step)
        counted: Any = Array(self, self.recorder.add("arange", (), (len(numbers),), dtype or self.default_dtype(int)))
        if (numbers.start, numbers.step) == (0, 1):
            return counted
        return counted * numbers.step + numbers.start

    def full(self, shape: Any, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Array:
        return Array(self, self.recorder.full(shape, self.read(fill_value, dtype)))

    def concat(self, arrays: Any, *, axis: int = 0) -> Array:
        return Array(self, self.recorder.concat(self._alike(*arrays), axis))

    def take(self, x: Any, indices: Any, *, axis: int | None = None) -> Array:
        return Array(self, self.recorder.take(self.read(x), self.read(indices), axis or 0))

    def take_along_axis(self, x: Any, indices: Any, *, axis: int = -1) -> Array:
        x, indices = self.read(x), self.read(indices)
        axis %= len(x.shape)
        shape = (*x.shape[:axis], indices.shape[axis], *x.shape[axis + 1 :])
        both = x, self.recorder.broadcast_to(indices, shape)
        return Array(self, self.recorder.add("take_along_axis", both, shape, x.dtype, axis=axis))

    def searchsorted(self, x: Any, values: Any, *, side: str = "left", sorter: Any = None) -> Array:
        x = x if sorter is None else self.take(x, sorter)
        both = self._alike(x, values)
        dtype = self.default_dtype(int)
        return Array(self, self.recorder.add("searchsorted", both, both[1].shape, dtype, side=side))

    def segment_sum(self, x: Any, segment_ids: Any, num_segments: int) -> Array:
        """The sums of those rows of x that have the same id; not of the standard."""
        x, ids = self.read(x), self.read(segment_ids)
        return Array(self, self.recorder.add("segment_sum", (x, ids), (num_segments, *x.shape[1:]), x.dtype))

    def argsort(self, x: Any, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
        dtype = self.default_dtype(int)
        if not descending:
            return Array(self, self.recorder.along("argsort", self.read(x), axis, dtype))
        # Backwards twice, so that equal numbers stay in their order.
        order = self.argsort(self.flip(x, axis=axis), axis=axis)
        return x.shape[axis] - 1 - self.flip(order, axis=axis)

    def along(self, op: str, x: Any, *, axis: int) -> Array:
        """A function of all numbers along an axis, which keeps the shape."""
        return Array(self, self.recorder.along(op, self.read(x), axis))

    def all_reduce(self, function: Any, x: Any) -> Array:
        """The sum of a vector over processes, which ``function(x, out)`` writes; not of the standard."""
        value = self.read(x)
        # Each is recorded, even of equal vectors, so that all processes make the same calls.
        place = len(self.recorder.values)
        told = {"function": function, "place": place}
        return Array(self, self.recorder.add("all_reduce", (value,), value.shape, value.dtype, **told))

    def reshape(self, x: Any, shape: Any, *, copy: bool | None = None) -> Array:
        return self._view(x, self.recorder.reshape(self.read(x), shape))

    def broadcast_to(self, x: Any, shape: Any) -> Array:
        return self._view(x, self.recorder.broadcast_to(self.read(x), tuple(shape)))

    def permute_dims(self, x: Any, axes: Any) -> Array:
        return self._view(x, self.recorder.permute_dims(self.read(x), axes))


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


class _Info:
    """What the standard's inspection functions say of a namespace that records."""

    def __init__(self, xp: Namespace) -> None:
        self._xp = xp

    def default_dtypes(self, *, device: Any = None) -> dict[str, Any]:
        float_, int_ = self._xp.default_dtype(float), self._xp.default_dtype(int)
        return {"real floating": float_, "complex floating": np.dtype(complex), "integral": int_, "indexing": int_}

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, Any]:
        return {name: np.dtype(name) for name in _DTYPES if kind is None or self._xp.isdtype(np.dtype(name), kind)}

    def devices(self) -> list[Any]:
        return [self._xp.device]

    def default_device(self) -> Any:
        return self._xp.device

    def capabilities(self) -> dict[str, Any]:
        return {"boolean indexing": False, "data-dependent shapes": False, "max dimensions": 64}


def innermost(*arrays: Any) -> Namespace:
    """Of the namespaces of some stand-ins, and of those given themselves, the one made last."""
    found = (x._xp if isinstance(x, Array) else x for x in arrays if isinstance(x, (Array, Namespace)))
    return max(found, key=lambda xp: xp.number)


def default_dtypes(xp: Any) -> dict[type, Any]:
    """The dtypes that a library gives to Python's floats and ints."""
    info = getattr(xp, "__array_namespace_info__", np.__array_namespace_info__)
    told = info().default_dtypes()
    return {float: numpy_dtype(told["real floating"]), int: numpy_dtype(told["integral"])}
