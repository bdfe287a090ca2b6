"""A program computes what its step computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anynet import nn
from anynet.checks import cases
from anynet.model import Model
from anynet.tracing import NotTraceable, StepProgram, Value, evaluate, trace, trace_step
from anynet.tracing.evaluation import compute
from anynet.tracing.trees import leaves

pytestmark = pytest.mark.host

BATCH = 7


def play(program: StepProgram, state: Any, batch: Any) -> tuple[list[Any], dict[str, Any]]:
    """The program's results in NumPy, one operation after the other; each must be as it was foreseen."""
    found: dict[Value, Any] = dict(zip((*program.state, *program.batch), (*leaves(state), *batch), strict=True))
    for value in program.values:
        if value not in found:
            found[value] = np.asarray(compute(np, value, [found[x] for x in value.inputs]))
        assert (found[value].shape, found[value].dtype) == (value.shape, value.dtype), value
    return [found[x] for x in program.new_state], {name: found[x] for name, x in program.metrics.items()}


def assert_program_is_the_step(step: Any, state: Any, batch: Any) -> StepProgram:
    program = trace_step(step, np, state, batch)
    new_state, metrics = play(program, state, batch)
    after, expected = step(np, state, batch)
    assert metrics.keys() == expected.keys()
    for found, array in zip([*new_state, *metrics.values()], [*leaves(after), *expected.values()], strict=True):
        assert (found.shape, found.dtype) == (np.shape(array), array.dtype)
        np.testing.assert_allclose(found, array, rtol=1e-12, atol=1e-13)
    return program


def model_and_batch(network: Any, shape: Any, loss: Any = None, optimizer: Any = None) -> Any:
    loss = loss or nn.MSELoss()
    model = Model(network, loss, optimizer or nn.SGD(0.1), dtype="float64").build(shape)
    generator = np.random.default_rng(1)
    x = generator.uniform(0.1, 0.9, (BATCH, *shape))
    target = cases.draw_target(generator, loss, (BATCH, *model.layout.out_shape))
    return model, (x, target, np.full(BATCH, 1 / BATCH))


@pytest.mark.parametrize("case", cases.LAYERS, ids=lambda case: case.name)
def test_training_any_layer(case: Any) -> None:
    network = nn.Sequential(nn.Linear(case.shape[-1]), case.layer, nn.Linear(2))
    model, batch = model_and_batch(network, case.shape)
    assert_program_is_the_step(model._train.whole, model.state, batch)


@pytest.mark.parametrize("case", cases.LOSSES, ids=lambda case: case.name)
def test_training_with_any_loss(case: Any) -> None:
    layers = [nn.Linear(case.shape[-1]), *([nn.Sigmoid()] if isinstance(case.loss, nn.BCELoss) else [])]
    model, batch = model_and_batch(nn.Sequential(*layers), (3,), case.loss)
    assert_program_is_the_step(model._train.whole, model.state, batch)


@pytest.mark.parametrize("case", cases.OPTIMIZERS, ids=lambda case: case.name)
def test_training_with_any_optimizer(case: Any) -> None:
    model, batch = model_and_batch(
        nn.Sequential(nn.Linear(20), nn.ReLU(), nn.Linear(3)), (5,), optimizer=case.optimizer
    )
    assert_program_is_the_step(model._train.whole, model.state, batch)


def test_measuring_and_predicting() -> None:
    model, batch = model_and_batch(nn.Linear(3), (5,), nn.CrossEntropyLoss())
    assert_program_is_the_step(model._evaluation[0], model.state, batch)
    assert_program_is_the_step(model._predict, model.state, batch[:1])


def of(compute_it: Any) -> Any:
    return lambda xp, state, batch: (state, {"m": compute_it(xp, state, batch[0])})


def changed_by_another_name(xp: Any, s: Any, x: Any) -> Any:
    y = x * 1.0
    same = xp.asarray(y)
    same += 1
    other = xp.asarray(y, copy=True)
    other *= 2
    return y


