"""PyTorch's arrays, without its autograd."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from anynet.backends.base import Array, Backend
from anynet.errors import BackendError


class TorchBackend(Backend):
    """PyTorch through array-api-compat, on the CPU or any device PyTorch knows, as in ``torch:cuda:0``."""

    name = "torch"
    package = "torch"
    install = "pip install torch"

    @staticmethod
    def load() -> Any:
        import array_api_compat.torch

        return array_api_compat.torch

    def find_device(self, device: str | None) -> Any:
        import torch

        found = torch.device(device or "cpu")
        if found.type == "meta":
            raise BackendError("backend 'torch' cannot use device 'meta', which holds no numbers")
        torch.empty(0, device=found)
        return found

    def devices(self) -> list[str]:
        import torch

        cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
        return ["cpu", *cuda]

    def scope(self) -> AbstractContextManager[Any]:
        import torch

        scope: AbstractContextManager[Any] = torch.no_grad()
        return scope

    def asarray(self, x: Any, copy: bool | None = None) -> Array:
        import numpy

        # PyTorch refuses negative strides, and warns of memory that it may not write even where it only reads.
        return super().asarray(numpy.require(x, requirements=["C", "W"]), copy)

    def resident_bytes(self) -> float:
        import torch

        return torch.cuda.mem_get_info(self.device)[0] / 2 if self.device.type == "cuda" else super().resident_bytes()

    def synchronize(self) -> None:
        import torch

        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
