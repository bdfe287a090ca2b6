"""JAX: the whole run compiled by XLA."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, ref

from anynet.backends.base import Array, Backend, Step, as_float
from anynet.distributed import Communicator, MeshCommunicator
from anynet.distributed.mesh import EXAMPLE, spread
from anynet.errors import UsageError
from anynet.tracing import Namespace


class JAXBackend(Backend):
    """`run` is a compiled ``lax.scan`` that reuses the memory of the state it is given.

    Batches that `shard` or `replicate` has put on a mesh are computed there, by ``jax.shard_map``: each device scans
    its part of them, with a state of its own, and the sums in the step keep these states equal to the last bit.

    Each parameter is a block of its own. If they shared one vector, XLA's CPU compiler would fuse the products of
    small layers into the concatenation, and they would run tens of times slower. float64 is switched on for this
    backend's own calls only, so that a program's other uses of JAX keep their default.
    """

    name = "jax"
    package = "jax"
    install = "pip install jax"
    pack_limit = 0
    # Starting a compiled run costs as much as a few small steps.
    steps_at_once = 512
    interruptible = False

    def __init__(self, device: str | None = None, dtype: str = "float32", precision: str = "float32") -> None:
        super().__init__(device, dtype, precision)
        self._scans: WeakKeyDictionary[Step, dict[tuple[bool, Any], Any]] = WeakKeyDictionary()

    @staticmethod
    def load() -> Any:
        import jax.numpy

        return jax.numpy

    def find_device(self, device: str | None) -> Any:
        import jax

        # Of many processes, each has devices of its own.
        if device is None:
            return jax.local_devices()[0]
        platform, _, index = device.partition(":")
        return jax.devices(platform)[int(index)] if index else jax.local_devices(backend=platform)[0]

    def devices(self) -> list[str]:
        import jax

        return [_name_of(device) for device in jax.devices()]

    @classmethod
    def device_of(cls, x: Any) -> str | None:
        from array_api_compat import is_jax_array

        return _name_of(next(iter(x.devices()))) if is_jax_array(x) else None

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Switch float64 on if it is this backend's dtype, and TF32 off, which JAX uses for float32 on some GPUs."""
        import jax
        import numpy

        doubles = jax.enable_x64(True) if self.dtype_name == "float64" else nullcontext()
        # JAX lets NumPy round a step's constants to float32, and the caller may have set NumPy to raise on overflow.
        with doubles, jax.default_matmul_precision("highest"), numpy.errstate(all="ignore"):
            yield

    def asarray(self, x: Any, copy: bool | None = None) -> Array:
        import jax

        x = as_float(x, self.dtype_name)
        # jax.numpy.asarray would copy twice, and wait for computations that still run.
        with self.scope():
            array = jax.device_put(x, self.device, may_alias=not copy)
        # JAX may read x until then, and the caller may change x after this call.
        return jax.block_until_ready(array)

    def copy(self, x: Array) -> Array:
        return super().copy(self.local(x))

    def resident_bytes(self) -> float:
        return 1 << 30

    def check_comm(self, comm: Communicator) -> None:
        if isinstance(comm, MeshCommunicator):
            if self.device not in (own := [comm.mesh.devices[i] for i in comm.own_devices]):
                name = _name_of(own[0])
                raise UsageError(
                    f"the mesh lacks {_name_of(self.device)}, on which the backend computes what is not divided, "
                    f"such as predictions: give backend='jax:{name}', which it has"
                )
        elif comm.ranks > 1:
            raise UsageError(
                f"backend 'jax' sums over a mesh of JAX's devices: give comm={EXAMPLE}, "
                "in each of several processes after jax.distributed.initialize()"
            )

    def shard(self, comm: Communicator, x: Array) -> Array:
        return self._spread(comm, x, axis=1)

    def replicate(self, comm: Communicator, x: Array) -> Array:
        return self._spread(comm, x)

    def _spread(self, comm: Communicator, x: Array, axis: int | None = None) -> Array:
        assert isinstance(comm, MeshCommunicator)
        with self.scope():
            return spread(x, comm.mesh, axis)

    def local(self, x: Array) -> Array:
        if x.sharding.num_devices == 1:
            return x
        return next(shard.data for shard in x.addressable_shards if shard.device == self.device)

    @staticmethod
    def scan(xp: Any, step: Any, state: Any, xs: Any, reverse: bool = False) -> tuple[Any, tuple[Any, ...]]:
        import jax

        if isinstance(xp, Namespace):
            return Backend.scan(xp, step, state, xs, reverse)
        # Unrolled, it would take XLA ten times as long to compile.
        found: tuple[Any, tuple[Any, ...]] = jax.lax.scan(step, state, tuple(xs), reverse=reverse)
        return found

    def total(self, comm: Communicator, xp: Any, *arrays: Array) -> tuple[Array, ...]:
        import jax

        assert isinstance(comm, MeshCommunicator)
        # One sum of many arrays: packed into one, as on other backends, they would make XLA slow.
        if isinstance(xp, Namespace):
            return tuple(xp.all_reduce(lambda x, out: jax.lax.psum(x, comm.axis), x) for x in arrays)
        totals: tuple[Array, ...] = jax.lax.psum(arrays, comm.axis)
        return totals

    def rank_of(self, comm: Communicator) -> Any:
        import jax

        assert isinstance(comm, MeshCommunicator)
        return jax.lax.axis_index(comm.axis)

    def run(
        self,
        step: Step,
        state: Any,
        batches: tuple[Array, ...],
        data: tuple[Array, ...] = (),
        *,
        donate: bool = True,
    ) -> tuple[Any, dict[str, Array]]:
        import jax

        # Batches that lie on a mesh are computed there.
        sharding = batches[0].sharding
        if not isinstance(sharding, jax.NamedSharding):
            sharding = None
        with self.scope():
            if sharding:
                state, data = jax.tree.map(partial(spread, mesh=sharding.mesh), (state, data))
            result: tuple[Any, dict[str, Array]] = self._compiled(step, donate, sharding)(state, batches, data)
        return result

    def _compiled(self, step: Step, donate: bool, sharding: Any) -> Any:
        """The scan of a step. The cache is here, not in JAX's global one, so the scan is freed with step or backend."""
        import jax

        weakly = ref(step)

        def scan(state: Any, batches: tuple[Array, ...], data: tuple[Array, ...]) -> Any:
            step = weakly()
            assert step
            return jax.lax.scan(lambda state, batch: step(self.xp, state, self.take_rows(batch, data)), state, batches)

        scans = self._scans.setdefault(step, {})
        kind = donate, sharding
        if kind not in scans:
            scans[kind] = jax.jit(_on_mesh(scan, sharding) if sharding else scan, donate_argnums=0 if donate else ())
        return scans[kind]

    def clear_cache(self) -> None:
        self._scans.clear()

    def synchronize(self) -> None:
        import jax

        jax.effects_barrier()


def _on_mesh(scan: Any, sharding: Any) -> Any:
    """A scan that each device of a mesh does on its part of the batches."""
    import jax

    whole = jax.P()
    specs = whole, sharding.spec, whole
    return jax.shard_map(scan, mesh=sharding.mesh, in_specs=specs, out_specs=(whole, whole), check_vma=False)


def _name_of(device: Any) -> str:
    return f"{device.platform}:{device.id}"
