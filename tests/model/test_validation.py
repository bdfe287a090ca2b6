"""What is said of parts, validation data and arrays that a model cannot take, in full."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from model.refusals import X, model, said

from anynet.backends import to_numpy
from anynet.errors import AnynetError, DataError, ShapeError, UsageError
from anynet.nn import SGD, CrossEntropyLoss, Linear
from anynet.training import Metric

ARRAYS = {"weight": np.ones((2, 3)), "bias": np.zeros(3)}


def test_what_is_no_optimizer_is_told_what_one_has() -> None:
    words = "expected an object with lr, weight_decay, init and update, such as SGD(lr=0.1)"
    assert said(lambda: model(optimizer=0.1)) == f"the optimizer is 0.1, which is no optimizer: {words}"


def test_an_optimizer_is_derived_from_the_base_of_all() -> None:
    class Own:
        lr, weight_decay, init, update = 0.1, 0.0, None, None

        def __repr__(self) -> str:
            return "Own()"

    assert said(lambda: model(optimizer=Own())) == "the optimizer is Own(): derive Own from anynet.nn.Optimizer"


def test_a_schedule_is_named_with_what_it_gives() -> None:
    @dataclass(frozen=True)
    class Bare:
        """Gives what has a shape and no dtype."""

        def __call__(self, xp: Any, step: Any) -> Any:
            return SimpleNamespace(shape=())

    words = "a schedule must give a 0-d array of the dtype of step, but "
    found = said(lambda: model(optimizer=SGD(lr=Bare())))
    assert found.startswith(words)
    assert found.endswith(".Bare() gives namespace(shape=()) for a step of float32")


def test_an_object_among_callbacks_gets_no_hint_for_classes() -> None:
    found = said(lambda: model().fit(X, X[:, :1], callbacks=[3]))
    assert found == "callbacks must hold objects of the class Callback, but hold 3"


def test_an_object_among_metrics_gets_no_hint_for_classes() -> None:
    assert said(lambda: model(metrics=[3])) == "metrics must hold objects of the class Metric, but hold 3"


@pytest.mark.parametrize(("given", "found"), [((X,), "1 of them"), ([X] * 4, "4 of them"), (3, "int"), (X, "ndarray")])
def test_validation_data_are_counted_or_named(given: Any, found: str) -> None:
    words = "validation_data must be (x, y) or (x, y, sample_weight), but got "
    assert said(lambda: model().fit(X, X[:, :1], validation_data=given)) == words + found


@pytest.mark.parametrize("given", [(X, X[:, :1]), [X, X[:, :1], np.arange(6)]])
def test_validation_data_may_be_a_tuple_or_a_list_with_weights_or_without(given: Any) -> None:
    assert "val_loss" in model().fit(X, X[:, :1], validation_data=given)[0]


@pytest.mark.parametrize("norm", [True, "1", 0, -1, float("inf"), float("nan"), 10**400])
def test_gradients_are_clipped_to_a_finite_norm(norm: Any) -> None:
    assert said(lambda: model(clip_norm=norm)).startswith("clip_norm must be a finite number above 0, or None, but is ")
    assert model(clip_norm=0.5).clip_norm == 0.5


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        (
            {"weight": np.ones((3, 2))},
            ShapeError,
            "weight has shape (2, 3), but the array for it has (3, 2); transpose it",
        ),
        ({"weight": np.ones((4, 3))}, ShapeError, "weight has shape (2, 3), but the array for it has (4, 3)"),
        ({"weight": np.ones((3, 2, 1))}, ShapeError, "weight has shape (2, 3), but the array for it has (3, 2, 1)"),
        ({"bias": np.ones((1, 3))}, ShapeError, "bias has shape (3,), but the array for it has (1, 3)"),
        ({"bias": np.asarray(["1"] * 3)}, DataError, "bias must hold numbers, but its dtype is <U1"),
        (
            {"weight": [[1, 2, 3], [4, np.nan, np.inf]]},
            DataError,
            "the array for weight holds nan at (1, 1): every value must be a finite float32",
        ),
        (
            {"bias": [0, 0, -1e300]},
            DataError,
            "the array for bias holds -inf at (2,): every value must be a finite float32",
        ),
        ({"biass": np.ones(3)}, UsageError, "unknown parameter 'biass': did you mean 'bias'? (known: weight, bias)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_and_change_nothing(
    changed: Any, error: type[AnynetError], words: str, backend_name: str
) -> None:
    given = model(Linear(3), loss=CrossEntropyLoss(), backend=backend_name)
    with pytest.raises(error) as caught:
        given.build((2,), changed)
    assert str(caught.value) == words
    assert given.input_shape is None
    given.build((2,), ARRAYS)
    with pytest.raises(error) as caught:
        given.put({**ARRAYS, **changed})
    assert str(caught.value) == words
    np.testing.assert_array_equal(given.parameters["weight"], ARRAYS["weight"])


def test_all_arrays_must_be_put_and_some_may_be_built() -> None:
    given = model(Linear(3)).build((2,), {"weight": ARRAYS["weight"]})
    np.testing.assert_array_equal(given.parameters["weight"], ARRAYS["weight"])
    words = "to change some, give {**model.parameters, name: array}"
    assert said(lambda: given.put({"weight": ARRAYS["weight"]})) == f"there is no array for bias; {words}"
    assert said(lambda: given.put({})) == f"there is no array for weight, bias; {words}"


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float16])
def test_arrays_of_any_numbers_become_those_of_the_model(kind: Any, backend_name: str) -> None:
    given = model(Linear(3), backend=backend_name).build(
        (2,), {name: array.astype(kind) for name, array in ARRAYS.items()}
    )
    assert all(array.dtype == np.float32 for array in given.parameters.values())
    np.testing.assert_array_equal(to_numpy(given.parameters["weight"]), ARRAYS["weight"])


class Told(Metric):
    """A metric that tells all but what is left out."""

    name = "told"
    higher_is_better = True

    def update(self, xp: Any, loss: Any, prediction: Any, target: Any, weight: Any) -> Any:
        return {"weight": xp.sum(weight)}

    def compute(self, means: Any) -> float:
        return float(means["weight"])

    def __repr__(self) -> str:
        return "Told()"


@pytest.mark.parametrize("member", ["name", "higher_is_better", "update", "compute"])
def test_a_metric_has_four_members_of_its_own(member: str) -> None:
    members = {name: getattr(Told, name) for name in ("update", "compute", "name", "higher_is_better", "__repr__")}
    bare = type("Told", (Metric,), {name: value for name, value in members.items() if name != member})
    assert said(lambda: model(metrics=[bare()])) == f"Told() is a metric that has no {member}"
    given = bare()
    vars(given)[member] = members[member]
    assert model(metrics=[given]).metrics == (given,)


@pytest.mark.parametrize(("name", "higher"), [("", True), (3, True), ("told", None), ("told", 1)])
def test_a_metric_has_a_text_and_a_truth(name: Any, higher: Any) -> None:
    given = Told()
    given.name, given.higher_is_better = name, higher
    words = "Told() must have a text as its name, and True or False as higher_is_better"
    assert said(lambda: model(metrics=[given])) == words


def test_metrics_that_share_a_name_with_each_other_or_the_loss_are_refused() -> None:
    loss, other = Told(), Told()
    loss.name, other.name = "loss", "other"
    words = "each metric needs a name of its own, but there are two "
    assert said(lambda: model(metrics=[other, loss])) == words + "'loss'"
    assert said(lambda: model(metrics=[other, Told(), Told()])) == words + "'told'"
    assert model(metrics=iter([other, Told()])).metrics is not None


def test_a_metric_measures_targets_of_some_kinds_only() -> None:
    class Narrow(Told):
        target_kinds = ("class", "probability")

    words = "Told() measures a target of class or probability, but MSELoss() is for a value"
    assert said(lambda: model(metrics=[Narrow()])) == words
    assert model(loss=CrossEntropyLoss(), metrics=[Narrow()]).metrics is not None


def test_what_a_metric_needs_of_the_loss_is_named() -> None:
    class Needing(Told):
        needs = ("__call__", "differentiable", "probabilities")

    words = "Told() needs a loss with differentiable, but MSELoss() has none"
    assert said(lambda: model(metrics=[Needing()])) == words
