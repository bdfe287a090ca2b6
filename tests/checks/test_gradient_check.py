"""What the check of gradients finds, where it finds it, and what it says to what it cannot check."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from model.refusals import Unkind, model, said

import anynet
from anynet import nn
from anynet.checks import gradcheck
from anynet.errors import UsageError
from anynet.model import Model
from anynet.nn import CrossEntropyLoss, Linear, MSELoss, ReLU


def test_gradcheck_finds_a_layer_that_changes_its_input_or_forgets_a_gradient() -> None:
    class Doubled(nn.Tanh):
        def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
            x *= 2
            return super().forward(xp, p, x, ctx)

    class Forgetful(nn.Linear):
        def backward(self, *arguments: Any, **options: Any) -> Any:
            dx, gradients = super().backward(*arguments, **options)
            return dx, {"weight": gradients["weight"]}

    with pytest.raises(UsageError, match="changes its input"):
        anynet.gradcheck(Doubled(), (3,))
    with pytest.raises(UsageError, match="no gradient of bias"):
        anynet.gradcheck(Forgetful(2), (3,))


def test_gradcheck_checks_a_loss_at_the_prediction_it_is_given() -> None:
    class WrongFarOut(nn.MSELoss):
        def __call__(self, xp: Any, prediction: Any, target: Any, weight: Any) -> Any:
            value, gradient = super().__call__(xp, prediction, target, weight)
            return value, gradient * xp.where(prediction > 100, 2.0, 1.0)

    assert anynet.gradcheck(WrongFarOut(), (2,)).error < 1e-7
    assert anynet.gradcheck(WrongFarOut(), np.full((3, 2), 1000.0)).error > 0.1


def test_gradcheck_finds_a_wrong_gradient_and_says_where() -> None:
    class Wrong(nn.Linear):
        def backward(self, *arguments: Any, **options: Any) -> Any:
            dx, gradients = super().backward(*arguments, **options)
            gradients["weight"][1, 0] *= 1.01
            return dx, gradients

    check = anynet.gradcheck(nn.Sequential(nn.Tanh(), Wrong(2)), (3,))
    assert check.error > 1e-3
    assert check.where == "1.weight[1, 0]"


GRADCHECKS = [
    (lambda: gradcheck("mse", (2,)), "the layer, loss or Model to check is 'mse', which is no layer"),
    (lambda: gradcheck(MSELoss, (2,)), "the loss is the class MSELoss; make one, as in MSELoss(...)"),
    (lambda: gradcheck(Model, (2,)), "the layer, loss or Model to check is the class Model; make one"),
    (lambda: gradcheck([Linear(2)], (2,)), "the layer, loss or Model to check is a list, which is no layer: wrap"),
    (lambda: gradcheck(Unkind(), (2,)), "unknown target_kind of a loss 'label'"),
    (lambda: gradcheck(Linear(2), None), "x is missing"),
    (lambda: gradcheck(Linear(2), (1.5,)), "the shape of a sample must be a tuple of whole numbers, such as (784,)"),
    (lambda: gradcheck(ReLU(), (2**59,)), "the shape of x is (3, 576460752303423488), which is more numbers than"),
    (lambda: gradcheck(Linear(2), (0,)), "the samples hold no numbers: x has shape (3, 0)"),
    (lambda: gradcheck(Linear(2), np.ones((0, 2))), "there are no samples: x has shape (0, 2)"),
    (lambda: gradcheck(Linear(2), [["a"]]), "x must hold numbers, but its dtype is <U1"),
    (lambda: gradcheck(Linear(2), [[1j]]), "x must hold numbers, but its dtype is complex128"),
    (lambda: gradcheck(Linear(2), [[np.nan]]), "x holds nan in row 0"),
    (lambda: gradcheck(model().build((2,)), (3,)), "the network takes samples of shape (2,), but x has samples of"),
    (lambda: gradcheck(model(), (3,)), "the model has no weights yet"),
    (lambda: gradcheck(Linear(2), (3,), loss="mse"), "the loss is 'mse': give one of anynet.nn, such as MSELoss()"),
    (lambda: gradcheck(MSELoss(), (3,), loss=MSELoss()), "loss is for a layer"),
    (lambda: gradcheck(model().build((3,)), (3,), loss=MSELoss()), "loss is for a layer"),
    (lambda: gradcheck(Linear(2), (3,), [[1.0, 2.0]] * 3), "a target needs a loss that compares the output with it"),
    (lambda: gradcheck(Linear(2), (3,), [1], loss=MSELoss()), "x has 3 samples, so the target must have as many"),
    (lambda: gradcheck(MSELoss(), (3,), [1, 2, 3]), "the network's output has shape (3,) for each sample, so MSELoss"),
    (lambda: gradcheck(CrossEntropyLoss(), (3,), [1, 5, 2]), "the network tells 3 classes apart, so labels must be"),
    (lambda: gradcheck(CrossEntropyLoss(), (2, 3)), "CrossEntropyLoss needs one row of class scores a sample"),
    (lambda: gradcheck(CrossEntropyLoss(), ()), "CrossEntropyLoss needs one row of class scores a sample"),
    (lambda: gradcheck(Linear(2), (3,), seed=1.5), "seed must be a whole number, 0 or more, but is 1.5"),
    (lambda: gradcheck(Linear(2), (3,), elements=-1), "elements must be a whole number, 0 or more, but is -1"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "words"), GRADCHECKS, ids=[words for _, words in GRADCHECKS])
def test_what_no_gradients_can_be_checked_of_is_refused_in_words(check: Any, words: str) -> None:
    assert said(check).startswith(words)


@pytest.mark.parametrize("x", [(3,), [[1, 2, 3]], np.ones((2, 3), np.uint8), np.ones((2, 3), bool)])
def test_gradients_are_checked_at_inputs_of_any_kind_of_number(x: Any) -> None:
    assert gradcheck(Linear(2), x, seed=np.int64(1), elements=np.int64(2)).error < 1e-7
    assert gradcheck(Linear(1), x, [1] * len(x) if isinstance(x, list) else None, loss=MSELoss()).error < 1e-7