EXPRESSIONS = {
    "views": lambda xp, s, x: xp.reshape(xp.permute_dims(x[None, ::2, ..., -1:], (2, 1, 0)), (-1,)),
    "backwards": lambda xp, s, x: x[::-1, 3:0:-2],
    "one number": lambda xp, s, x: x[1, -1] * 2,
    "reductions": lambda xp, s, x: xp.sum(x, axis=0) + xp.max(x, axis=(0, 1)) - xp.min(x, axis=-1, keepdims=True),
    "of integers": lambda xp, s, x: xp.sum(xp.astype(x > 0, xp.int32)) + xp.sum(x > 0, dtype=xp.int8),
    "the largest of each row": lambda xp, s, x: xp.argmax(x, axis=1) + xp.argmin(x),
    "any and all": lambda xp, s, x: xp.any(x > 0, axis=1) & ~xp.all(x > 0, axis=1),
    "numbers take the dtype of arrays": lambda xp, s, x: xp.astype(x, xp.float32) * 0.1 + 1,
    "arrays take each other's": lambda xp, s, x: xp.where(x > 0, xp.astype(x, xp.float32), x),
    "functions of integers": lambda xp, s, x: xp.exp(xp.arange(4)) / 2 + xp.arange(1, 9, 2),
    "joined": lambda xp, s, x: xp.concat([x, xp.stack([x[0], x[1]]), xp.ones((1, 4))], axis=0),
    "rows": lambda xp, s, x: xp.take(x, xp.asarray([2, 0]), axis=0),
    "mean and bounds": lambda xp, s, x: xp.clip(x - xp.mean(x, axis=1, keepdims=True), -0.5, 0.5),
    "products": lambda xp, s, x: xp.matmul(xp.matrix_transpose(x), x) + (x.mT @ x),
    "batched products": lambda xp, s, x: xp.matmul(x[:, None, :], xp.broadcast_to(xp.ones((4, 2)), (3, 4, 2))),
    "filled": lambda xp, s, x: xp.zeros_like(x) + xp.full((4,), 2) + xp.ones(4, dtype=xp.float32),
    "filled with integers": lambda xp, s, x: xp.zeros(4, dtype=xp.int32) + xp.ones(4, dtype=xp.uint8),
    "counted by default": lambda xp, s, x: xp.arange(4, dtype=None),
    "zeros by default": lambda xp, s, x: xp.zeros(4, dtype=None),
    "an array that is one already": changed_by_another_name,
    "no axes": lambda xp, s, x: xp.sum(x, axis=()),
    "its own namespace": lambda xp, s, x: x.__array_namespace__(api_version=None).tanh(x),
    "length and magnitude": lambda xp, s, x: abs(x) * len(x),
    "axes of length 1": lambda xp, s, x: xp.squeeze(x[:, None, :, None], axis=(1, 3)) + xp.squeeze(x[None], axis=0),
    "a length left open": lambda xp, s, x: xp.reshape(x, (-1, 2)) + xp.reshape(x, (2, -1))[0, 0] + xp.reshape(x, -1)[0],
    "one array, joined": lambda xp, s, x: xp.concat([x]),
    "a function of a number": lambda xp, s, x: xp.exp(1) * x + xp.sqrt(2.0),
    "products with vectors": lambda xp, s, x: xp.matmul(x, x[0]) + x[0] @ x.T + xp.matmul(x[1], x[1]),
    "sorted": lambda xp, s, x: xp.sort(x, axis=0) + xp.sort(x) * xp.argsort(x, axis=-1),
    "summed up to each": lambda xp, s, x: (
        xp.cumulative_sum(x, axis=0, include_initial=True)[1:] * xp.cumulative_prod(x, axis=1)
    ),
    "at places": lambda xp, s, x: x[xp.asarray([[0, -1], [2, 1]])] + x[:, xp.asarray([1, 1])][:2, :, None],
    "at places of both axes": lambda xp, s, x: x[xp.asarray([0, -1]), xp.asarray([1, -2])],
    "along an axis": lambda xp, s, x: xp.take_along_axis(x, xp.argsort(x, axis=1), axis=1),
    "found in a sorted one": lambda xp, s, x: xp.searchsorted(xp.sort(x[0]), x[1], side="right"),
    "moments": lambda xp, s, x: xp.var(x, axis=0, correction=1) + xp.std(x) + xp.count_nonzero(x > 0),
    "moved": lambda xp, s, x: xp.roll(xp.flip(x, axis=0), (1, -2), axis=(0, 1)) + xp.roll(x, 5),
    "said again": lambda xp, s, x: xp.tile(x, (2, 1, 2)) + xp.repeat(xp.repeat(x, 2, axis=0), 2, axis=1)[:3],
    "triangles": lambda xp, s, x: xp.tril(x) + xp.triu(x, k=1) * xp.eye(3, 4, k=1),
    "grids": lambda xp, s, x: sum(xp.meshgrid(x[0], x[:, 1], indexing="xy")) + xp.linspace(0, 1, 4),
    "contracted": lambda xp, s, x: (
        xp.tensordot(x, x, axes=((0,), (0,))) + xp.tensordot(x, x, axes=2) + xp.vecdot(x, x)[0]
    ),
    "norms": lambda xp, s, x: xp.linalg.vector_norm(x, axis=1) + xp.linalg.vector_norm(x, ord=1) + xp.linalg.trace(x),
    "other norms": lambda xp, s, x: xp.stack(
        [xp.linalg.vector_norm(x[:2], axis=0, ord=n) for n in (0, -1, 3, xp.inf, -xp.inf)]
    ),
    "differences": lambda xp, s, x: xp.diff(x, axis=1, n=2) + xp.moveaxis(x[None, :, :2], 0, 2)[..., 0],
    "signs": lambda xp, s, x: xp.copysign(1.0, x) + xp.signbit(x) + xp.nextafter(x, 1.0) + xp.reciprocal(x),
    "unstacked": lambda xp, s, x: xp.unstack(x, axis=1)[2] + xp.broadcast_arrays(x[0, 0], x[:, 0])[0],
    "a number as an index": lambda xp, s, x: x[xp.argmax(x[:, 0])],
    "negative zero": lambda xp, s, x: 1 / (x * 0 + xp.where(x > 0, 0.0, -0.0)),
}


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("name", EXPRESSIONS)
def test_whatever_the_standard_has(name: str) -> None:
    x = np.random.default_rng(0).normal(size=(3, 4))
    assert_program_is_the_step(of(EXPRESSIONS[name]), (), (x,))


