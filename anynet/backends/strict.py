"""array-api-strict: what the standard promises and nothing more, for tests of portability."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from anynet.backends.base import Array, Backend
from anynet.errors import BackendError, unknown


class StrictBackend(Backend):
    """Runs on NumPy underneath, but refuses whatever another array library might not do.

    It lives on its pretended second device unless told otherwise, where mixing devices or reading an array as
    NumPy's is an error, as it is on a GPU.
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
        """inf, nan and 0 are values here as in every other library."""
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
