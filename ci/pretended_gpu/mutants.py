"""How sharp the tests on the pretended GPU are: each of these mistakes, made once, must be caught.

ci/pretended_gpu/run ENVIRONMENT python ci/pretended_gpu/mutants.py [NAME ...]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
TESTS = ("tests/test_cuda_graph.py", "tests/test_cuda_surroundings.py")


class Mutant(NamedTuple):
    name: str
    file: str
    right: str
    wrong: str


MUTANTS = (
    Mutant("no wait before a stream's turn", "cuda_graph", "        self.stream.wait_event(self.other.record())\n", ""),
    Mutant("no wait after it", "cuda_graph", "self.other.wait_event(self.stream.record())", "pass"),
    Mutant("cuBLAS off the stream", "cublas", "if stream != self._stream:", "if False:"),
    Mutant("CuPy's own matmul", "cupy", '"matmul": products.matmul, ', ""),
    Mutant("CuPy's own concat", "cupy", ', "concat": concat}', "}"),
    Mutant("a wrong leading dimension", "cublas", "_NORMAL, max(down, columns))", "_NORMAL, columns)"),
    Mutant("a transposed matrix taken as it lies", "cublas", "Matrix(x, _TRANSPOSED", "Matrix(x, _NORMAL"),
    Mutant(
        "a workspace that is not kept",
        "cublas",
        "self._workspace = cupy.cuda.alloc(WORKSPACE_BYTES)",
        "self._workspace = type('Gone', (), {'ptr': cupy.cuda.alloc(WORKSPACE_BYTES).ptr})",
    ),
    Mutant(
        "one slot for the metrics of all steps",
        "cuda_graph",
        "self._metrics[name][i, ...]",
        "self._metrics[name][0, ...]",
    ),
    Mutant("metrics that the next launch overwrites", "cuda_graph", "name: array.copy() for", "name: array for"),
    Mutant(
        "a metric in float64", "cuda_graph", "(steps, *value.shape), value.dtype", '(steps, *value.shape), "float64"'
    ),
    Mutant(
        "memory of the graph given back at once",
        "cuda_graph",
        "        self._graph = graph\n",
        "        self._graph = graph\n        self._pool.free_all_blocks()\n",
    ),
    Mutant(
        "a value read on the host while capturing",
        "cuda_graph",
        "        there = leaves(state)\n",
        "        there = leaves(state)\n        float(there[0].sum())\n",
    ),
    Mutant("a state that others read, changed", "cupy", "Graph(step, self._copied(state),", "Graph(step, state,"),
    Mutant("rows of the last launch", "cuda_graph", "axis=0, out=own)", "axis=0)"),
    Mutant("steps that nobody has proved", "cupy", "            self._prove(graph, step, state, batches, data)\n", ""),
    Mutant("the caller's stream", "cupy", "if current == self._stream else", "if True else"),
    Mutant("a pool that keeps its memory", "cuda_graph", "            self._pool.free_all_blocks()\n", ""),
)


def main() -> int:
    chosen = [mutant for mutant in MUTANTS if not sys.argv[1:] or mutant.name in sys.argv[1:]]
    missed = 0
    print("| mistake | streams late | streams early |", "|---|---|---|", sep="\n")
    for mutant in chosen:
        with tempfile.TemporaryDirectory() as folder:
            answers = [_answer(mutant, Path(folder), order) for order in ("1", "2")]
        missed += not any(answers)
        print(f"| {mutant.name} | {' | '.join(answer or 'not caught' for answer in answers)} |", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} caught")
    return int(bool(missed))


def _answer(mutant: Mutant, folder: Path, order: str) -> str:
    """The first test that fails with the mistake; empty where none does."""
    for name in ("anynet", "tests"):
        shutil.copytree(ROOT / name, folder / name, dirs_exist_ok=True)
    shutil.copy(ROOT / "pyproject.toml", folder)
    file = folder / f"anynet/backends/{mutant.file}.py"
    text = file.read_text()
    assert mutant.right in text, f"{mutant.name}: {file.name} has no longer what it changes"
    file.write_text(text.replace(mutant.right, mutant.wrong, 1))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *TESTS]
    environment = {**os.environ, "EMU_ASYNC": order, "EMU_DEVICES": "2"}
    # What lies where a program is started comes before what is installed.
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0].split("::")[-1].split(" - ")[0] if failed else f"the process ends with {done.returncode}"


if __name__ == "__main__":
    sys.exit(main())
