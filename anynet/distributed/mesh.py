"""A mesh of JAX's devices, which belong to one process or to several."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import numpy as np

from anynet.distributed.communicator import Communicator
from anynet.errors import UsageError


class MeshCommunicator(Communicator):
    """The devices of a mesh, each of which computes its part of every batch; the ranks are their processes.

    Parameters
    ----------
    mesh : jax.sharding.Mesh
        Of one axis, with as many devices of one process as of another.

    Attributes
    ----------
    mesh : jax.sharding.Mesh
    axis : str
        The name of its axis.

    Raises
    ------
    UsageError
        When the mesh has several axes, or its devices are not divided equally among processes, of which this is one.
    """

    def __init__(self, mesh: Any) -> None:
        import jax

        if len(mesh.axis_names) != 1:
            names = ", ".join(map(repr, mesh.axis_names)) or "none"
            raise UsageError(
                f"comm must be a mesh of one axis, such as {EXAMPLE}, but the axes of this one are: {names}"
            )
        processes = [device.process_index for device in mesh.devices]
        here, counts = jax.process_index(), Counter(processes)
        if here not in counts:
            raise UsageError(
                f"the mesh has no device of process {here}: make it of devices of all processes that train"
            )
        if len(set(counts.values())) > 1:
            few, many = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
            raise UsageError(
                f"the mesh has {counts[few]} devices of process {few} and {counts[many]} of process {many}: "
                "give it equally many of each"
            )
        # jax.make_mesh gives its axis a type with which JAX wants to know of each operation how to divide the result.
        self.mesh = jax.sharding.Mesh(mesh.devices, mesh.axis_names)
        self.axis = mesh.axis_names[0]
        self.rank, self.ranks = sorted(counts).index(here), len(counts)
        self._own_devices = [i for i, process in enumerate(processes) if process == here]

    @property
    def devices(self) -> int:
        return int(self.mesh.size)

    @property
    def own_devices(self) -> list[int]:
        return self._own_devices

    def total(self, x: Any, out: Any) -> Any:
        if self.ranks == 1:
            return super().total(x, out)
        import jax

        # One device of each process gives x, the others zeros.
        mine = np.zeros((len(self.own_devices), *x.shape), x.dtype)
        mine[0] = x
        with jax.enable_x64(True):
            (total,) = np.asarray(_sum_over(self.mesh)(spread(mine, self.mesh, axis=0)))
        out[...] = total
        return out

    def any(self, number: int) -> int:
        numbers = np.zeros(self.ranks, np.int64)
        numbers[self.rank] = number
        return int(self.total(numbers, numbers).max())


EXAMPLE = "jax.make_mesh((jax.device_count(),), ('rows',))"


def spread(x: Any, mesh: Any, axis: int | None = None) -> Any:
    """An array over the devices of a mesh, made of what each process has of it.

    Parameters
    ----------
    x : array of NumPy, or of JAX on a device of this process
        The whole array, or with an `axis` this process's part of it.
    mesh : jax.sharding.Mesh
    axis : int, optional
        The axis of the array that is divided among the devices; if left out, each has the whole.
    """
    import jax

    spec = jax.P() if axis is None else jax.P(*[None] * axis, *mesh.axis_names)
    sharding = jax.NamedSharding(mesh, spec)
    if getattr(x, "sharding", None) == sharding:
        return x
    own = _own_devices(mesh)
    # jax.device_put on devices of several processes would ask all of them whether they give the same.
    here = jax.device_put(x, jax.NamedSharding(own, spec))
    shape = list(x.shape)
    if axis is not None:
        shape[axis] *= mesh.size // own.size
    parts = [shard.data for shard in here.addressable_shards]
    return jax.make_array_from_single_device_arrays(tuple(shape), sharding, parts)


@cache
def _own_devices(mesh: Any) -> Any:
    """The devices of a mesh that belong to this process, as a mesh."""
    import jax

    own = [device for device in mesh.devices if device.process_index == jax.process_index()]
    return jax.sharding.Mesh(np.asarray(own), mesh.axis_names)


@cache
def _sum_over(mesh: Any) -> Any:
    import jax

    (axis,) = mesh.axis_names
    return jax.jit(jax.shard_map(lambda x: jax.lax.psum(x, axis), mesh=mesh, in_specs=jax.P(axis), out_specs=jax.P()))
