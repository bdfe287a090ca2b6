"""What a backend is: an array library, a device, a float dtype, and a way to run a step many times."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from anynet.distributed import Communicator, MeshCommunicator, is_silent
from anynet.errors import BackendError, UsageError, shortened, shown
from anynet.tracing import Namespace
from anynet.tracing import scan as loop

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

Array: TypeAlias = Any
Step: TypeAlias = Callable[[Any, Any, tuple[Array, ...]], tuple[Any, dict[str, Array]]]


@dataclass(frozen=True, eq=False)
class SharedStep:
    """A step that the ranks of a communicator take together, since it sums over them."""

    step: Step
    comm: Communicator

    def __call__(self, xp: Any, state: Any, batch: tuple[Array, ...]) -> tuple[Any, dict[str, Array]]:
        return self.step(xp, state, batch)


def ranks_of(step: Step) -> Communicator:
    """The ranks that take a step together."""
    return step.comm if isinstance(step, SharedStep) else Communicator()


class Backend:
    """An array library, on one device, with one float dtype, and its way to run training steps.

    A subclass names its library, imports the library only when an instance is made, and overrides what the library
    does differently.

    Parameters
    ----------
    device : str, optional
        The library's name for the device; its default device if left out.
    dtype : {"float32", "float64"}, or NumPy's dtype of that name
    precision : {"float32", "tf32"}
        How float32 matrices are multiplied. ``tf32`` rounds each number to 10 bits of mantissa, if the device can.

    Attributes
    ----------
    xp : namespace
        The library's functions as the Array API standard has them.
    device : object
        The library's own device object.
    pack_limit : float
        Parameters of at most this many numbers share one block of memory, see `anynet.nn.Layout`.
    bytes_at_once, steps_at_once : int
        The most bytes of batches, and the most steps, that one call of `run` should get.
    interruptible : bool
        Whether the state that `run` was given still exists after an exception in the middle of a run.

    Raises
    ------
    BackendError
        When the library or the device cannot be used here.
    """

    name: ClassVar[str]
    # The distribution that has the library, and how to get it.
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
        # A broken installation may raise any exception.
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
        """The library's device object for the name of a device."""
        if device not in (None, "cpu"):
            raise BackendError(f"backend {self.name!r} has no device {shown(device)}: it runs on the CPU")
        return "cpu"

    def devices(self) -> list[str]:
        """The device names that can follow the colon, as in ``torch:cpu``."""
        return ["cpu"]

    @classmethod
    def library_version(cls) -> str:
        # This import is slow, and training does not need it.
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
        """Put a NumPy array on this device; floats get this backend's dtype, integers keep theirs."""
        with self.scope():
            return self.xp.asarray(as_float(x, self.dtype_name), device=self.device, copy=copy)

    def resident_bytes(self) -> float:
        """The size in bytes of the largest data set that may stay on the device; a larger one is streamed."""
        return math.inf

    def to_numpy(self, x: Array) -> Any:
        """An array of this backend as a NumPy array on the host; waits until it is computed."""
        return self.asnumpy(x)

    @staticmethod
    def asnumpy(x: Array) -> Any:
        """An array of this library, on any device, as a NumPy array."""
        import numpy

        return numpy.asarray(x)

    @classmethod
    def device_of(cls, x: Any) -> str | None:
        """The name of an array's device, as it follows the colon; None if it is not an array of this library."""
        return None

    def copy(self, x: Array) -> Array:
        """A copy of an array, in memory of its own."""
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
        """Repeat ``state, metrics = step(xp, state, batch)`` over the first axis of `batches`, like ``jax.lax.scan``.

        Parameters
        ----------
        step : callable
            ``(xp, state, batch) -> (state, metrics)``. It uses only functions of the namespace `xp`, and does not read
            an array's value on the host.
        state : nested tuples and dicts of arrays
            Donated: `run` may overwrite it, so use only the returned state afterwards. The next run may overwrite that
            one, too.
        batches : tuple of arrays, each of shape (steps, ...)
            The arrays of all batches, usually of shape (steps, batch_size, ...).
        data : tuple of arrays, each of shape (samples, ...), optional
            If given, the first of `batches` holds row numbers. The batch of a step then begins with those rows of each
            array in `data`, instead of the row numbers.
        donate : bool
            False if the step only reads its state. Other threads may then read the state at the same time.

        Returns
        -------
        state, metrics
            The last state, and each metric of all steps, stacked along a first axis of length `steps`.
        """
        collected = []
        with self.scope():
            for batch in self.iterate(batches):
                state, metrics = step(self.xp, state, self.take_rows(batch, data))
                collected.append(metrics)
            return state, {key: self.xp.stack([metrics[key] for metrics in collected]) for key in collected[0]}

    def check_comm(self, comm: Communicator) -> None:
        """Refuse ranks that this backend cannot sum over."""
        if isinstance(comm, MeshCommunicator):
            raise UsageError(
                f"a mesh of JAX's devices is for backend 'jax', but the backend is {self.name!r}: "
                "give a communicator of mpi4py"
            )

    def shard(self, comm: Communicator, x: Array) -> Array:
        """This rank's part of batches, of shape (steps, rows, ...), divided among the rank's devices."""
        return x

    def replicate(self, comm: Communicator, x: Array) -> Array:
        """An array that each of the rank's devices has whole."""
        return x

    def local(self, x: Array) -> Array:
        """An array that many devices have whole, on this device."""
        return x

    @staticmethod
    def scan(
        xp: Any, step: Callable[[Any, Any], tuple[Any, Any]], state: Any, xs: Any, reverse: bool = False
    ) -> tuple[Any, tuple[Any, ...]]:
        """Inside a step: the loop over time of `anynet.tracing.scan`, of which each x may be an array or a result."""
        return loop(xp, step, state, xs, reverse)

    def total(self, comm: Communicator, xp: Any, *arrays: Array) -> tuple[Array, ...]:
        """Inside a step: the sums over all ranks of arrays of one dtype, in one message."""
        flat = xp.concat([xp.reshape(x, (-1,)) for x in arrays])
        add_up = partial(self._add_up, comm)
        is_recorded = isinstance(xp, Namespace)
        summed = xp.all_reduce(add_up, flat) if is_recorded else add_up(flat, xp.empty_like(flat))
        ends = list(accumulate(math.prod(x.shape) for x in arrays))
        # The parts do not overlap, so the step may change one of them in place, which no recording of views allows.
        parts = (xp.asarray(summed[start:end], copy=is_recorded or None) for start, end in pairwise([0, *ends]))
        return tuple(xp.reshape(part, x.shape) for part, x in zip(parts, arrays, strict=True))

    def _add_up(self, comm: Communicator, x: Array, out: Array) -> Array:
        if not is_silent():
            return self.all_reduce(comm, x, out)
        out[...] = x
        return out

    def rank_of(self, comm: Communicator) -> Any:
        """Inside a step: which part of the batch it has."""
        return comm.rank

    def all_reduce(self, comm: Communicator, x: Array, out: Array) -> Array:
        """Write the sum of a vector over all ranks to `out`, and return `out`; here through the host."""
        import numpy

        mine = numpy.array(self.to_numpy(x))
        out[...] = self.asarray(comm.total(mine, mine))
        return out

    def iterate(self, batches: tuple[Array, ...]) -> Iterator[tuple[Array, ...]]:
        """One batch after the other."""
        return (tuple(array[i, ...] for array in batches) for i in range(batches[0].shape[0]))

    def take_rows(self, batch: tuple[Array, ...], data: tuple[Array, ...]) -> tuple[Array, ...]:
        """A batch whose row numbers are replaced by those rows of the data."""
        return (*(self.xp.take(array, batch[0], axis=0) for array in data), *batch[1:]) if data else batch

    def clear_cache(self) -> None:
        """Drop the cached compiled steps and graphs, with their memory."""

    def synchronize(self) -> None:
        """Wait until the device has finished all its work."""


def as_float(x: Any, dtype: str) -> Any:
    """Cast a NumPy array of floats to this dtype; numbers that overflow cause neither a warning nor an error."""
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
    """The first sentence of an error's message, since some libraries add pages to it."""
    return shortened(" ".join(str(error).split()).partition(". ")[0], longest=200)
