"""Arrays are joined with as few copies as they can be, and always to what they are joined to one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from backends.compiled import assert_compiled_is_the_step, model_and_batch, of

from anynet import nn
from anynet.backends.numpy.joins import as_one_view, in_steps
from anynet.backends.numpy.step import CompiledStep
from anynet.tracing import trace_step

pytestmark = [pytest.mark.host, pytest.mark.usefixtures("memory_is_full_of_nonsense")]

X = np.random.default_rng(0).normal(size=(2, 40, 6))
W = np.random.default_rng(1).normal(size=(6, 3))


def windows(xp: Any, x: Any, axis: int = 2, count: int = 3) -> Any:
    length = x.shape[1] - count + 1
    return xp.concat([x[:, i : i + length, ...] for i in range(count)], axis=axis)


JOINED = {
    "windows": lambda xp, x, w: windows(xp, x),
    "windows of one column": lambda xp, x, w: xp.matmul(windows(xp, x[..., :1]), w[:3, :]),
    "windows of windows": lambda xp, x, w: windows(xp, windows(xp, x), count=2),
    "windows of windows of one column": lambda xp, x, w: xp.matmul(windows(xp, windows(xp, x[..., :1]), 2, 2), w),
    "windows of windows that others read, too": lambda xp, x, w: (
        windows(xp, windows(xp, x)) + windows(xp, x)[:, :1, :1]
    ),
    "windows of what is then changed": lambda xp, x, w: windows(xp, windows(xp, xp.exp(x))) + xp.sum(xp.exp(x) + 1.0),
    "windows of strides": lambda xp, x, w: windows(xp, windows(xp, x[:, ::2, ::3])),
    "backwards": lambda xp, x, w: xp.concat([x[:, 2:], x[:, 1:-1], x[:, :-2]], axis=2),
    "at unequal distances": lambda xp, x, w: xp.concat([x[:, 0:9], x[:, 1:10], x[:, 3:12], x[:, 4:13]], axis=1),
    "of unequal lengths": lambda xp, x, w: xp.concat([x[:, 0:9], x[:, 1:9], x[:, 2:9]], axis=1),
    "the same again": lambda xp, x, w: xp.concat([x[:, 1:], x[:, 1:], xp.exp(x)], axis=1),
    "products beside each other": lambda xp, x, w: xp.concat([xp.matmul(x[0], w), xp.matmul(x[1], w), x[0, :, :3]]),
    "with zeros": lambda xp, x, w: xp.concat([xp.zeros((2, 3, 6)), x, xp.zeros((2, 2, 6))], axis=1),
    "of the state": lambda xp, x, w: windows(xp, windows(xp, xp.reshape(w, (1, 6, 3)), count=2), count=2),
    "nothing": lambda xp, x, w: xp.concat([x[:, :0], x[:, :0]], axis=1),
}


@pytest.mark.parametrize("name", JOINED)
def test_any_join(name: str) -> None:
    def step(xp: Any, state: Any, batch: Any) -> Any:
        (x,) = batch
        return (state[0] * 0.5 + 1.0,), {
            "y": JOINED[name](xp, x, state[0]),
            "z": JOINED[name](xp, x * 2.0, state[0] - 1.0),
        }

    assert_compiled_is_the_step("numpy", step, (W,), (X,), reuse=3)


def test_the_new_state_may_be_windows_of_the_old() -> None:
    change = of(lambda xp, s, x: (xp.concat([s[0][1:, :], s[0][:1, :]]), xp.concat([s[1][:2], s[1][1:3]])))
    assert_compiled_is_the_step("numpy", change, (W, np.arange(4.0)), (X,), reuse=3)


def test_the_windows_of_a_convolution_are_one_copy() -> None:
    model, batch = model_and_batch(nn.Conv2d(4, 3), (9, 9, 2))
    step = CompiledStep(trace_step(model._predict, np, model.state, batch[:1]))
    calls = step._calls_on(model.state)
    copies = [
        call for stage in calls.stages for lane in stage for call in lane if getattr(call, "func", None) is np.copyto
    ]
    assert len(copies) <= 2
    assert any(call.args[1].ndim == 5 and call.args[1].shape[3:] == (3, 6) for call in copies)


def test_only_what_lies_in_one_memory_is_joined_at_once() -> None:
    x, y = np.zeros((2, 3, 4)), np.zeros(4)
    assert [[*several] for several, _ in in_steps(range(3), [x[0, 0], x[0, 1], y], 0)] == [[0, 1], [2]]
    assert [[*several] for several, _ in in_steps(range(4), [x[0, 0], x[0, 1], x[1, 0], x[1, 1]], 0)] == [
        [0, 1],
        [2, 3],
    ]
    assert as_one_view([x[0], x[1]], 1, (3, 8)) is None
    assert as_one_view([x[0]], 0, (3, 4)) is not None
