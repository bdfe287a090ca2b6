"""JAX: the whole run compiled by XLA."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from weakref import WeakKeyDictionary, ref

from anynet.backends.base import Array, Backend, Step, as_float


class JAXBackend(Backend):
    """`run` is a compiled ``lax.scan`` that reuses the memory of the state it is given.

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
        self._scans: WeakKeyDictionary[Step, dict[bool, Any]] = WeakKeyDictionary()

    @staticmethod
    def load() -> Any:
        import jax.numpy

        return jax.numpy

    def find_device(self, device: str | None) -> Any:
        import jax

        if device is None:
            return jax.devices()[0]
        platform, _, index = device.partition(":")
        return jax.devices(platform)[int(index or 0)]

    def devices(self) -> list[str]:
        import jax

        return [f"{d.platform}:{d.id}" for d in jax.devices()]

    @classmethod
    def device_of(cls, x: Any) -> str | None:
        from array_api_compat import is_jax_array

        if not is_jax_array(x):
            return None
        device = next(iter(x.devices()))
        return f"{device.platform}:{device.id}"

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

    def resident_bytes(self) -> float:
        return 1 << 30

    def run(
        self,
        step: Step,
        state: Any,
        batches: tuple[Array, ...],
        data: tuple[Array, ...] = (),
        *,
        donate: bool = True,
    ) -> tuple[Any, dict[str, Array]]:
        with self.scope():
            result: tuple[Any, dict[str, Array]] = self._compiled(step, donate)(state, batches, data)
        return result

    def _compiled(self, step: Step, donate: bool) -> Any:
        """The scan of a step. The cache is here, not in JAX's global one, so the scan is freed with step or backend."""
        import jax

        weakly = ref(step)

        def scan(state: Any, batches: tuple[Array, ...], data: tuple[Array, ...]) -> Any:
            step = weakly()
            assert step
            return jax.lax.scan(lambda state, batch: step(self.xp, state, self.take_rows(batch, data)), state, batches)

        scans = self._scans.setdefault(step, {})
        if donate not in scans:
            scans[donate] = jax.jit(scan, donate_argnums=0 if donate else ())
        return scans[donate]

    def clear_cache(self) -> None:
        self._scans.clear()

    def synchronize(self) -> None:
        import jax

        jax.effects_barrier()
