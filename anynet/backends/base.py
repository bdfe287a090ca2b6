"""What a backend is: an array library, a device, a float dtype, and a way to run a step many times."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from anynet.errors import BackendError, shortened, shown

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

Array: TypeAlias = Any
Step: TypeAlias = Callable[[Any, Any, tuple[Array, ...]], tuple[Any, dict[str, Array]]]


class Backend:
    """Whose arrays, where, in which dtype, and how a training step is run.

    Subclasses name their library, import it when they are made and not before, and override what it does
    differently.

    Parameters
    ----------
    device : str, optional
        As the library names it; its default device if left out.
    dtype : {"float32", "float64"}, or NumPy's dtype of that name
    precision : {"float32", "tf32"}
        How matrices of float32 are multiplied: as they are or, where the device can, rounded to 10 bits before.

    Attributes
    ----------
    xp : namespace
        The library's functions as the Array API standard has them.
    device : object
        The library's own device object.
    pack_limit : float
        Parameters of up to so many numbers are best kept together in one block.
    bytes_at_once, steps_at_once : int
        How much data, and how many steps, are best handed to one call of `run`.
    interruptible : bool
        Whether a run that an exception ends half way leaves the state that it was given.

    Raises
    ------
    BackendError
        When the library or the device cannot be used here.
    """

    name: ClassVar[str]
    package: ClassVar[str]
    install: ClassVar[str]
    pack_limit: ClassVar[float] = math.inf
    bytes_at_once: ClassVar[int] = 16 << 20
    steps_at_once: ClassVar[int] = 64
    interruptible: ClassVar[bool] = True

    xp: Any
    device: Any

    precisions: ClassVar[tuple[str, ...]] = ("float32",)

    def __init__(self, device: str | None = None, dtype: DTypeLike = "float32", precision: str = "float32") -> None:
        self.dtype_name = _name_of(dtype)
        if not isinstance(precision, str) or precision not in self.precisions:
            known = " or ".join(self.precisions)
            raise BackendError(f"the precision of backend {self.name!r} must be {known}, but is {shown(precision)}")
        if not isinstance(device, (str, NoneType)):
            raise BackendError(f"a device is given by its name, such as 'cpu', but this is {shown(device)}")
        self.precision = precision
        # A library that is there but broken raises whatever it likes.
        try:
            self.xp = self.load()
        except Exception as error:
            reason = f"backend {self.name!r} cannot be used here: {_first_sentence(error)}"
            raise BackendError(reason, f"to install it: {self.install}") from None
        try:
            self.device = self.find_device(device)
        except BackendError:
            raise
        except Exception as error:
            wanted = "no device" if device is None else f"no device {shown(device)}"
            reason = f"backend {self.name!r} has {wanted} here: {_first_sentence(error)}"
            raise BackendError(reason, "`anynet backends` lists what can be used") from None

    def __repr__(self) -> str:
        return f"<backend {self.name} on {self.device}, {self.dtype_name}>"

    @staticmethod
    def load() -> Any:
        """Import the library and return its Array API namespace; ImportError where it is missing."""
        raise NotImplementedError

    def find_device(self, device: str | None) -> Any:
        """The library's device object for a name a person gave."""
        if device not in (None, "cpu"):
            raise BackendError(f"backend {self.name!r} has no device {shown(device)}: it runs on the CPU")
        return "cpu"

    def devices(self) -> list[str]:
        """The devices that can be named after the colon."""
        return ["cpu"]

    @classmethod
    def library_version(cls) -> str:
        # Not needed to train, and as slow to import as half of NumPy.
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version(cls.package)
        except PackageNotFoundError:
            return ""

    @property
    def dtype(self) -> Any:
        return getattr(self.xp, self.dtype_name)

    def scope(self) -> AbstractContextManager[Any]:
        """The context in which `xp` computes on this device and in this dtype; `asarray` and `run` enter it."""
        return nullcontext()

    def asarray(self, x: Any, copy: bool | None = None) -> Array:
        """A NumPy array on this device: floats in this backend's dtype, integers as they are."""
        with self.scope():
            return self.xp.asarray(as_float(x, self.dtype_name), device=self.device, copy=copy)

    def resident_bytes(self) -> float:
        """How large a data set may be to stay on the device."""
        return math.inf

    def to_numpy(self, x: Array) -> Any:
        """An array of this backend as a NumPy array on the host; waits for it to be computed."""
        return self.asnumpy(x)

    @staticmethod
    def asnumpy(x: Array) -> Any:
        """An array of this library, on any device, as a NumPy array."""
        import numpy

        return numpy.asarray(x)

    @classmethod
    def device_of(cls, x: Any) -> str | None:
        """The device of an array of this library, by its name after the colon; None where it is no such array."""
        return None

    def copy(self, x: Array) -> Array:
        """The same numbers in memory of their own."""
        with self.scope():
            return self.xp.asarray(x, copy=True)

    def run(
        self,
        step: Step,
        state: Any,
        batches: tuple[Array, ...],
        data: tuple[Array, ...] = (),
        *,
        donate: bool = True,
    ) -> tuple[Any, dict[str, Array]]:
        """Repeat ``state, metrics = step(xp, state, batch)`` over the first axis of `batches`, as a scan does.

        Parameters
        ----------
        step : callable
            ``(xp, state, batch) -> (state, metrics)``, in functions of the namespace `xp`, without reading an array's
            value.
        state : nested tuples and dicts of arrays
            Donated: the caller must go on with the state that comes back, whose memory the next run may use again.
        batches : tuple of arrays, each of shape (steps, ...)
        data : tuple of arrays, optional
            If given, the first of `batches` holds row numbers, and a batch begins with those rows of each.
        donate : bool
            False where the step only reads its state, which others may be reading too.

        Returns
        -------
        state, metrics
            The last state, and each metric with a first axis of length `steps`.
        """
        collected = []
        with self.scope():
            for batch in self.each(batches):
                state, metrics = step(self.xp, state, self.rows_taken(batch, data))
                collected.append(metrics)
            return state, {key: self.xp.stack([metrics[key] for metrics in collected]) for key in collected[0]}

    def each(self, batches: tuple[Array, ...]) -> Iterator[tuple[Array, ...]]:
        """One batch after the other."""
        return (tuple(array[i, ...] for array in batches) for i in range(batches[0].shape[0]))

    def rows_taken(self, batch: tuple[Array, ...], data: tuple[Array, ...]) -> tuple[Array, ...]:
        """A batch that begins with row numbers, with those rows of the data in their place."""
        return (*(self.xp.take(array, batch[0], axis=0) for array in data), *batch[1:]) if data else batch

    def forget(self) -> None:
        """Let go of what was compiled or noted down of steps, and of the memory they compute in."""

    def synchronize(self) -> None:
        """Wait until everything asked of the device is done."""


def as_float(x: Any, dtype: str) -> Any:
    """A NumPy array whose floats have this dtype, whatever NumPy was told to do where one does not fit."""
    import numpy

    if x.dtype.kind != "f":
        return x
    with numpy.errstate(all="ignore"):
        return x.astype(dtype, copy=False)


def _name_of(dtype: DTypeLike) -> str:
    name = getattr(dtype, "name", getattr(dtype, "__name__", dtype))
    if not isinstance(name, str) or name not in ("float32", "float64"):
        raise BackendError(f"dtype must be float32 or float64, but is {shown(dtype)}")
    return name


def _first_sentence(error: Exception) -> str:
    """What a library says is wrong, without the pages that some say more."""
    return shortened(" ".join(str(error).split()).partition(". ")[0], longest=200)
