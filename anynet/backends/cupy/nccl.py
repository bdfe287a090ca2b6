"""Sums over ranks by NCCL, which a CUDA graph can hold."""

from __future__ import annotations

import atexit
import ctypes
import platform
import warnings
from typing import Any
from weakref import WeakKeyDictionary

from anynet.backends.base import Array
from anynet.distributed import Communicator
from anynet.errors import warn

# The NCCL communicator of each device; None where NCCL cannot sum.
_links: WeakKeyDictionary[Communicator, dict[int, Any]] = WeakKeyDictionary()


def link_of(comm: Communicator) -> Any:
    """NCCL's communicator of these ranks, each with its current device; None where NCCL cannot sum over them.

    Collective the first time, so that time must be outside a capture.
    """
    import cupy

    links = _links.setdefault(comm, {})
    device = cupy.cuda.Device().id
    if device not in links:
        links[device] = _linked(comm)
    return links[device]


def all_reduce(link: Any, x: Array, out: Array) -> None:
    """Let the current stream write the sum over all ranks of a contiguous array to `out`."""
    import cupy
    from cupy.cuda import nccl

    stream = cupy.cuda.get_current_stream().ptr
    number = getattr(nccl, f"NCCL_{x.dtype.name.upper()}")
    link.allReduce(x.data.ptr, out.data.ptr, x.size, number, nccl.NCCL_SUM, stream)


def _linked(comm: Communicator) -> Any:
    if reason := _reason_against(comm):
        if comm.rank == 0:
            warn(f"ranks sum through the host, which is slower: {reason}")
        return None
    from cupy.cuda import nccl

    with comm.together():
        mine = nccl.get_unique_id() if comm.rank == 0 else None
    unique_id, *_ = comm.gather(mine)
    with comm.together():
        return nccl.NcclCommunicator(comm.ranks, unique_id, comm.rank)


def _reason_against(comm: Communicator) -> str:
    """Why NCCL cannot sum over these ranks, in words; empty where it can."""
    import cupy

    with warnings.catch_warnings():
        # We say ourselves what is missing.
        warnings.simplefilter("ignore")
        from cupy.cuda import nccl
    if comm.any(not nccl.available):
        cuda = cupy.cuda.runtime.runtimeGetVersion() // 1000
        return f"CuPy finds no NCCL; to install it: pip install nvidia-nccl-cu{cuda}"
    if len(set(comm.gather((platform.node(), cupy.cuda.Device().pci_bus_id)))) < comm.ranks:
        return "NCCL needs a GPU for each rank, and some share one"
    return ""


@atexit.register
def _leave_open() -> None:
    """Never close what is still open: NCCL would wait for graphs, and for ranks that may have failed."""
    for links in _links.values():
        for link in links.values():
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(link))