def test_what_is_computed_twice_is_noted_once_and_what_nobody_needs_not_at_all() -> None:
    def step(xp: Any, state: Any, batch: Any) -> Any:
        xp.exp(batch[0])
        return state, {"m": xp.tanh(batch[0]) + xp.tanh(batch[0])}

    assert [value.op for value in trace_step(step, np, (), (np.ones(2),)).values] == ["input", "tanh", "add"]


def test_changes_in_place_are_seen_by_whoever_holds_the_array() -> None:
    def step(xp: Any, state: Any, batch: Any) -> Any:
        (total,) = state
        same = total
        total += batch[0]
        total[...] = total * 2
        return (same,), {"m": batch[0] * 1.0}

    assert_program_is_the_step(step, (np.ones(3),), (np.arange(3.0),))


def base_after_its_view(xp: Any, s: Any, x: Any) -> Any:
    y = x * 1.0
    first = y[0]
    first *= 2
    return y


def view_after_its_base(xp: Any, s: Any, x: Any) -> Any:
    y = x * 1.0
    first = y[0]
    y *= 2
    return first


def changed_to_another_shape(xp: Any, s: Any, x: Any) -> Any:
    y = x[0] * 1.0
    y += x
    return y


def changed_batch(xp: Any, s: Any, x: Any) -> Any:
    x += 1
    return x


