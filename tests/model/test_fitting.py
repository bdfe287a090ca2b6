"""What a training takes, and what it leaves as it is."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model.small_model import X, Y, contents, new_model

from anynet import Model, nn
from anynet.errors import UsageError
from anynet.model import Checkpoints
from anynet.model.checkpoints import latest


def test_slots_of_another_shape_than_their_block_are_refused() -> None:
    class Counting(nn.SGD):
        def init(self, xp: Any, block: Any) -> Any:
            return {"count": xp.zeros(2, dtype=block.dtype)}

    with pytest.raises(UsageError, match=r"makes a slot 'count' of shape \(2,\)"):
        Model(nn.Linear(2), nn.CrossEntropyLoss(), Counting(0.1)).fit(X, Y)


@pytest.mark.parametrize("debug", [False, True])
def test_the_learning_rate_that_diverged_is_that_of_the_step(debug: bool, backend_name: str) -> None:
    def jump(xp: Any, step: Any) -> Any:
        return xp.where(step < 10, 1e-3 + 0 * step, 1e30 * (step - 9))

    model = Model(nn.Linear(1), nn.MSELoss(), nn.SGD(jump), backend=backend_name)
    with pytest.raises(ArithmeticError, match=r"batch 12 of epoch 1, .* \(it is 2e\+30\)"):
        model.fit(X, X[:, :1], batch_size=16, debug=debug)


@pytest.mark.filterwarnings("ignore:steps are launched one by one", "ignore:this step cannot be compiled")
def test_a_layer_that_draws_elsewhere_is_not_frozen() -> None:
    class Noise(nn.Layer):
        def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
            return x + np.random.default_rng().normal(), None

        def backward(self, xp: Any, p: Any, saved: Any, dy: Any, need_dx: bool = True) -> Any:
            return dy, {}

    model = Model(nn.Sequential(Noise(), nn.Linear(2)), nn.CrossEntropyLoss(), nn.SGD(0.1)).build((6,))
    outputs = [model.predict(X[:4]) for _ in range(4)]
    assert len({output.tobytes() for output in outputs}) == 4


@pytest.fixture
def raising_numpy() -> Iterator[None]:
    with np.errstate(all="raise"):
        yield


@pytest.mark.usefixtures("raising_numpy")
def test_numpy_told_to_raise_changes_nothing(backend_name: str, tmp_path: Path) -> None:
    x, weight = np.full((64, 6), 1e-300) * X[:64], np.full(64, 1e-300)
    model = new_model(backend_name)
    model.fit(x, Y[:64], sample_weight=weight, validation_data=(x, Y[:64], weight), checkpoints=Checkpoints(tmp_path))
    model.predict(X * 1e30)
    copy.deepcopy(model).evaluate(x, Y[:64], weight)


@pytest.mark.usefixtures("raising_numpy")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "optimizer",
    [
        nn.SGD(1e-300, momentum=1e-300),
        nn.Adam(nn.LinearDecay(1e-300, 10), betas=(1e-300, 0.9), eps=1e-300, weight_decay=1e-300),
    ],
    ids=["constants", "schedule"],
)
def test_nor_where_what_an_optimizer_holds_is_too_small_for_the_dtype(
    backend_name: str, optimizer: Any, dtype: str, tmp_path: Path
) -> None:
    model = Model(nn.Linear(2), nn.CrossEntropyLoss(), optimizer, backend=backend_name, dtype=dtype)
    model.build((6,))
    again = pickle.loads(pickle.dumps(model)).on(model.backend)
    model.fit(X, Y, checkpoints=Checkpoints(tmp_path, every_seconds=0))
    again.fit(X, Y, resume=latest(tmp_path))
    assert contents(pickle.loads(pickle.dumps(again))) == contents(model)


def test_a_clock_that_stands_still_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.perf_counter", lambda: 0.0)
    assert new_model().fit(X, Y)[0]["samples_per_second"] == 0.0


@pytest.mark.parametrize("given", [(X,), (X, Y, None, None), X, 3])
def test_validation_data_that_are_none_are_refused(given: Any) -> None:
    with pytest.raises(UsageError, match=r"validation_data must be \(x, y\) or \(x, y, sample_weight\), but got"):
        new_model().fit(X, Y, validation_data=given)
