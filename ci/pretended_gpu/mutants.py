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
TESTS = (
    "tests/backends/test_cuda_graph.py",
    "tests/backends/test_cuda_memory.py",
    "tests/backends/test_cuda_products.py",
    "tests/backends/test_cuda_ranks.py",
    "tests/backends/test_cuda_surroundings.py",
    "tests/backends/test_cuda_fusion.py",
    "tests/backends/test_compiled_steps.py",
    "tests/backends/test_compiled_expressions.py",
    "tests/model/test_resuming.py::test_on_every_backend_each_checkpoint_leads_to_the_same_bytes",
)


class Mutant(NamedTuple):
    name: str
    file: str
    right: str
    wrong: str


MUTANTS = (
    Mutant(
        "no wait before a stream's turn", "cupy/streams", "        self.stream.wait_event(self.other.record())\n", ""
    ),
    Mutant("no wait after it", "cupy/streams", "self.other.wait_event(self.stream.record())", "pass"),
    Mutant("cuBLAS off the stream", "cupy/cublas", "if stream != self._stream:", "if False:"),
    Mutant("CuPy's own matmul", "cupy/backend", '"matmul": products.matmul, ', ""),
    Mutant("CuPy's own concat", "cupy/backend", ', "concat": concat}', "}"),
    Mutant("a wrong leading dimension", "gemm", "_NORMAL, max(down, columns))", "_NORMAL, columns)"),
    Mutant("a transposed matrix taken as it lies", "gemm", "Matrix(x, _TRANSPOSED", "Matrix(x, _NORMAL"),
    Mutant(
        "a workspace that is not kept",
        "cupy/cublas",
        "self._workspace = cupy.cuda.alloc(WORKSPACE_BYTES)",
        "self._workspace = type('Gone', (), {'ptr': cupy.cuda.alloc(WORKSPACE_BYTES).ptr})",
    ),
    Mutant(
        "one slot for the metrics of all steps",
        "cupy/graph",
        "cupy.stack(values)",
        "cupy.stack(values[-1:] * len(values))",
    ),
    Mutant("metrics that the next launch overwrites", "cupy/graph", "cupy.stack(values) for", "values[0][None] for"),
    Mutant("a metric in float64", "cupy/graph", "cupy.stack(values) for", 'cupy.stack(values).astype("float64") for'),
    Mutant(
        "memory of the graph given back at once",
        "cupy/graph",
        "        self._graph = graph\n",
        "        self._graph = graph\n        memory.pool.free_all_blocks()\n",
    ),
    Mutant(
        "a value read on the host while capturing",
        "cupy/graph",
        "        there = leaves(state)\n",
        "        there = leaves(state)\n        float(there[0].sum())\n",
    ),
    Mutant(
        "a state that others read, changed",
        "cupy/backend",
        "known.state = copied(self, state) if",
        "known.state = state if",
    ),
    Mutant(
        "a state left as its proof has changed it",
        "cupy/backend",
        "                own[...] = array\n",
        "                pass\n",
    ),
    Mutant("rows of the last launch", "cupy/graph", "axis=0, out=own)", "axis=0)"),
    Mutant("steps that nobody has proved", "compiling", "        if not _agree(", "        if False and not _agree("),
    Mutant("the caller's stream", "cupy/backend", "if current == self._stream else", "if True else"),
    Mutant(
        "a pool that keeps its memory", "cupy/graph", "            self.pool.free_all_blocks()\n", "            pass\n"
    ),
    Mutant("a stream for each model", "cupy/streams", "stream = idle.pop()", "raise IndexError"),
    Mutant("plain steps before fused ones", "cupy/backend", "super().run(fused or step,", "super().run(step,"),
    Mutant(
        "a cast left out",
        "cupy/cuda_code",
        "else self._named(x, code)",
        "else code if x.op == 'astype' else self._named(x, code)",
    ),
    Mutant(
        "no barrier before a reduction's tree",
        "cupy/cuda_code",
        "shared[tid] = a; __syncthreads();",
        "shared[tid] = a;",
    ),
    Mutant(
        "a state overwritten beside who reads it",
        "cupy/fusion",
        "if self._reads_of_open() & {place.array for _, place in loop.stores}:",
        "if False:",
    ),
    Mutant(
        "a state overwritten by another thread",
        "cupy/fusion",
        "x not in changed or (changed[x] == loop.space and at == index) for",
        "True for",
    ),
    Mutant(
        "what other blocks write",
        "cupy/fusion",
        "return parts if self._stays_in_its_blocks(loop, parts) else None",
        "return parts",
    ),
    Mutant("what is not written yet", "cupy/fusion", "or not is_computed_in_loops(x)", "or True"),
    Mutant("memory taken again too early", "cupy/step", "self._last[array] > i}", "self._last[array] > i + 2}"),
    Mutant("NCCL off the stream", "cupy/nccl", "stream = cupy.cuda.get_current_stream().ptr", "stream = 0"),
    Mutant("a vector summed as it lies", "cupy/backend", "self.xp.ascontiguousarray(x)", "x"),
    Mutant("NCCL for ranks that share a GPU", "cupy/nccl", "< comm.ranks:", "< 0:"),
    Mutant("a communicator for each model", "cupy/nccl", "if device not in links:", "if True:"),
    Mutant("a communicator closed at exit", "cupy/nccl", "ctypes.pythonapi.Py_IncRef(ctypes.py_object(link))", "pass"),
    Mutant(
        "sums through the host, captured",
        "cupy/backend",
        "is_refused=comm.ranks > 1 and link is None",
        "is_refused=False",
    ),
    Mutant("a rank that fuses alone", "cupy/backend", "if known.comm.any(made is None):", "if False:"),
    Mutant(
        "a rank that replays alone",
        "cupy/backend",
        "            with known.comm.together():\n                _, metrics",
        "            with nullcontext():\n                _, metrics",
    ),
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
