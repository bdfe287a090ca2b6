"""CuPy: a CUDA GPU."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from anynet.backends.base import Backend
from anynet.errors import BackendError


class CuPyBackend(Backend):
    """CuPy through array-api-compat, on one CUDA device: ``cupy:1`` is the second."""

    name = "cupy"
    package = "cupy"
    install = 'pip install "cupy-cuda13x[ctk]", or "cupy-cuda12x[ctk]" for a driver of CUDA 12'

    @staticmethod
    def load() -> Any:
        import array_api_compat.cupy

        return array_api_compat.cupy

    @classmethod
    def library_version(cls) -> str:
        try:
            import cupy
        except ImportError:
            return ""
        return str(cupy.__version__)

    def find_device(self, device: str | None) -> Any:
        import cupy

        if not cupy.cuda.is_available():
            raise BackendError(
                "backend 'cupy' cannot be used here: CuPy is installed, but finds no usable CUDA GPU",
                "`nvidia-smi` tells whether the driver sees one",
            )
        if device is not None and device not in self.devices():
            raise BackendError(f"backend 'cupy' has no device {device!r} here (usable: {', '.join(self.devices())})")
        return cupy.cuda.Device(int(device or 0))

    def devices(self) -> list[str]:
        import cupy

        return [str(i) for i in range(cupy.cuda.runtime.getDeviceCount())]

    def scope(self) -> AbstractContextManager[Any]:
        device: AbstractContextManager[Any] = self.device
        return device

    def resident_bytes(self) -> float:
        free, _ = self.device.mem_info
        return float(free) / 2

    def synchronize(self) -> None:
        self.device.synchronize()
