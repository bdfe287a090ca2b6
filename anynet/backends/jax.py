"""JAX: the whole run compiled by XLA."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

from anynet.backends.base import Array, Backend, Step
from anynet.errors import BackendError


class JAXBackend(Backend):
    """`run` is a compiled ``lax.scan`` that reuses the memory of the state it is given.

    Each parameter stays a block of its own: packed into one vector, XLA's CPU compiler fuses the products of
    small layers into the concatenation, and they run tens of times slower. float64 is switched on for this
    backend's own calls only, so that a program's other uses of JAX keep their default.
    """

    name = "jax"
    package = "jax"
    install = "pip install jax"
    pack_limit = 0

    @staticmethod
    def load() -> Any:
        import jax.numpy

        return jax.numpy

    def find_device(self, device: str | None) -> Any:
        import jax

        if device is None:
            return jax.devices()[0]
        platform, _, index = device.partition(":")
        try:
            return jax.devices(platform)[int(index or 0)]
        except (RuntimeError, ValueError, IndexError):
            raise BackendError(
                f"backend 'jax' has no device {device!r} here (usable: {', '.join(self.devices())})"
            ) from None

    def devices(self) -> list[str]:
        import jax

        return [f"{d.platform}:{d.id}" for d in jax.devices()]

    def scope(self) -> AbstractContextManager[Any]:
        import jax

        return jax.enable_x64(True) if self.dtype_name == "float64" else nullcontext()

    def run(self, step: Step, state: Any, batches: tuple[Array, ...]) -> tuple[Any, dict[str, Array]]:
        with self.scope():
            result: tuple[Any, dict[str, Array]] = _compiled_scan()(step, state, batches)
        return result

    def synchronize(self) -> None:
        import jax

        jax.effects_barrier()


@cache
def _compiled_scan() -> Any:
    import jax

    def scan(step: Step, state: Any, batches: tuple[Array, ...]) -> Any:
        return jax.lax.scan(step, state, batches)

    return jax.jit(scan, static_argnums=0, donate_argnums=1)
