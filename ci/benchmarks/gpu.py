"""Everything that only a CUDA GPU can tell: the tests on CuPy, parity with NumPy, repeatability, speed and memory."""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import report
from gpu_contenders import GPU_CONTENDERS
from turns import Result, train_in_turns
from workloads import ON_GPU, Data

import anynet

ROOT = Path(__file__).parents[2]
OURS = "anynet-cupy"


def main() -> int:
    arguments = _arguments()
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
    found: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "machine": machine(cupy)}
    passed = {}
    for name, check in CHECKS.items():
        if name in arguments.parts:
            print(f"ci/gpu: {name}", file=sys.stderr)
            passed[name], found[name] = check()
    results = speed(arguments.turns) if "speed" in arguments.parts else []
    found |= {"speed": [dataclasses.asdict(result) for result in results], "passed": passed}
    text = markdown(found, results)
    out = arguments.out or ROOT / "ci/results" / f"{found['date']}-{found['machine']['gpu'].lower().replace(' ', '-')}"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    out.with_suffix(".md").write_text(text)
    print(text)
    return int(not all(passed.values()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ci/gpu", description=__doc__)
    parts = (*CHECKS, "speed")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts, help="(default all)")
    parser.add_argument("--turns", type=int, default=5, help="turns of each contender (default %(default)s)")
    parser.add_argument("--out", type=Path, help="where to write, without suffix (default ci/results/DATE-GPU)")
    return parser.parse_args()


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


def tests() -> tuple[bool, str]:
    """The whole suite; pytest fails where CuPy cannot be tested, and here where no test was of CuPy."""
    command = [sys.executable, "-m", "pytest", "-q", "--require-backends", "numpy,strict,cupy", "-rA", "--tb=short"]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.splitlines()
    of_cupy = sum(line.startswith("PASSED") and "cupy" in line for line in lines)
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    summary = f"{of_cupy} tests of CuPy passed; {lines[-1] if lines else 'pytest printed nothing'}"
    return bool(of_cupy) and not failed, "\n".join([summary, *failed])


def parity() -> tuple[bool, str]:
    command = [sys.executable, "-c", "import sys; from anynet.cli import main; sys.exit(main())"]
    command += ["parity", "--backends", "numpy,cupy"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stdout + done.stderr


def curves() -> tuple[bool, dict[str, float]]:
    """The largest relative difference from NumPy over 200 steps, captured ones among them."""
    differences = {}
    for dtype in ("float64", "float32"):
        losses, weights = zip(*(_two_hundred_steps(backend, dtype) for backend in ("numpy", "cupy")), strict=True)
        differences[f"{dtype} losses"] = _difference(*losses)
        differences[f"{dtype} weights"] = _difference(*weights)
    passed = all(value <= (1e-9 if "64" in name else 1e-4) for name, value in differences.items())
    return passed, differences


def repeated() -> tuple[bool, str]:
    """Whether two runs give the same bytes."""
    first, second = (_two_hundred_steps("cupy", "float32")[1].tobytes() for _ in range(2))
    return first == second, "identical bytes" if first == second else "other bytes"


def accuracy() -> tuple[bool, dict[str, float]]:
    """Accuracy on the test images after five epochs, on NumPy and on CuPy."""
    digits = anynet.datasets.mnist()
    reached = {}
    for backend in ("numpy", "cupy"):
        model = ON_GPU[0].model(backend)
        model.fit(digits.x, digits.y, epochs=5, batch_size=64)
        reached[backend] = model.evaluate(digits.x_test, digits.y_test)["accuracy"]
    return abs(reached["numpy"] - reached["cupy"]) <= 0.002, reached


def memory() -> tuple[bool, dict[str, float]]:
    """Device memory of training, against data, parameters with their gradients, and activations; and its growth."""
    import cupy

    workload = ON_GPU[-1]
    data = Data(workload)
    free = cupy.cuda.Device().mem_info[0]
    model = workload.model("cupy")
    used = []
    for epochs in (3, 97):
        model.fit(data.x, data.y, batch_size=workload.batch_size, epochs=epochs)
        used.append(free - cupy.cuda.Device().mem_info[0])
    parameters = sum(array.nbytes for array in model.parameters.values())
    activations = 4 * workload.batch_size * sum(2 * size for size in workload.sizes)
    needed = data.x.nbytes + 8 * len(data.y) + 2 * parameters + activations
    return used[-1] <= 1.3 * needed and used[-1] == used[0], {"needed": needed, "used": used[0], "later": used[-1]}


CHECKS: dict[str, Callable[[], tuple[bool, Any]]] = {
    check.__name__: check for check in (tests, parity, curves, repeated, accuracy, memory)
}


def speed(turns: int) -> list[Result]:
    return [train_in_turns(workload, list(GPU_CONTENDERS), turns, OURS) for workload in ON_GPU]


def markdown(found: dict[str, Any], results: list[Result]) -> str:
    """The result as a page: what passed, and how fast each contender is."""
    where = found["machine"]
    lines = [
        f"# {where['gpu']}, {found['date']}",
        "",
        f"CuPy {where['cupy']}, CUDA {where['cuda']}, driver {where['driver']}",
    ]
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
        steps = {r.workload: np.ceil(w.rows / w.batch_size) for r, w in zip(results, ON_GPU, strict=True)}
        per_step = {
            r.workload: 1e6 * np.median(r.seconds[OURS]) / steps[r.workload] for r in results if OURS in r.seconds
        }
        lines += ["", "Microseconds a step: " + ", ".join(f"{name} {time:.1f}" for name, time in per_step.items())]
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
