"""array-api-strict: the Array API standard and nothing more, for tests of portability."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from anynet.backends.base import Array, Backend
from anynet.errors import BackendError, unknown


class StrictBackend(Backend):
    """Computes with NumPy, but refuses everything that another array library might not do.

    The default device is ``device1``, a simulated one. There, as on a GPU, it is an error to mix devices or to read an
    array as a NumPy array.
    """

    name = "strict"
    package = "array-api-strict"
    install = "pip install array-api-strict"

    @staticmethod
    def load() -> Any:
        import array_api_strict

        return array_api_strict

    def devices(self) -> list[str]:
        return ["device1", "device2", "cpu"]

    def find_device(self, device: str | None) -> Any:
        device = device or "device1"
        if device not in self.devices():
            raise BackendError(unknown("device of strict", device, self.devices()))
        return self.xp.Device("CPU_DEVICE" if device == "cpu" else device)

    def scope(self) -> AbstractContextManager[Any]:
        """Overflow, nan and division by 0 give no warnings, as in every other library."""
        import numpy

        scope: AbstractContextManager[Any] = numpy.errstate(all="ignore")
        return scope

    @staticmethod
    def asnumpy(x: Array) -> Any:
        import array_api_strict
        import numpy

        return numpy.asarray(x.to_device(array_api_strict.Device("CPU_DEVICE")))

    @classmethod
    def device_of(cls, x: Any) -> str | None:
        if not type(x).__module__.startswith("array_api_strict"):
            return None
        name = str(x.device).partition("'")[2].partition("'")[0]
        return "cpu" if name == "CPU_DEVICE" else name
