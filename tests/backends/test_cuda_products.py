"""What the CuPy backend adds: products that a stream may capture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from backends.on_gpu import on_a_gpu

from anynet.backends import select
from anynet.backends.cupy import cublas
from anynet.errors import BackendError

LAYOUTS = {
    "in order": lambda x: x,
    "transposed": lambda x: x.T.copy().T,
    "some columns of a wider one": lambda x: x.repeat(2, axis=1)[:, : x.shape[1]],
    "every second row": lambda x: x.repeat(2, axis=0)[::2],
    "in no order of cuBLAS's": lambda x: x.repeat(2, axis=1)[:, ::2],
    "backwards": lambda x: x[::-1].copy()[::-1],
}


@on_a_gpu
class TestProducts:
    @pytest.mark.parametrize("shapes", [((4, 3), (3, 5)), ((1, 3), (3, 1)), ((4, 1), (1, 5)), ((1, 1), (1, 1))])
    @pytest.mark.parametrize("left", LAYOUTS)
    @pytest.mark.parametrize("right", LAYOUTS)
    def test_matrices_of_any_layout_are_multiplied_by_a_library_that_takes_columns_first(
        self, gpu: Any, shapes: Any, left: str, right: str
    ) -> None:
        generator = np.random.default_rng(0)
        x, y = (
            LAYOUTS[how](gpu.asarray(generator.normal(size=shape)))
            for how, shape in zip((left, right), shapes, strict=True)
        )
        found = gpu.to_numpy(gpu.xp.matmul(x, y))
        np.testing.assert_allclose(found, gpu.to_numpy(x) @ gpu.to_numpy(y), rtol=1e-12)

    @pytest.mark.parametrize(
        "shapes", [((2, 3, 4, 5), (2, 3, 5, 6)), ((3, 4, 5), (2, 1, 5, 6)), ((1, 4, 5), (7, 5, 1))]
    )
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_stacks_of_matrices_are_multiplied_in_one_call_however_they_lie(
        self, gpu: Any, shapes: Any, dtype: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        generator = np.random.default_rng(0)
        x, y = (gpu.asarray(generator.normal(size=shape).astype(dtype)) for shape in shapes)
        checked = []
        monkeypatch.setattr(cublas, "_check", lambda status, doing: checked.append((status, doing)))
        gpu.xp.matmul(x, y)
        for left in (x, x.swapaxes(-1, -2).copy().swapaxes(-1, -2), x.repeat(2, axis=-1)[..., ::2], x[..., ::-1, :]):
            checked.clear()
            found = gpu.to_numpy(gpu.xp.matmul(left, y))
            assert checked == [(0, "multiply matrices")]
            expected = gpu.to_numpy(left).astype(float) @ gpu.to_numpy(y).astype(float)
            np.testing.assert_allclose(found, expected, rtol=1e-4 if dtype == "float32" else 1e-11, atol=1e-6)

    def test_more_than_eight_arrays_are_joined_without_the_host(self, gpu: Any) -> None:
        parts = [np.full((i, 2), float(i)) for i in range(1, 11)]
        arrays = [gpu.asarray(part) for part in parts]
        np.testing.assert_array_equal(gpu.to_numpy(gpu.xp.concat(arrays)), np.concatenate(parts))

        def step(xp: Any, state: Any, batch: Any) -> Any:
            return state, {"joined": xp.concat([array * batch[0] for array in arrays])}

        # Reading is not fused, but captured.
        for _ in range(3):
            _, metrics = gpu.run(step, (), (gpu.asarray(np.asarray([1.0, 2.0])),), donate=False)
        np.testing.assert_array_equal(gpu.to_numpy(metrics["joined"])[1], 2 * np.concatenate(parts))

    def test_a_product_writes_nowhere_but_into_its_result_and_its_own_workspace(self, gpu: Any) -> None:
        x = gpu.asarray(np.ones((4, 4)))
        with gpu.scope():
            gpu.xp.matmul(x, x)
            others = gpu.xp.ones(cublas.WORKSPACE_BYTES // 8, dtype=gpu.xp.float64)
            gpu.xp.matmul(x, x)
            assert float(others.min()) == float(others.max()) == 1.0

    def test_tf32_rounds_before_it_multiplies(self) -> None:
        x = np.full((256, 256), 1 + 2.0**-12, np.float32)
        exact, rounded = (
            gpu.to_numpy(gpu.xp.matmul(gpu.asarray(x), gpu.asarray(x)))
            for gpu in (select("cupy", precision=how) for how in ("float32", "tf32"))
        )
        np.testing.assert_allclose(exact, x @ x, rtol=1e-6)
        np.testing.assert_array_equal(rounded, 256.0)


def test_a_failure_of_cublas_says_what_it_was_about() -> None:
    with pytest.raises(RuntimeError, match="could not multiply matrices: its status is 13"):
        cublas._check(13, "multiply matrices")


def test_tf32_is_refused_where_there_is_none() -> None:
    with pytest.raises(BackendError, match="the precision of backend 'numpy' must be float32, but is 'tf32'"):
        select("numpy", precision="tf32")
