"""Layers that cannot be, and shapes and first values that do not fit them: what is said, and by which name."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from anynet import nn
from anynet.errors import ShapeError, UsageError
from anynet.nn import Layout


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        (nn.Linear(2), (), "at least one axis"),
        (nn.Softmax(), (), "Softmax needs samples with at least one axis"),
        (nn.LogSoftmax(), (), "LogSoftmax needs samples with at least one axis"),
        (nn.PReLU(per_channel=True), (), "PReLU needs samples with at least one axis"),
        (nn.Rescale(scale=(1.0, 2.0)), (3,), "2 numbers as scale.*shape \\(3,\\)"),
        (nn.Linear(2, bias=nn.HeNormal()), (3,), "shape \\(inputs, outputs\\), but it has shape \\(2,\\)"),
        (nn.Linear(2, weight=nn.Values([[1.0]])), (3,), "shape \\(3, 2\\).*given values have \\(1, 1\\)"),
        (
            nn.Linear(2, bias=lambda generator, shape: [0.0]),
            (3,),
            "bias, must give .* \\(2,\\), but gives one of \\(1,\\)",
        ),
        (nn.Linear(2), 784, "must be a tuple of whole numbers, such as \\(784,\\), but is 784"),
        (nn.Linear(2), (2.5,), "tuple of whole numbers"),
        (nn.Linear(2), (-1,), "tuple of whole numbers"),
        (nn.Sequential(nn.Flatten(), nn.Rescale(scale=(1.0,))), (3,), "layer 1 \\(Rescale\\)"),
    ],
)
def test_shapes_that_do_not_fit_are_named(layer: Any, shape: Any, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        Layout(layer, shape).initial(np, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.Linear(0), "Linear: out_features must be a whole number, 1 or more, but is 0"),
        (lambda: nn.Linear(2.5), "1 or more, but is 2.5"),
        (lambda: nn.Linear("8"), "1 or more, but is '8', which is no real number"),
        (lambda: nn.Linear(True), "1 or more, but is True"),
        (lambda: nn.Linear(4, 8), r"number of outputs alone, as in Linear\(8\): inputs are inferred"),
        (lambda: nn.Linear(8, bias=False), r"must be an initializer such as Zeros\(\) \(there is always a bias\)"),
        (lambda: nn.Linear(8, nn.HeNormal), "an initializer such as HeNormal\\(\\), but is the class HeNormal"),
        (lambda: nn.LeakyReLU(-1.0), "LeakyReLU: negative_slope must be 0 or more, but is -1.0"),
        (lambda: nn.ELU("1"), "ELU: alpha must be a finite number, but is '1', which is no real number"),
        (lambda: nn.GELU("exact"), 'GELU: approximate must be "none" or "tanh", but is \'exact\''),
        (lambda: nn.Softplus(0), "Softplus: beta must be above 0 and finite, but is 0"),
        (lambda: nn.PReLU(3), "PReLU: per_channel must be True or False, but is 3"),
        (lambda: nn.PReLU(init=math.nan), "PReLU: init must be a finite number, but is nan"),
        (lambda: nn.Dropout("0.5"), "Dropout: p must be at least 0 and below 1, but is '0.5'"),
        (lambda: nn.Rescale("x"), "a finite number, but one is 'x'"),
        (lambda: nn.Rescale([1.0, math.nan]), "a finite number, but one is nan"),
        (lambda: nn.Sequential(nn.ReLU), r"layer 0 of Sequential is the class ReLU; make one, as in ReLU\(...\)"),
        (lambda: nn.Sequential(nn.Linear(2), 3), "layer 1 of Sequential is 3, which is no layer"),
        (lambda: nn.Sequential([nn.Linear(2)]), r"Sequential\(\*layers\), not Sequential\(layers\)"),
        (lambda: nn.Sequential(nn.ReLU(), [nn.ReLU()]), r"layer 1 of Sequential is a list.*Sequential\(\*layers\)"),
        (lambda: nn.Frozen(nn.ReLU), "to be Frozen is the class ReLU"),
    ],
)
def test_a_layer_that_cannot_be_is_refused(make: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make()


def test_a_layer_that_lacks_a_method_is_refused_by_its_name() -> None:
    class Half(nn.Layer):
        def backward(self, *arguments: Any) -> Any: ...

    with pytest.raises(UsageError, match=r"layer 1 of Sequential is .*Half.*, a layer that has no method forward"):
        nn.Sequential(nn.ReLU(), Half())


def test_what_has_a_layers_methods_but_not_its_base_is_told_what_to_do() -> None:
    class Alike:
        forward = backward = parameters = None

    with pytest.raises(UsageError, match=r"which is no layer: derive Alike from anynet\.nn\.Layer"):
        nn.Sequential(Alike())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("initializer", "words"),
    [
        (lambda: 0.0, r"is called as initializer\(generator, shape\), but: .*takes 0 positional arguments"),
        (lambda generator, shape: None, "must give finite numbers, but gives None"),
        (lambda generator, shape: "abc", "must give an array of numbers, but gives 'abc'"),
        (lambda generator, shape: [1.0, math.inf], "must give finite numbers"),
    ],
)
def test_first_values_that_cannot_be_are_refused(initializer: Any, words: str) -> None:
    with pytest.raises(UsageError, match=f"the initializer of bias, {words}"):
        Layout(nn.Linear(2, bias=initializer), (3,)).initial(np, np.random.default_rng(0))
