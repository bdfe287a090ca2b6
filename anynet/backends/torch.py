"""PyTorch's arrays, without its autograd."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

from anynet.backends.base import Array, Backend, Step
from anynet.distributed import Communicator
from anynet.errors import BackendError
from anynet.tracing.trees import leaves

# With fewer multiplications in a step, PyTorch's threads gain nothing. If other programs use the same cores, they even
# lose nearly all of their speed, because they wait for each other in a busy loop.
FEW_MULTIPLICATIONS = 25_000_000


class TorchBackend(Backend):
    """PyTorch through array-api-compat, on the CPU or any device PyTorch knows, as in ``torch:cuda:0``.

    Small steps use one thread. Large ones use PyTorch's threads, which wait in a busy loop: on a machine that has other
    work to do, set ``OMP_WAIT_POLICY=passive`` in the environment before PyTorch is imported.
    """

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

    @staticmethod
    def asnumpy(x: Array) -> Any:
        x = x.detach().cpu()
        # NumPy has no bfloat16.
        return (x.float() if str(x.dtype) == "torch.bfloat16" else x).numpy()

    @classmethod
    def device_of(cls, x: Any) -> str | None:
        from array_api_compat import is_torch_array

        return str(x.device) if is_torch_array(x) else None

    def scope(self) -> AbstractContextManager[Any]:
        import torch

        scope: AbstractContextManager[Any] = torch.no_grad()
        return scope

    def asarray(self, x: Any, copy: bool | None = None) -> Array:
        import numpy

        # PyTorch refuses negative strides, and warns of read-only memory even if it only reads it.
        return super().asarray(numpy.require(x, requirements=["C", "W"]), copy)

    def resident_bytes(self) -> float:
        import torch

        return torch.cuda.mem_get_info(self.device)[0] / 2 if self.device.type == "cuda" else super().resident_bytes()

    def run(
        self,
        step: Step,
        state: Any,
        batches: tuple[Array, ...],
        data: tuple[Array, ...] = (),
        *,
        donate: bool = True,
    ) -> tuple[Any, dict[str, Array]]:
        # The largest block holds the parameters. Each is multiplied once per row in forward, and twice in backward.
        numbers = max((math.prod(leaf.shape) for leaf in leaves(state)), default=0)
        few = 3 * math.prod(batches[0].shape[1:2]) * numbers < FEW_MULTIPLICATIONS
        with _one_thread() if few else nullcontext():
            return super().run(step, state, batches, data, donate=donate)

    def all_reduce(self, comm: Communicator, x: Array, out: Array) -> Array:
        if self.device.type != "cpu":
            return super().all_reduce(comm, x, out)
        comm.total(x.numpy(), out.numpy())
        return out

    def synchronize(self) -> None:
        import torch

        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@contextmanager
def _one_thread() -> Iterator[None]:
    """A context in which this thread computes on one core; OpenMP keeps the setting for each thread separately."""
    import torch

    # PyTorch sets the number itself at the first such call of a thread, so that call must come before ours.
    torch.get_num_threads()
    before = [library.num_threads for library in _openmp()]
    for library in _openmp():
        library.set_num_threads(1)
    try:
        yield
    finally:
        for library, threads in zip(_openmp(), before, strict=True):
            library.set_num_threads(threads)


@cache
def _openmp() -> list[Any]:
    """The loaded OpenMP libraries. PyTorch is imported before the first call, so its own is among them."""
    from threadpoolctl import ThreadpoolController

    return list(ThreadpoolController().select(user_api="openmp").lib_controllers)
