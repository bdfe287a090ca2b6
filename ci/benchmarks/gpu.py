"""Everything that only a CUDA GPU can tell: the tests on CuPy, parity with NumPy, repeatability, speed and memory."""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import report
from gpu_contenders import GPU_CONTENDERS
from turns import Result, train_in_turns
from workloads import ON_GPU, Data, Workload

import anynet
from anynet.backends.cupy.cublas import WORKSPACE_BYTES
from anynet.backends.cupy.fusion import Kernel
from anynet.tracing import Value
from anynet.tracing.program import VIEWS

ROOT = Path(__file__).parents[2]
OURS = "anynet-cupy"


@dataclass(frozen=True)
class Scale:
    """How much each part works on."""

    workloads: tuple[Workload, ...]
    rows: int | None
    epochs: int
    models: int
    widths: tuple[int, ...] = (128, 4096)
    tests: tuple[str, ...] = ()


WHOLE = Scale(ON_GPU, rows=None, epochs=97, models=200)


def main() -> int:
    arguments = _arguments()
    scale = _small() if arguments.pretend else WHOLE
    try:
        import cupy
    except ImportError:
        print(
            "ci/gpu: CuPy is not installed; CUDA=13 ci/gpu installs it, or CUDA=12 for an older driver", file=sys.stderr
        )
        return 2
    if not cupy.cuda.is_available():
        print(
            "ci/gpu: CuPy is installed, but finds no usable CUDA GPU; `nvidia-smi` tells of the driver", file=sys.stderr
        )
        return 2
    pretended = "retended" in cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    if pretended != arguments.pretend:
        print("ci/gpu: --pretend goes with the pretended GPU, and only with that", file=sys.stderr)
        return 2
    found: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "machine": machine(cupy), "pretended": pretended}
    passed = {}
    for name, check in CHECKS.items():
        if name in arguments.parts:
            print(f"ci/gpu: {name}", file=sys.stderr)
            passed[name], found[name] = _checked(check, scale)
    results = speed(scale, arguments.turns) if "speed" in arguments.parts else []
    found |= {"speed": [dataclasses.asdict(result) for result in results], "passed": passed}
    kept_in = ROOT / ("runs" if pretended else "ci/results")
    out = arguments.out or kept_in / f"{found['date']}-{found['machine']['gpu'].lower().replace(' ', '-')}"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    text = markdown(found, results, scale)
    out.with_suffix(".md").write_text(text)
    print(text)
    return int(not (all(passed.values()) and all(OURS in result.seconds for result in results)))


def _checked(check: Callable[[Scale], tuple[bool, Any]], scale: Scale) -> tuple[bool, Any]:
    """A check that cannot be made has failed, and the others are made."""
    try:
        return check(scale)
    except Exception as error:
        traceback.print_exc()
        return False, f"{type(error).__name__}: {error}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ci/gpu", description=__doc__)
    parts = (*CHECKS, "speed")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts, help="(default all)")
    parser.add_argument("--turns", type=int, default=5, help="turns of each contender (default %(default)s)")
    parser.add_argument("--pretend", action="store_true", help="smaller, on the pretended GPU")
    parser.add_argument(
        "--out",
        type=Path,
        help="where to write, without suffix (default DATE-GPU in ci/results, or in runs where pretended)",
    )
    return parser.parse_args()


def _small() -> Scale:
    """So little that a pretended GPU is done in minutes."""
    workloads = tuple(
        dataclasses.replace(
            workload,
            name=f"{workload.name}, shrunk",
            sizes=(workload.sizes[0], *(min(size, 128) for size in workload.sizes[1:])),
            batch_size=64,
            rows=4 * 64,
        )
        for workload in (ON_GPU[0], ON_GPU[3], ON_GPU[-1])
    )
    tests = "-k", "cupy", "tests/nn/test_layers.py", "tests/nn/test_containers.py", "tests/nn/test_losses.py"
    return Scale(workloads, rows=2000, epochs=5, models=5, widths=(128,), tests=tests)


def machine(cupy: Any) -> dict[str, Any]:
    """The machine, and its GPU, driver and CUDA."""
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    return {
        **report.machine(),
        "gpu": properties["name"].decode(),
        "driver": cupy.cuda.runtime.driverGetVersion(),
        "cuda": cupy.cuda.runtime.runtimeGetVersion(),
        "cupy": cupy.__version__,
    }


