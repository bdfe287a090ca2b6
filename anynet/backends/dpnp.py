"""dpnp: Intel's GPUs and CPUs, through SYCL."""

from __future__ import annotations

from typing import Any

from anynet.backends.base import Array, Backend


class DpnpBackend(Backend):
    """Intel's NumPy for SYCL devices, with SYCL's names for them: ``dpnp:gpu``, ``dpnp:cpu``, ``dpnp:gpu:1``.

    The wheels contain a CPU device. It is found if ``OCL_ICD_FILENAMES`` names its library, ``libintelocl.so``.
    """

    name = "dpnp"
    package = "dpnp"
    install = "pip install dpnp"

    @staticmethod
    def load() -> Any:
        import dpnp

        return dpnp

    def find_device(self, device: str | None) -> Any:
        import dpnp

        return dpnp.empty(0, device=device).device

    def devices(self) -> list[str]:
        import dpctl

        kinds = [device.device_type.name for device in dpctl.get_devices()]
        return [f"{kind}:{kinds[:i].count(kind)}" for i, kind in enumerate(kinds)]

    @staticmethod
    def asnumpy(x: Array) -> Any:
        import dpnp

        return dpnp.asnumpy(x)

    @classmethod
    def device_of(cls, x: Any) -> str | None:
        if type(x).__module__.partition(".")[0] != "dpnp":
            return None
        return str(x.sycl_device.filter_string)