REFUSED = {
    "a value on the host": lambda xp, s, x: x * float(x[0, 0]),
    "a choice by value": lambda xp, s, x: x if x[0, 0] > 0 else -x,
    "rows by a condition": lambda xp, s, x: x[x > 0],
    "a function of no operation": lambda xp, s, x: xp.linalg.inv(x),
    "a method": lambda xp, s, x: x.sum(),
    "places that an array tells, set": lambda xp, s, x: x.__setitem__(xp.asarray([0, 1]), 1.0),
    "an array, where a condition holds": lambda xp, s, x: x.__setitem__(x > 0, x[0]),
    "a base after its view": base_after_its_view,
    "a view after its base": view_after_its_base,
    "a loop over rows": lambda xp, s, x: list(x),
    "what is no array": lambda xp, s, x: x + "1",
    "a list of numbers": lambda xp, s, x: x + [1.0] * 4,
    "a metric that is a number": lambda xp, s, x: 1.0,
    "another shape in place": changed_to_another_shape,
    "a change of the batch": changed_batch,
    "a shape of another size": lambda xp, s, x: xp.reshape(x, (5,)),
    "a maximum of another dtype": lambda xp, s, x: xp.max(x, dtype=xp.float32),
    "a place among all axes that keeps them": lambda xp, s, x: xp.argmax(x, keepdims=True),
    "an index by arrays apart": lambda xp, s, x: x[xp.asarray([0]), :, xp.asarray([0])],
    "a mean in half precision": lambda xp, s, x: xp.mean(xp.astype(x, xp.float16)),
    "integers that have no common dtype": lambda xp, s, x: xp.astype(x, xp.int64) + xp.astype(x, xp.uint64),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_program_is_refused_in_words(name: str) -> None:
    with pytest.raises(NotTraceable, match=r"\w{4}"):
        trace_step(of(REFUSED[name]), np, (), (np.ones((3, 4)),))


def test_an_array_set_to_another_shape_is_told_with_both_shapes_and_dtypes() -> None:
    words = r"^add -> float64\[3, 4\] assigned to multiply -> float64\[4\]"
    with pytest.raises(NotTraceable, match=words):
        trace_step(of(changed_to_another_shape), np, (), (np.ones((3, 4)),))


@pytest.mark.parametrize("after", [lambda s: (s[0],), lambda s: (s[0], s[1][0]), lambda s: {"a": s[0], "b": s[1]}])
def test_a_state_keeps_its_structure_shapes_and_dtypes(after: Any) -> None:
    with pytest.raises(NotTraceable, match="a state that changes"):
        trace_step(lambda xp, s, b: (after(s), {"m": b[0] * 1}), np, (np.ones(2), np.ones(2)), (np.ones(2),))


def test_what_a_step_has_from_elsewhere_must_be_the_same_again() -> None:
    calls = []

    def counts(xp: Any, state: Any, batch: Any) -> Any:
        calls.append(1)
        return state, {"m": batch[0] + 1e-9 * len(calls)}

    def draws(xp: Any, state: Any, batch: Any) -> Any:
        return state, {"m": batch[0] + 1e-9 * np.random.default_rng().normal(size=3)}

    mask = np.zeros(3)

    def changes(xp: Any, state: Any, batch: Any) -> Any:
        mask[...] += 1
        return state, {"m": batch[0] * mask}

    for step in (counts, draws, changes):
        with pytest.raises(NotTraceable, match="something else each time"):
            trace_step(step, np, (), (np.ones(3),))


def test_a_choice_between_two_numbers_has_the_dtype_of_the_recorded_one() -> None:
    def choice(xp: Any, x: Any) -> Any:
        return xp.where(x > 0, *(xp.asarray(number, dtype=xp.float32) for number in (1.0, 0.5)))

    (found,) = evaluate(trace(choice, np, [np.ones(3)]), np, [np.ones(3)])
    assert found.dtype == np.float32