def tests(scale: Scale) -> tuple[bool, str]:
    """The whole suite; pytest fails where CuPy cannot be tested, and here where no test was of CuPy."""
    command = [sys.executable, "-m", "pytest", "-q", "--require-backends", "numpy,strict,cupy", "-rA", "--tb=short"]
    command += scale.tests
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    of_cupy = sum(line.startswith("PASSED") and "cupy" in line for line in lines)
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    summary = f"{of_cupy} tests of CuPy passed; {lines[-1] if lines else done.stderr.strip()}"
    return bool(of_cupy) and done.returncode == 0, "\n".join([summary, *failed])


def parity(scale: Scale) -> tuple[bool, str]:
    command = [sys.executable, "-c", "import sys; from anynet.cli import main; sys.exit(main())"]
    command += ["parity", "--backends", "numpy,cupy"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = (done.stderr + done.stdout).strip().splitlines()
    return done.returncode == 0, "\n".join([*lines[-1:], "", *lines])


def curves(scale: Scale) -> tuple[bool, dict[str, float]]:
    """The largest relative difference from NumPy over 200 steps, captured ones among them."""
    differences = {}
    for dtype in ("float64", "float32"):
        losses, weights = zip(*(_two_hundred_steps(backend, dtype) for backend in ("numpy", "cupy")), strict=True)
        differences[f"{dtype} losses"] = _difference(*losses)
        differences[f"{dtype} weights"] = _difference(*weights)
    passed = all(value <= (1e-9 if "64" in name else 1e-4) for name, value in differences.items())
    return passed, differences


def repeated(scale: Scale) -> tuple[bool, str]:
    """Whether two runs give the same bytes."""
    first, second = (_two_hundred_steps("cupy", "float32")[1].tobytes() for _ in range(2))
    return first == second, "identical bytes" if first == second else "other bytes"


def accuracy(scale: Scale) -> tuple[bool, dict[str, float]]:
    """Accuracy on the test images after five epochs, on NumPy and on CuPy."""
    digits = anynet.datasets.mnist()
    reached = {}
    for backend in ("numpy", "cupy"):
        model = scale.workloads[0].model(backend)
        model.fit(digits.x[: scale.rows], digits.y[: scale.rows], epochs=5, batch_size=64)
        reached[backend] = model.evaluate(digits.x_test, digits.y_test)["accuracy"]
    return abs(reached["numpy"] - reached["cupy"]) <= 0.002, reached


def memory(scale: Scale) -> tuple[bool, dict[str, float]]:
    """Device memory of training, against data, parameters, gradients, activations and workspace; and its growth.

    That of one model over its epochs, and that which is left after many small ones.
    """
    import cupy

    workload = scale.workloads[-1]
    data = Data(workload)
    free = cupy.cuda.Device().mem_info[0]
    model = workload.model("cupy")
    used = []
    for epochs in (3, scale.epochs):
        model.fit(data.x, data.y, batch_size=workload.batch_size, epochs=epochs)
        used.append(free - cupy.cuda.Device().mem_info[0])
    parameters = sum(array.nbytes for array in model.parameters.values())
    activations = 4 * workload.batch_size * sum(2 * size for size in workload.sizes)
    needed = data.x.nbytes + 8 * len(data.y) + 2 * parameters + activations + WORKSPACE_BYTES
    left = _left_by(scale.models)
    passed = used[-1] <= 1.3 * needed and used[-1] == used[0] and not left
    return passed, {"needed": needed, "used": used[0], "later": used[-1], f"left by {scale.models} models": left}


def _left_by(models: int) -> int:
    import cupy

    def used() -> int:
        gc.collect()
        cupy.get_default_memory_pool().free_all_blocks()
        return -int(cupy.cuda.Device().mem_info[0])

    _two_hundred_steps("cupy", "float32")
    before = used()
    for _ in range(models):
        _two_hundred_steps("cupy", "float32")
    return used() - before


def nodes(scale: Scale) -> tuple[bool, dict[str, Any]]:
    """What a GPU is given to do in a step: nodes of the graph, and bytes that they move beside the products.

    Each is told as it is, and as it would be if every operation were done by itself.
    """
    nn = anynet.nn
    between = {
        "SGD": ((nn.ReLU(),), nn.SGD(0.1)),
        "momentum": ((nn.ReLU(),), nn.SGD(0.1, momentum=0.9)),
        "Adam": ((nn.ReLU(),), nn.Adam()),
        "dropout, momentum": ((nn.ReLU(), nn.Dropout(0.2)), nn.SGD(0.1, momentum=0.9)),
        "BatchNorm": ((nn.BatchNorm(), nn.ReLU()), nn.SGD(0.1)),
        "LayerNorm, Adam, decay": ((nn.LayerNorm(), nn.ReLU()), nn.Adam(weight_decay=0.01)),
    }
    counts = {
        f"{name}, {width} wide": _work_of_a_step(width, layers, optimizer)
        for name, (layers, optimizer) in between.items()
        for width in scale.widths
    }
    return all(found["nodes"] for found in counts.values()), counts


def _work_of_a_step(width: int, between: tuple[Any, ...], optimizer: Any) -> dict[str, float]:
    nn = anynet.nn
    layers = nn.Linear(width), *between, nn.Linear(width if width > 128 else 64), *between, nn.Linear(10)
    network = nn.Sequential(nn.Rescale(1 / 255), *layers)
    model = anynet.Model(network, nn.CrossEntropyLoss(), optimizer, backend="cupy")
    model.fit(np.zeros((256, 784), np.uint8), np.arange(256) % 10, batch_size=128, epochs=3)
    (known,) = model.backend._known.values()
    (graph,) = known.graphs.values()
    plan = graph._kept.plan
    return {
        "nodes": len(re.findall(r'node_\d+"?\s*\[', graph._graph.debug_dot_str())) / 2,
        "one by one": sum(map(_is_work, plan.program.values)),
        "MB": round(sum(node.bytes for node in plan.nodes if isinstance(node, Kernel)) / 1e6, 2),
        "MB one by one": round(sum(map(_bytes, filter(_is_work, plan.program.values))) / 1e6, 2),
    }


def _is_work(x: Value) -> bool:
    return x.op not in (*VIEWS, "input", "captured", "constant", "arange")


def _bytes(x: Value) -> int:
    return 0 if x.op == "matmul" else sum(y.size * y.dtype.itemsize for y in (x, *x.inputs))


CHECKS: dict[str, Callable[[Scale], tuple[bool, Any]]] = {
    check.__name__: check for check in (tests, parity, curves, repeated, accuracy, memory, nodes)
}


def speed(scale: Scale, turns: int) -> list[Result]:
    results = []
    for workload in scale.workloads:
        print(f"ci/gpu: speed, {workload.name}", file=sys.stderr)
        results.append(train_in_turns(workload, list(GPU_CONTENDERS), turns, OURS))
    return results


def markdown(found: dict[str, Any], results: list[Result], scale: Scale) -> str:
    """The result as a page: what passed, how fast each contender is, and why others are not there."""
    where = found["machine"]
    lines = [
        f"# {where['gpu']}, {found['date']}",
        "",
        f"CuPy {where['cupy']}, CUDA {where['cuda']}, driver {where['driver']}",
    ]
    lines += ["", "On a pretended GPU: what passes is right, and speeds mean nothing."] if found["pretended"] else []
    lines += ["", "| check | | |", "|---|---|---|"]
    for name, passed in found["passed"].items():
        shown = str(found[name]).splitlines()[0] if isinstance(found[name], str) else json.dumps(found[name])
        lines.append(f"| {name} | {'passed' if passed else 'FAILED'} | {shown[:200]} |")
    if results:
        lines += [
            "",
            "How many times as fast as anynet-cupy each trains:",
            "",
            report.table(results, list(GPU_CONTENDERS)),
        ]
        steps = {r.workload: np.ceil(w.rows / w.batch_size) for r, w in zip(results, scale.workloads, strict=True)}
        per_step = {
            r.workload: 1e6 * np.median(r.seconds[OURS]) / steps[r.workload] for r in results if OURS in r.seconds
        }
        lines += ["", "Microseconds a step: " + ", ".join(f"{name} {time:.1f}" for name, time in per_step.items())]
        absent: dict[str, list[str]] = {}
        for result in results:
            for name, reason in result.absent.items():
                absent.setdefault(f"{name}: {reason}", []).append(result.workload)
        lines += ["", "Absent:", ""] if absent else []
        lines += [f"- {reason} ({'; '.join(names)})" for reason, names in absent.items()]
    return "\n".join(lines) + "\n"


def _two_hundred_steps(backend: str, dtype: str) -> tuple[Any, Any]:
    x = np.random.default_rng(0).normal(size=(640, 20))
    y = (np.abs(x).sum(axis=1) > 15).astype(np.int64)
    nn = anynet.nn
    network = nn.Sequential(nn.Linear(64), nn.Tanh(), nn.Linear(2))
    model = anynet.Model(network, nn.CrossEntropyLoss(), nn.SGD(0.1, momentum=0.9), backend=backend, dtype=dtype)
    losses = [record["loss"] for record in model.fit(x, y, batch_size=32, epochs=10)]
    return np.asarray(losses), np.concatenate([array.ravel() for array in model.parameters.values()])


def _difference(expected: Any, actual: Any) -> float:
    return float(np.abs(expected - actual).max() / max(1.0, np.abs(expected).max()))


if __name__ == "__main__":
    sys.exit(main())
