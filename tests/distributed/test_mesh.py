"""Devices of a JAX mesh train as one process does: the same numbers, and all of them the same bytes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed.ranked import Case, each

from anynet import Model, nn
from anynet.distributed import run_threads
from anynet.errors import UsageError

pytestmark = pytest.mark.needs("jax")

PARTS = nn.Linear(2), nn.MSELoss(), nn.SGD(0.1)


def started(module: str, devices: int, *arguments: str) -> subprocess.Popen[str]:
    """A process with so many virtual devices: JAX asks for their number once, so each number needs its own."""
    # Compiling takes most of the time: these make it a third, of code that is slower where networks are large.
    quick = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
    flags = f"--xla_force_host_platform_device_count={devices} {quick}"
    paths = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", f"distributed.{module}", *arguments],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        text=True,
    )


def printed(process: subprocess.Popen[str]) -> Any:
    out, _ = process.communicate()
    assert process.returncode == 0
    return json.loads(out.splitlines()[-1])


@pytest.fixture(scope="module")
def meshes() -> Mapping[int, Any]:
    """What `on_mesh` prints for each number of devices."""
    processes = {devices: started("on_mesh", devices, str(devices)) for devices in (2, 4)}
    return {devices: printed(process) for devices, process in processes.items()}


@pytest.mark.parametrize("devices", [2, 4])
@pytest.mark.parametrize("case", list(each()), ids=lambda case: case.name)
def test_devices_together_come_to_the_numbers_of_one_process(
    case: Case, devices: int, meshes: Mapping[int, Any]
) -> None:
    found = meshes[devices]["cases"][case.name]
    assert found["parameters"] < case.tolerance
    assert found["measures"] < 1e-9
    assert (found["devices"], found["copies"], found["read_elsewhere"]) == ([devices], [1], True)


@pytest.mark.parametrize("devices", [2, 4])
def test_devices_get_their_parts_of_rows_on_disk(devices: int, meshes: Mapping[int, Any]) -> None:
    assert meshes[devices]["streamed"]


@pytest.mark.parametrize("devices", [2, 4])
def test_what_a_mesh_cannot_do_is_refused(devices: int, meshes: Mapping[int, Any]) -> None:
    odd_batch, without_the_first = meshes[devices]["refusals"]
    assert odd_batch.startswith(f"a batch of 17 rows cannot be divided equally among {devices} devices: ")
    assert without_the_first.startswith("the mesh lacks cpu:0, on which ")
    assert without_the_first.endswith(": give backend='jax:cpu:1', which it has")


def test_processes_train_together_and_the_first_writes_checkpoints_from_which_all_resume(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    processes = [started("in_processes", 2, str(rank), port, str(tmp_path)) for rank in range(2)]
    first, second = map(printed, processes)
    assert (first["ranks"], second["ranks"]) == ([0, 2, 4], [1, 2, 4])
    assert [folder.name for folder in tmp_path.iterdir()] == ["0"]
    assert len(first["resumed"]) > 2
    assert max(first["difference"], *first["resumed"]) < 1e-12
    assert "equally many of each" in first["refusals"][0]
    assert ("no device of process 1" in second["refusals"][1], first["refusals"][1]) == (True, "")
    for name in ("difference", "losses", "outputs", "resumed"):
        assert first[name] == second[name]


def one_device(*axes: str) -> Any:
    import jax

    return jax.make_mesh((1,) * len(axes), axes)


def test_a_mesh_of_one_device_changes_nothing() -> None:
    x = np.random.default_rng(0).normal(size=(40, 4))
    models = [Model(*PARTS, backend="jax", comm=comm) for comm in (None, one_device("rows"))]
    for model in models:
        model.fit(x, x[:, :2], epochs=2)
    alone, on_mesh = ({name: array.tobytes() for name, array in model.parameters.items()} for model in models)
    assert on_mesh == alone


def test_a_mesh_is_for_jax_alone_and_jax_takes_nothing_else() -> None:
    with pytest.raises(UsageError, match="a mesh of JAX's devices is for backend 'jax', but the backend is 'numpy'"):
        Model(*PARTS, backend="numpy", comm=one_device("rows"))
    with pytest.raises(UsageError, match=r"one axis, such as .*, but the axes of this one are: 'rows', 'columns'"):
        Model(*PARTS, backend="jax", comm=one_device("rows", "columns"))
    with pytest.raises(UsageError, match=r"give comm=jax.make_mesh.* after jax.distributed.initialize\(\)"):
        run_threads(2, lambda comm: Model(*PARTS, backend="jax", comm=comm))
    model = Model(*PARTS, backend="jax")
    with pytest.raises(UsageError, match=r"give comm=jax.make_mesh"):
        run_threads(2, lambda comm: setattr(model, "comm", comm))
