#!/usr/bin/env python3
"""CuPy's own tests of what anynet uses, on the pretended GPU, as a table.

ci/pretended_gpu/cupy_tests.py ENVIRONMENT [PATTERN OF FILES ...]
Without the slow ones; CuPy itself samples one in fifteen of each test's parameters and dtypes, and at least one.
"""

import os
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

MOST_OF_A_FILE = 100  # at equal distances
PARTS = ("core", "creation", "indexing", "logic", "manipulation", "math", "sorting", "statistics")
CUDA = ("device", "driver", "graph", "memory", "pinned_memory", "runtime", "stream")
FILES = [*(f"{part}_tests/test_*.py" for part in PARTS), *(f"cuda_tests/test_{part}.py" for part in CUDA)]
OUTCOMES = ("passed", "failed", "lost", "absent", "skipped")
# Two files ask for the version of nvcc, of which most of their tests have no need.
SETTINGS = {"CUPY_TEST_RANDOM_SUBSAMPLE": "1", "_CUPY_TEST_SUBSAMPLE_SEED": "0", "PYTHONHASHSEED": "0"}
SETTINGS |= {"EMU_DEVICES": "6", "EMU_MEMORY_MB": "2048", "NVCC": "echo release 13.0", "SECONDS_OF_A_FILE": "300"}
SETTINGS |= os.environ


def main(environment, *patterns):
    (tests,) = Path(environment).resolve().glob("pretended-gpu/cupy-*/tests/cupy_tests")
    groups = defaultdict(Counter)
    chosen = patterns or [*FILES, "linalg_tests/test_product.py"]
    for file in sorted({file for pattern in chosen for file in tests.glob(pattern)}):
        command = [Path(__file__).parent / "run", environment, "python", __file__, "--file", file]
        seconds = int(SETTINGS["SECONDS_OF_A_FILE"])
        try:
            told = subprocess.run(command, env=SETTINGS, stdout=-1, timeout=seconds, check=False).stdout
        except subprocess.TimeoutExpired as late:
            told = late.stdout or b""
        counts = Counter(told.decode().split() or ["run"])
        counts["lost"] = counts["run"] - sum(counts[outcome] for outcome in OUTCOMES)
        print(file.parent.name, file.name, dict(counts), file=sys.stderr, flush=True)
        groups[file.parent.name] += counts
    print("| CuPy's tests | collected | run |", " | ".join(OUTCOMES), "| share passed |\n|---" + "|--:" * 8 + "|")
    for name, of in (*groups.items(), ("all", sum(groups.values(), Counter()))):
        share = of["passed"] / max(of["passed"] + of["failed"] + of["lost"], 1)
        print(f"| {name} |", *(f"{of[column]} |" for column in ("collected", "run", *OUTCOMES)), f"{share:.1%} |")


def run_file(file):
    import cupy
    import numpy
    import pytest

    told = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    class Teller:
        @pytest.hookimpl(wrapper=True)
        def pytest_collection_modifyitems(self, items):
            told.write("collected\n" * len(items))
            yield
            items[:] = items[:: -(-len(items) // MOST_OF_A_FILE) or 1]
            told.write("run\n" * len(items))

        def pytest_collectreport(self, report):
            told.write("" if report.passed else f"collected\nrun\n{report.outcome}\n")

        def pytest_runtest_logreport(self, report):
            if report.when == "call" or (report.when == "setup" and not report.passed):
                absent = report.failed and "DynamicLibNotFoundError" in report.longreprtext
                told.write("absent\n" if absent else f"{report.outcome}\n")

    # In place of cuRAND, which is not pretended, NumPy draws the numbers that the tests begin with.
    def drawn(draw):
        return lambda *args, dtype=None, **named: cupy.asarray(draw(*args, **named), dtype)

    for name in ("rand", "randint", "random", "uniform"):
        setattr(cupy.random, name, drawn(getattr(numpy.random, name)))
    return pytest.main(["-p", "no:cacheprovider", "-q", "--tb=short", "-m", "not slow", file], plugins=[Teller()])


if __name__ == "__main__":
    sys.exit(run_file(sys.argv[2]) if sys.argv[1] == "--file" else main(*sys.argv[1:]))
