"""The rules of the house that a reader of one file cannot see."""

from __future__ import annotations

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import anynet
from anynet import nn, training
from anynet.nn.branches import Branches
from anynet.nn.containers import Container, Layers, Wrapper
from anynet.training.metrics import METRICS

pytestmark = pytest.mark.host

PACKAGE = Path(__file__).parent.parent / "anynet"
MATHS = sorted((PACKAGE / "nn").glob("*.py"))
LIBRARIES = {"numpy", "cupy", "torch", "jax", "dpnp", "scipy", "array_api_compat", "array_api_strict"}


@pytest.mark.parametrize("path", MATHS, ids=lambda path: path.name)
def test_the_maths_imports_no_array_library_and_uses_no_operator_that_cannot_be_redirected(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                assert not {name.name.split(".")[0] for name in names} & LIBRARIES
            case ast.ImportFrom(module=str(module)):
                assert module.split(".")[0] not in LIBRARIES
            case ast.BinOp(op=ast.MatMult()) | ast.AugAssign(op=ast.MatMult()):
                pytest.fail(f"{path.name}:{node.lineno} uses @ where xp.matmul belongs")
            case ast.Attribute(attr="T"):
                pytest.fail(f"{path.name}:{node.lineno} uses .T where xp.matrix_transpose belongs")


@pytest.mark.parametrize("library", sorted(LIBRARIES - {"numpy", "array_api_compat"}))
def test_importing_anynet_and_training_on_numpy_loads_no_other_library(library: str) -> None:
    code = (
        "import sys, anynet, numpy as np; from anynet.nn import *; "
        "anynet.Model(Linear(1), MSELoss(), SGD(lr=0.1)).fit(np.ones((4, 2)), np.ones(4)); "
        f"sys.exit({library!r} in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_is_there_before_any_library_is_imported() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "anynet", "--help"]
    imported = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    assert "anynet.cli" in imported
    for library in LIBRARIES | {"safetensors", "sklearn", "threadpoolctl", "tqdm"}:
        assert not re.search(rf"\b{library}\b", imported)


def test_every_mistake_that_the_tests_on_a_gpu_must_catch_can_still_be_made() -> None:
    mutants = runpy.run_path(str(PACKAGE.parent / "ci/pretended_gpu/mutants.py"))["MUTANTS"]
    for mutant in mutants:
        assert mutant.right in (PACKAGE / f"backends/{mutant.file}.py").read_text(encoding="utf-8"), mutant.name


def subclasses(base: type) -> set[type]:
    """All of this package, but for those in its other rooms and those that only have descendants, such as _Pooling."""
    found = {cls for direct in base.__subclasses__() for cls in (direct, *subclasses(direct))}
    room = base.__module__.rpartition(".")[0]
    return {cls for cls in found if cls.__module__.startswith(room) and not cls.__name__.startswith("_")}


@pytest.mark.parametrize(
    ("base", "listed"),
    [(nn.Layer, nn.LAYERS), (nn.Optimizer, nn.OPTIMIZERS), (training.Metric, METRICS)],
    ids=["LAYERS", "OPTIMIZERS", "METRICS"],
)
def test_every_class_is_listed_so_that_files_and_tests_know_it(base: type, listed: tuple[type, ...]) -> None:
    # Containers that only have descendants, and what no file can hold.
    unlisted = {Container, Layers, Branches, Wrapper, nn.Lambda}
    assert subclasses(base) - unlisted == set(listed)
    public = nn if base is not training.Metric else training
    assert {cls.__name__ for cls in listed} <= set(public.__all__)


ROOMS = ("autodiff", "backends", "checks", "datasets", "errors", "estimators", "model", "nn", "training")


def test_what_is_in_anynet_is_what_a_person_uses() -> None:
    assert dir(anynet) == sorted(["Model", "__version__", "gradcheck", *anynet.autodiff.__all__, *ROOMS])


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "errors"])
def test_a_room_shows_what_is_in_it_and_not_what_it_imports(room: str) -> None:
    module = getattr(anynet, room)
    assert sorted(module.__all__) == dir(module)
    assert all(getattr(module, name).__module__.startswith("anynet") for name in dir(module) if name != "BACKENDS")


def test_looking_at_anynet_loads_nothing_and_a_star_loads_what_is_shown() -> None:
    code = (
        "import sys, anynet; names = dir(anynet); assert 'numpy' not in sys.modules; "
        "from anynet import *; assert {*names} - {*globals()} == {'estimators'}; assert 'sklearn' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
