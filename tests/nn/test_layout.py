"""Blocks of numbers: where each parameter and buffer lives in them, and what goes in and comes out again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from anynet import nn
from anynet.errors import ShapeError, UsageError
from anynet.nn import Layout
from anynet.nn.layout import by_name

NETWORK = nn.Sequential(nn.Linear(3), nn.BatchNorm(), nn.Sequential(nn.Linear(2), nn.BatchNorm()), nn.Rescale(2.0))
SHAPES = {
    "0.weight": (4, 3),
    "0.bias": (3,),
    "1.weight": (3,),
    "1.bias": (3,),
    "2.0.weight": (3, 2),
    "2.0.bias": (2,),
    "2.1.weight": (2,),
    "2.1.bias": (2,),
}
BUFFERS = {
    "1.running_mean": (3,),
    "1.running_var": (3,),
    "2.1.running_mean": (2,),
    "2.1.running_var": (2,),
    "3.scale": (),
}


@pytest.fixture(params=[0, 2, 3, 6, math.inf], ids="at most {} in the common block".format)
def layout(request: pytest.FixtureRequest) -> Layout:
    return Layout(NETWORK, (4,), pack_limit=request.param)


def numbered(shapes: dict[str, tuple[int, ...]], start: int = 0) -> dict[str, Any]:
    """An array for each name, in which no number comes twice."""
    arrays = {}
    for name, shape in shapes.items():
        arrays[name] = np.arange(start, start + math.prod(shape), dtype=float).reshape(shape)
        start += math.prod(shape)
    return arrays


def nested(arrays: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *path, last = name.split(".")
        at = tree
        for step in path:
            at = at.setdefault(step, {})
        at[last] = array
    return tree


def assert_same(found: Any, expected: dict[str, Any]) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].shape == array.shape
        np.testing.assert_array_equal(found[name], array)


def assert_same_blocks(found: Any, expected: Any) -> None:
    assert isinstance(found, tuple)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        np.testing.assert_array_equal(one, other)


def test_parameters_and_buffers_are_listed_in_the_order_of_the_layers(layout: Layout) -> None:
    assert layout.shapes(layout.parameters) == SHAPES
    assert layout.shapes(layout.buffers) == BUFFERS
    assert [entry.name for entry in layout.parameters] == list(SHAPES)
    assert layout.out_shape == (2,)


def test_small_ones_share_the_first_block_and_large_ones_are_blocks_of_their_own_shape() -> None:
    parameters, buffers = Layout(NETWORK, (4,), pack_limit=3).blocks(np, numbered(SHAPES | BUFFERS))
    assert [block.shape for block in parameters] == [(3 + 3 + 3 + 2 + 2 + 2,), (4, 3), (3, 2)]
    assert [block.shape for block in buffers] == [(3 + 3 + 2 + 2 + 1,)]
    parameters, buffers = Layout(NETWORK, (4,), pack_limit=0).blocks(np, numbered(SHAPES | BUFFERS))
    assert [block.shape for block in parameters] == list(SHAPES.values())
    assert [block.shape for block in buffers] == list(BUFFERS.values())
    parameters, _ = Layout(NETWORK, (4,)).blocks(np, numbered(SHAPES | BUFFERS))
    assert [block.shape for block in parameters] == [(12 + 3 + 3 + 3 + 6 + 2 + 2 + 2,)]


def test_a_parameter_of_length_0_has_a_place() -> None:
    layout = Layout(nn.Linear(2), (0,), pack_limit=0)
    given = {"weight": np.zeros((0, 2)), "bias": np.ones(2)}
    assert_same(layout.unpack(np, *layout.blocks(np, given)), given)


def test_layers_see_views_of_what_was_put_into_blocks(layout: Layout) -> None:
    parameters, buffers = layout.blocks(np, numbered(SHAPES | BUFFERS))
    nested_views = layout.unpack(np, parameters, buffers)
    assert list(nested_views) == ["0", "1", "2", "3"]
    views = by_name(nested_views)
    expected = numbered(SHAPES | BUFFERS)
    assert views.keys() == expected.keys()
    for block in (*parameters, *buffers):
        np.add(block, 1000, out=block)
    for name, view in views.items():
        np.testing.assert_array_equal(view, expected[name] + 1000)
        assert view.shape == expected[name].shape


def test_gradients_are_packed_like_the_parameters_they_belong_to(layout: Layout) -> None:
    given = numbered(SHAPES | BUFFERS)
    assert_same_blocks(layout.pack(np, nested(numbered(SHAPES))), layout.blocks(np, given)[0])


def test_buffers_that_have_changed_are_packed_with_those_that_have_not(layout: Layout) -> None:
    before = numbered(SHAPES | BUFFERS)
    changed = {"2.1.running_mean": np.asarray([-1.0, -2.0]), "3.scale": np.asarray(-3.0)}
    packed = layout.pack_buffers(np, nested(changed), nested(before))
    assert_same_blocks(packed, layout.blocks(np, {**before, **changed})[1])


def test_blocks_are_split_into_new_arrays_and_joined_again(library: Any, layout: Layout) -> None:
    given = numbered(SHAPES | BUFFERS)
    blocks = tuple(library.owned(block) for block in layout.blocks(np, given)[0])
    parts = library.call(lambda blocks: layout.split(library.xp, blocks), blocks)
    for part, name in zip(parts, SHAPES, strict=True):
        library.assert_equal(part, given[name])
    joined = library.call(lambda parts: layout.join(library.xp, parts), parts)
    for one, other in zip(joined, blocks, strict=True):
        library.assert_equal(one, library.backend.to_numpy(other))


def test_what_was_split_shares_no_memory_with_the_blocks(layout: Layout) -> None:
    blocks = layout.blocks(np, numbered(SHAPES | BUFFERS))[0]
    for part in layout.split(np, blocks):
        assert not any(np.shares_memory(part, block) for block in blocks)


def test_as_many_arrays_are_joined_as_there_are_parameters(layout: Layout) -> None:
    arrays = tuple(numbered(SHAPES).values())
    for wrong in (arrays[:-1], (*arrays, np.zeros(1))):
        with pytest.raises(ValueError, match="zip"):
            layout.join(np, wrong)


def test_weights_decay_and_neither_biases_nor_what_normalises_does(layout: Layout) -> None:
    marks = layout.decays(np)
    blocks = layout.blocks(np, numbered(SHAPES | BUFFERS))[0]
    for mark, block in zip(marks, blocks, strict=True):
        # One number stands for a block that is a parameter by itself.
        assert mark.shape in ((), block.shape)
    views = {entry.name: entry.part(np, marks[entry.block]) for entry in layout.parameters}
    assert {name for name, view in views.items() if np.all(view == 1)} == {"0.weight", "2.0.weight"}
    assert {name for name, view in views.items() if np.all(view == 0)} == SHAPES.keys() - {"0.weight", "2.0.weight"}


def test_the_marks_of_a_block_alone_are_one_number_and_those_of_the_common_block_are_many() -> None:
    marks = Layout(NETWORK, (4,), pack_limit=3).decays(np)
    assert [mark.shape for mark in marks] == [(3 + 3 + 3 + 2 + 2 + 2,), (), ()]


@dataclass(frozen=True)
class Held(nn.Layer):
    """A layer with one parameter of shape (2,)."""

    initializer: Any

    def parameters(self, shape: Any) -> Any:
        return {"held": nn.Parameter((2,), self.initializer)}, shape

    def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any: ...

    def backward(self, *arguments: Any) -> Any: ...


@pytest.mark.parametrize("values", [3, 3.0, [3, 3], (3.0, 3.0), np.full(2, 3, np.int8), np.float32(3)], ids=repr)
def test_first_values_are_float64_arrays_of_the_parameters_shape(values: Any) -> None:
    drawn = Layout(Held(lambda generator, shape: values), (1,)).initial(np, np.random.default_rng(0))
    assert drawn["held"].dtype == np.float64
    assert_same(drawn, {"held": np.asarray([3.0, 3.0])})


def test_first_values_are_new_arrays_each_time() -> None:
    kept = np.ones(2)
    layout = Layout(Held(lambda generator, shape: kept), (1,))
    drawn = layout.initial(np, np.random.default_rng(0))["held"]
    drawn += 1
    np.testing.assert_array_equal(layout.initial(np, np.random.default_rng(0))["held"], 1)


def test_an_initializer_is_given_the_generator_and_the_shape() -> None:
    generator = np.random.default_rng(3)
    given: list[Any] = []
    Layout(Held(lambda *arguments: given.append(arguments) or 0.0), (1,)).initial(np, generator)
    assert given == [(generator, (2,))]


def test_what_is_no_layer_has_no_layout() -> None:
    with pytest.raises(UsageError, match="the network is 3, which is no layer"):
        Layout(3, (1,))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (784, "the shape of a sample must be a tuple of whole numbers, such as \\(784,\\), but is 784"),
        ((2.0,), "must be a tuple of whole numbers"),
        ((True,), "must be a tuple of whole numbers"),
        ((-1,), "must be a tuple of whole numbers"),
        ("12", "must be a tuple of whole numbers"),
        ((2**60,), "the shape of a sample is \\(1152921504606846976,\\), which is more numbers than an array can hold"),
        ((2**32, 0, 2**32), "more numbers than an array can hold"),
    ],
    ids=repr,
)
def test_a_shape_that_no_sample_has_is_refused(shape: Any, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        Layout(nn.Flatten(), shape)


@pytest.mark.parametrize("shape", [(), (0,), [2, 3], (np.int64(4),), (2**60 - 1,), (1, 0, 2**59)], ids=repr)
def test_a_shape_that_an_array_can_have_is_taken_as_python_numbers(shape: Any) -> None:
    out_shape = Layout(nn.ReLU(), shape).out_shape
    assert out_shape == tuple(shape)
    assert all(type(length) is int for length in out_shape)


class Given:
    """An initializer that gives what it was made with, or raises it."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def __call__(self, generator: Any, shape: Any) -> Any:
        if isinstance(self.values, Exception):
            raise self.values
        return self.values

    def __repr__(self) -> str:
        return "Given()"


@pytest.mark.parametrize(
    ("values", "kind", "words"),
    [
        (TypeError("one too many"), UsageError, "is called as initializer(generator, shape), but: one too many"),
        ("abc", UsageError, "must give an array of numbers, but gives 'abc'"),
        ([[1.0], [1.0, 2.0]], UsageError, "must give an array of numbers, but gives [[1.0], [1.0, 2.0]]"),
        ([1.0], ShapeError, "must give an array of shape (2,), but gives one of (1,)"),
        ([1.0, math.nan], UsageError, "must give finite numbers, but gives [1.0, nan]"),
        (-math.inf, UsageError, "must give finite numbers, but gives -inf"),
    ],
    ids=repr,
)
def test_first_values_that_cannot_be_are_told_with_their_initializer_and_parameter(
    values: Any, kind: Any, words: str
) -> None:
    layout = Layout(nn.Sequential(Held(Given(values))), (1,))
    with pytest.raises(kind) as refused:
        layout.initial(np, np.random.default_rng(0))
    assert str(refused.value) == f"Given(), the initializer of 0.held, {words}"


def test_what_else_goes_wrong_in_an_initializer_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        Layout(Held(Given(ZeroDivisionError())), (1,)).initial(np, np.random.default_rng(0))
