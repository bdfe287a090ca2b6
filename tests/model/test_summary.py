"""What a model says of itself: its repr, and the table of its layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from anynet.checks import cases
from anynet.errors import ShapeError
from anynet.model import Model
from anynet.nn import (
    SGD,
    Adam,
    BatchNorm,
    Concat,
    CrossEntropyLoss,
    Flatten,
    Frozen,
    Linear,
    ReLU,
    Rescale,
    Residual,
    Sequential,
)

NETWORK = Sequential(
    Rescale(1 / 255), Flatten(), Sequential(Linear(8), ReLU()), Frozen(Sequential(Linear(4), BatchNorm())), Linear(2)
)


def model(network: Any = NETWORK, optimizer: Any = Adam(), **named: Any) -> Model:  # noqa: B008
    return Model(network, CrossEntropyLoss(), optimizer, **named)


def test_every_layer_has_a_row_and_those_inside_another_follow_it() -> None:
    rows = model().summary((2, 3)).rows
    assert [(row.name, row.layer, row.output) for row in rows] == [
        ("0", "Rescale(0.003922)", (2, 3)),
        ("1", "Flatten()", (6,)),
        ("2", "Sequential(2 layers)", (8,)),
        ("2.0", "Linear(8)", (8,)),
        ("2.1", "ReLU()", (8,)),
        ("3", "Frozen(Sequential(2 layers))", (4,)),
        ("3.0", "Frozen(Linear(4))", (4,)),
        ("3.1", "Frozen(BatchNorm())", (4,)),
        ("4", "Linear(2)", (2,)),
        ("total", "", (2,)),
    ]
    assert [row.parameters for row in rows] == [1, 0, 56, 56, 0, 52, 36, 16, 10, 119]
    assert [row.trainable for row in rows] == [0, 0, 56, 56, 0, 0, 0, 0, 10, 66]


def test_branches_are_all_of_the_shape_that_their_container_is_given() -> None:
    network = Sequential(Concat(Linear(2), Frozen(Residual(Linear(4), Linear(4)))), Residual(Sequential()), ReLU())
    assert [(row.name, row.layer, row.output) for row in model(network).summary((3,)).rows] == [
        ("0", "Concat(2 layers)", (6,)),
        ("0.0", "Linear(2)", (2,)),
        ("0.1", "Frozen(Residual(Linear(4), Linear(4)))", (4,)),
        ("0.1.layer", "Frozen(Linear(4))", (4,)),
        ("0.1.shortcut", "Frozen(Linear(4))", (4,)),
        ("1", "Residual(Sequential(0 layers))", (6,)),
        ("1.layer", "Sequential(0 layers)", (6,)),
        ("2", "ReLU()", (6,)),
        ("total", "", (6,)),
    ]


@pytest.mark.parametrize("case", cases.LAYERS, ids=lambda case: case.name)
def test_the_numbers_are_those_of_the_weights(case: cases.LayerCase) -> None:
    built = model(case.layer).build(case.shape)
    total = built.summary().rows[-1]
    assert total.parameters == sum(array.size for array in built.parameters.values())
    assert total.trainable == sum(block.size for block in built.state.parameters)
    assert total.output == built.layout.out_shape


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", cases.OPTIMIZERS, ids=lambda case: case.name)
def test_the_memory_is_that_of_the_state(case: cases.OptimizerCase, dtype: str) -> None:
    built = model(optimizer=case.optimizer, dtype=dtype).build((2, 3))
    state = built.state
    assert built.summary().memory == {
        "weights": sum(block.nbytes for block in (*state.parameters, *state.buffers)),
        "gradients": sum(block.nbytes for block in state.parameters),
        "optimizer": sum(slot.nbytes for slots in state.slots for slot in slots.values() if slot.ndim),
    }


def test_before_the_shape_of_a_sample_is_known_it_says_so() -> None:
    text = str(model().summary())
    assert ["2.0", "Linear(8)", "?", "?", "?"] in [line.split() for line in text.splitlines()]
    assert text.endswith(
        "? is known once the model has seen data, or for samples of a given shape: summary(input_shape)"
    )


def test_a_shape_can_be_tried_without_building() -> None:
    fresh = model()
    assert fresh.summary([2, 3]).rows[-1].parameters == 119
    assert fresh.input_shape is None
    assert model().build((2, 3)).summary((4, 3)).rows[-1].parameters == 167


@pytest.mark.parametrize(
    ("shape", "words"), [((), "layer 0 .*single number"), (784, r"tuple of whole numbers, such as \(784,\)")]
)
def test_a_shape_that_does_not_fit_is_refused_with_the_layer(shape: Any, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        model(Sequential(Linear(3))).summary(shape)


def test_columns_line_up() -> None:
    wide = model(Sequential(Linear(1000), ReLU(), Linear(10**6))).summary((10**5,))
    table = str(wide).split("\n\n")[1].splitlines()
    assert len({len(line) for line in table}) == 1
    assert table[-1].split() == ["total", "(1000000,)", "1,101,001,000", "1,101,001,000"]
    assert str(wide).endswith("memory: weights 4.1 GiB, gradients 4.1 GiB, optimizer 8.2 GiB")


@dataclass(frozen=True)
class Tagged(ReLU):
    """A layer whose fields would be code on a page that does not escape them."""

    text: str = ""


def test_a_notebook_shows_the_same_table_and_runs_nothing() -> None:
    tagged = model(Sequential(Tagged("<script>&"), Linear(2)), SGD(lr=lambda xp, step: 0.1 + 0.0 * step)).build((3,))
    shown = tagged._repr_html_()
    assert shown == tagged.summary()._repr_html_()
    assert "<script" not in shown
    assert "color" not in shown
    page = ElementTree.fromstring(f"<div>{shown}</div>")
    cells = [["".join(cell.itertext()) for cell in row] for row in page.iter("tr")]
    assert cells[1][1] == "Tagged('<script>&')"
    assert [row[-1] for row in cells] == ["trainable", "0", "8", "8"]


@pytest.mark.parametrize("layers", [1, 300])
def test_a_repr_is_three_short_lines(layers: int) -> None:
    fresh = model(Sequential(*[Linear(4)] * layers))
    for text in (repr(fresh), repr(fresh.build((4,)))):
        lines = text.splitlines()
        assert len(lines) == 3
        assert max(map(len, lines)) <= 120


def test_a_repr_says_what_there_is() -> None:
    trained = model(Sequential(Linear(4), ReLU(), Linear(2)), SGD(0.1, momentum=0.9), dtype="float64", backend="numpy")
    assert repr(trained).splitlines()[2] == " not built yet, epochs trained: 0>"
    trained.fit(np.ones((3, 5)), np.asarray([0, 1, 1]), epochs=2)
    assert repr(trained) == (
        "<Model Linear(4), ReLU(), Linear(2)\n"
        " CrossEntropyLoss(), SGD(0.1, 0.9), numpy on cpu, float64\n"
        " 34 parameters (34 trainable), (5,) -> (2,), epochs trained: 2>"
    )
