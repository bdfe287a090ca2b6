"""The one fixture of the maths: every test of it runs on every array library that can be used here."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

# SciPy looks at it when it is imported: whether scikit-learn's checks may hand it other libraries' arrays.
os.environ["SCIPY_ARRAY_API"] = "1"

import numpy as np
import pytest
from chosen import BACKEND

from anynet import Model
from anynet.backends import BACKENDS, select
from anynet.errors import BackendError
from anynet.model.base import BaseModel

# So that an assertion that several files share says what it compared, too.
pytest.register_assert_rewrite("backends", "cli", "distributed", "estimators", "model", "training")

READ_ONLY = "numpy-read-only"


# The tests that have computed on BACKEND, where that is not NumPy.
COMPUTED: set[str] = set()
# A CUDA build of PyTorch is no GPU.
TESTED = (*BACKENDS, "cupy:1", "torch:cuda")


@cache
def absence(name: str) -> str:
    """Why a backend, or a device of one, cannot be tested here; empty where it can."""
    try:
        select(name)
    except BackendError as error:
        return str(error)
    return ""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-backends", default="", help="backends that must be tested, such as torch,jax")


def pytest_configure(config: pytest.Config) -> None:
    # What a shell starts in the background ignores Ctrl-C, which tests send.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "reads_values: a library in the test reads values of strict arrays on the host")
    config.addinivalue_line("markers", "needs(*names): a test of these backends or devices, left out where one is not")
    config.addinivalue_line("markers", "host: a test of what no backend changes, left out with ANYNET_TEST_BACKEND")
    config.addinivalue_line("markers", "backends(*names): backend_name is each of these, not each there is")
    if BACKEND != "numpy":
        _compute_on(BACKEND)
    required = [name for name in config.getoption("--require-backends").split(",") if name]
    missing = [reason for reason in map(absence, required) if reason]
    if missing:
        raise pytest.UsageError("; ".join(missing))


def _compute_on(backend: str) -> None:
    """Let whatever names no backend take this one, and count the tests that do."""
    from anynet.estimators import MLPClassifier, MLPRegressor, NetClassifier, NetRegressor

    estimators = (kind.__init__ for kind in (MLPClassifier, MLPRegressor, NetClassifier, NetRegressor))
    for function in (BaseModel.__init__, Model.load.__func__, *estimators):  # type: ignore[attr-defined]
        function.__kwdefaults__["backend"] = backend

    asarray = BACKENDS[backend].asarray

    def counted(*arguments: Any, **options: Any) -> Any:
        COMPUTED.add(os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0])
        return asarray(*arguments, **options)

    BACKENDS[backend].asarray = counted  # type: ignore[method-assign]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if COMPUTED:
        terminalreporter.write_line(f"{len(COMPUTED)} tests computed on {BACKEND}")


def pytest_report_header() -> list[str]:
    tested = ", ".join(name for name in TESTED if not absence(name))
    if BACKEND != "numpy":
        return [f"backend tested: {BACKEND}"]
    reasons = dict.fromkeys(absence(name) for name in TESTED if absence(name))
    return [f"backends tested: {tested}", *(f"not tested: {reason}" for reason in reasons)]


def each(names: Sequence[str]) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.needs(name)) for name in names]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend_name" in metafunc.fixturenames:
        chosen = metafunc.definition.get_closest_marker("backends")
        metafunc.parametrize("backend_name", each(chosen.args if chosen else tuple(BACKENDS)))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of what is not here are left out, and with ANYNET_TEST_BACKEND those of others; the header says what."""

    def left_out(item: pytest.Item) -> bool:
        names = {name for mark in item.iter_markers("needs") for name in mark.args}
        of_others = bool(names) and BACKEND not in {name.partition(":")[0] for name in names}
        if BACKEND != "numpy" and (of_others or item.get_closest_marker("host")):
            return True
        return any(absence(name) for name in names)

    config.hook.pytest_deselected(items=[item for item in items if left_out(item)])
    items[:] = [item for item in items if not left_out(item)]


@pytest.fixture(autouse=True)
def strict_refuses_what_a_gpu_refuses(request: pytest.FixtureRequest) -> Iterator[None]:
    """array-api-strict lets the host read an array's value; no step may, so here it raises."""
    import array_api_strict

    if request.node.get_closest_marker("reads_values"):
        yield
        return

    flags = array_api_strict.get_array_api_strict_flags()
    array_api_strict.set_array_api_strict_flags(data_dependent_shapes=False, boolean_indexing=False)
    array_type = type(array_api_strict.asarray(0.0))

    def refuse(self: Any) -> Any:
        raise AssertionError("a value was read on the host")

    with pytest.MonkeyPatch.context() as patch:
        for method in ("__float__", "__int__", "__bool__", "__index__", "__complex__"):
            patch.setattr(array_type, method, refuse)
        yield
    array_api_strict.set_array_api_strict_flags(
        data_dependent_shapes=flags["data_dependent_shapes"], boolean_indexing=flags["boolean_indexing"]
    )


@pytest.fixture(autouse=True, scope="module")
def memory_of_the_device_is_given_back() -> Iterator[None]:
    yield
    if BACKEND == "cupy":
        import cupy

        gc.collect()
        cupy.get_default_memory_pool().free_all_blocks()


class Library:
    """An array library under test: makes its arrays, calls functions as its backend would, looks at results."""

    def __init__(self, name: str, dtype: str) -> None:
        self.name = name
        self.backend = select("numpy" if name == READ_ONLY else name, dtype)
        self.xp = self.backend.xp
        self.dtype = dtype
        self.tolerance = 1e-12 if dtype == "float64" else 2e-5

    def given(self, x: Any) -> Any:
        """An array that nobody may change."""
        array = self.backend.asarray(np.array(x))
        if self.name == READ_ONLY:
            array.flags.writeable = False
        return array

    def owned(self, x: Any) -> Any:
        """An array that the function called may change."""
        return self.backend.asarray(np.array(x), copy=True)

    def call(self, function: Any, *arguments: Any) -> Any:
        with self.backend.scope():
            if self.name == "jax":
                import jax

                return jax.jit(function)(*arguments)
            return function(*arguments)

    def assert_equal(self, actual: Any, expected: Any, tolerance: float | None = None) -> None:
        """Namespace, device, dtype and shape first, so that a wrong value is a wrong value."""
        from array_api_compat import array_namespace, device

        expected = np.asarray(expected)
        made_here = self.backend.asarray(np.zeros(expected.shape, expected.dtype))
        if not np.isscalar(actual):
            assert array_namespace(actual) is array_namespace(made_here)
            assert device(actual) == device(made_here)
        assert str(actual.dtype).split(".")[-1] == str(made_here.dtype).split(".")[-1]
        assert actual.shape == expected.shape
        tolerance = self.tolerance if tolerance is None else tolerance
        np.testing.assert_allclose(self.backend.to_numpy(actual), expected, rtol=tolerance, atol=tolerance)


@pytest.fixture(params=[READ_ONLY, *each(tuple(BACKENDS))])
def library(request: pytest.FixtureRequest, dtype: str) -> Library:
    return Library(request.param, dtype)


@pytest.fixture(params=["float64", "float32"])
def dtype(request: pytest.FixtureRequest) -> str:
    return str(request.param)
