"""What every metric promises: the numbers of scikit-learn, on any library, whatever the batches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chosen import BACKEND
from sklearn import metrics as sklearn

from anynet import Model
from anynet.errors import CheckpointError, UsageError
from anynet.model import Checkpoints
from anynet.model.checkpoints import latest, read
from anynet.nn import SGD, BCEWithLogitsLoss, CrossEntropyLoss, Linear, MSELoss, Values
from anynet.training import (
    ROCAUC,
    Accuracy,
    Callback,
    EarlyStopping,
    F1Score,
    MeanAbsoluteError,
    Metric,
    R2Score,
    RootMeanSquaredError,
)
from anynet.training.metrics import METRICS
from anynet.training.stopping import higher_is_better

ROWS = 2500
GENERATOR = np.random.default_rng(4)
WEIGHT = GENERATOR.uniform(0.1, 2.0, ROWS)


def passing(columns: int, loss: Any, metrics: Any, backend: str = BACKEND) -> Model:
    """A model that predicts what it is given."""
    layer = Linear(columns, weight=Values(np.eye(columns).tolist()))
    return Model(layer, loss, SGD(0.1), metrics=metrics, backend=backend, dtype="float64")


def logits(columns: int) -> Any:
    return 2 * GENERATOR.normal(size=(ROWS, columns))


THREE, TWO, ONE, MANY = logits(3), logits(2), logits(1), logits(4)
CLASSES = np.where(GENERATOR.random(ROWS) < 0.5, THREE.argmax(axis=1), GENERATOR.integers(0, 3, ROWS))
SECOND = (TWO[:, 1] - TWO[:, 0] + 2 * GENERATOR.normal(size=ROWS) > 0).astype(int)
YES = (ONE + 2 * GENERATOR.normal(size=(ROWS, 1)) > 0).astype(float)
LABELS = (MANY + GENERATOR.normal(size=MANY.shape) > 1).astype(float)
VALUES = 1e4 + MANY + GENERATOR.normal(size=MANY.shape)


def chance(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def softmax(z: Any) -> Any:
    return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)


def of_columns(measure: Any, target: Any, predicted: Any, **options: Any) -> Any:
    return np.mean([measure(target[:, i], predicted[:, i], **options) for i in range(target.shape[1])])


W = {"sample_weight": WEIGHT}
# The metric, the loss, predictions and targets, and what scikit-learn makes of them.
CASES: dict[str, tuple[Metric, Any, Any, Any, float]] = {
    "accuracy": (Accuracy(), CrossEntropyLoss(), THREE, CLASSES, sklearn.accuracy_score(CLASSES, THREE.argmax(1), **W)),
    "accuracy of labels": (
        Accuracy(),
        BCEWithLogitsLoss(),
        MANY,
        LABELS,
        of_columns(sklearn.accuracy_score, LABELS, MANY >= 0, **W),
    ),
    "f1 of many classes": (
        F1Score(),
        CrossEntropyLoss(),
        THREE,
        CLASSES,
        sklearn.f1_score(CLASSES, THREE.argmax(1), average="macro", **W),
    ),
    "f1 of two classes": (F1Score(), CrossEntropyLoss(), TWO, SECOND, sklearn.f1_score(SECOND, TWO.argmax(1), **W)),
    "f1 of one output": (F1Score(), BCEWithLogitsLoss(), ONE, YES, sklearn.f1_score(YES, ONE >= 0, **W)),
    "f1 of labels": (
        F1Score(),
        BCEWithLogitsLoss(),
        MANY,
        LABELS,
        sklearn.f1_score(LABELS, MANY >= 0, average="macro", **W),
    ),
    "roc_auc of many classes": (
        ROCAUC(),
        CrossEntropyLoss(),
        THREE,
        CLASSES,
        of_columns(sklearn.roc_auc_score, np.eye(3)[CLASSES], softmax(THREE), **W),
    ),
    "roc_auc of two classes": (
        ROCAUC(),
        CrossEntropyLoss(),
        TWO,
        SECOND,
        sklearn.roc_auc_score(SECOND, softmax(TWO)[:, 1], **W),
    ),
    "roc_auc of one output": (ROCAUC(), BCEWithLogitsLoss(), ONE, YES, sklearn.roc_auc_score(YES, chance(ONE), **W)),
    "roc_auc of labels": (
        ROCAUC(),
        BCEWithLogitsLoss(),
        MANY,
        LABELS,
        sklearn.roc_auc_score(LABELS, chance(MANY), average="macro", **W),
    ),
    "r2": (R2Score(), MSELoss(), 1e4 + MANY, VALUES, sklearn.r2_score(VALUES, 1e4 + MANY, **W)),
    "mae": (MeanAbsoluteError(), MSELoss(), MANY, LABELS, sklearn.mean_absolute_error(LABELS, MANY, **W)),
    "rmse": (
        RootMeanSquaredError(),
        MSELoss(),
        MANY,
        LABELS,
        np.sqrt(sklearn.mean_squared_error(LABELS, MANY, **W)),
    ),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_it_is_what_scikit_learn_measures(case: Any, backend_name: str) -> None:
    metric, loss, prediction, target, expected = case
    measured = passing(prediction.shape[1], loss, [metric], backend_name).evaluate(prediction, target, WEIGHT)
    assert measured[metric.name] == pytest.approx(expected, rel=1e-9)


def test_every_metric_of_the_package_has_a_case() -> None:
    assert {type(metric) for metric, *_ in CASES.values()} == set(METRICS)


def test_r2_does_not_cancel_where_the_mean_is_large_in_float32(backend_name: str) -> None:
    model = Model(Linear(1, Values([[1.0]])), MSELoss(), SGD(0.1), metrics=[R2Score()], backend=backend_name)
    target = 1e4 + np.arange(4000.0)[:, None] / 1000
    assert model.evaluate(target + 0.5, target)["r2"] == pytest.approx(sklearn.r2_score(target, target + 0.5), abs=2e-3)


def test_r2_of_a_target_that_does_not_vary_is_one_where_it_is_met_else_zero() -> None:
    x = np.asarray([[2.0, 1.0], [2.0, 3.0]])
    assert passing(2, MSELoss(), [R2Score()]).evaluate(x, np.full((2, 2), 2.0))["r2"] == 0.5


def test_samples_without_weight_count_for_nothing() -> None:
    weight = WEIGHT.copy()
    weight[:1500] = 0
    model = passing(4, MSELoss(), [R2Score(), MeanAbsoluteError()])
    some, rest = model.evaluate(MANY, VALUES, weight), model.evaluate(MANY[1500:], VALUES[1500:], weight[1500:])
    assert some == pytest.approx(rest)


def test_roc_auc_of_one_class_alone_is_no_number_and_f1_of_none_is_zero() -> None:
    model = passing(1, BCEWithLogitsLoss(), [ROCAUC(), F1Score()])
    measured = model.evaluate(-np.ones((5, 1)), np.zeros((5, 1)))
    assert np.isnan(measured["roc_auc"])
    assert measured["f1"] == 0.0


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 20.0), (0.001, 0.0), (100.0, 0.0), (1e-6, 5.0)])
@pytest.mark.parametrize("loss", [BCEWithLogitsLoss(), CrossEntropyLoss()], ids=repr)
def test_roc_auc_is_exact_however_sure_the_network_is(loss: Any, scale: float, offset: float) -> None:
    second = (scale * TWO[:, 1:] + offset).astype(np.float64)
    prediction = second if isinstance(loss, BCEWithLogitsLoss) else np.hstack([np.zeros_like(second), second])
    target = SECOND[:, None].astype(float) if isinstance(loss, BCEWithLogitsLoss) else SECOND
    measured = passing(prediction.shape[1], loss, [ROCAUC()]).evaluate(prediction, target)["roc_auc"]
    assert measured == pytest.approx(sklearn.roc_auc_score(SECOND, second), abs=1e-5)


def test_a_label_that_never_occurs_counts_as_0_in_f1_as_in_scikit_learn() -> None:
    prediction, target = MANY.copy(), LABELS.copy()
    prediction[:, 1], target[:, 1] = -1.0, 0.0
    expected = sklearn.f1_score(target, prediction >= 0, average="macro", zero_division=0)
    assert passing(4, BCEWithLogitsLoss(), [F1Score()]).evaluate(prediction, target)["f1"] == pytest.approx(expected)


@pytest.mark.parametrize(("value", "expected"), [(0.1, 0.0), (1e4 + 0.3, 0.0)])
def test_r2_of_a_constant_is_not_a_rounding_error(value: float, expected: float, backend_name: str) -> None:
    model = Model(Linear(1, Values([[1.0]])), MSELoss(), SGD(0.1), metrics=[R2Score()], backend=backend_name)
    target = np.full((1500, 1), value)
    assert model.evaluate(target * 1.01, target)["r2"] == expected


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("scale", [1e-30, 1e25])
def test_r2_is_no_number_where_squares_do_not_fit(scale: float, backend_name: str) -> None:
    model = Model(Linear(1, Values([[1.0]])), MSELoss(), SGD(0.1), metrics=[R2Score()], backend=backend_name)
    assert np.isnan(model.evaluate(-scale * ONE, scale * ONE)["r2"])


def test_metrics_given_take_the_place_of_accuracy() -> None:
    measured = passing(3, CrossEntropyLoss(), [F1Score(), ROCAUC()]).evaluate(THREE, CLASSES)
    assert list(measured) == ["loss", "f1", "roc_auc"]
    assert list(passing(3, CrossEntropyLoss(), None).evaluate(THREE, CLASSES)) == ["loss", "accuracy"]
    assert list(passing(3, CrossEntropyLoss(), []).evaluate(THREE, CLASSES)) == ["loss"]


@dataclass(frozen=True)
class Largest(Metric):
    """A total that is no sum."""

    name = "largest"
    higher_is_better = False

    def update(self, xp: Any, loss: Any, prediction: Any, target: Any, weight: Any) -> Any:
        return {"largest": xp.max(xp.abs(prediction)), "weight": xp.sum(weight)}

    def reduce(self, totals: Any) -> Any:
        return {"largest": max(t["largest"] for t in totals), "weight": sum(t["weight"] for t in totals)}

    def compute(self, means: Any) -> float:
        return float(means["largest"] / means["weight"])


@dataclass(frozen=True)
class Beyond(Metric):
    """The share of outputs above a threshold; one metric for each threshold."""

    threshold: float
    name: str
    higher_is_better = True

    def update(self, xp: Any, loss: Any, prediction: Any, target: Any, weight: Any) -> Any:
        return {"share": xp.sum(weight * xp.mean(xp.astype(prediction > self.threshold, weight.dtype), axis=1))}

    def compute(self, means: Any) -> float:
        return float(means["share"])


def test_one_with_a_parameter_may_be_there_twice(backend_name: str) -> None:
    measured = passing(4, MSELoss(), [Beyond(0.0, "beyond/0.0"), Beyond(1.0, "beyond/1.0")], backend_name).evaluate(
        MANY, LABELS
    )
    for threshold in (0.0, 1.0):
        assert measured[f"beyond/{threshold}"] == pytest.approx((threshold < MANY).mean())


@pytest.mark.parametrize("rows", [10, 1024, ROWS])
def test_one_of_ones_own_may_reduce_otherwise(rows: int, backend_name: str) -> None:
    measured = passing(4, MSELoss(), [Largest()], backend_name).evaluate(MANY[:rows], LABELS[:rows])
    assert measured["largest"] == pytest.approx(np.abs(MANY[:rows]).max() / rows)


class TestOfAModel:
    def model(self, *metrics: Metric) -> Model:
        return passing(4, MSELoss(), list(metrics))

    def test_are_in_records_of_validation_and_early_stopping_asks_them(self) -> None:
        stopping = {metric.name: EarlyStopping(f"val_{metric.name}", 99) for metric in (R2Score(), MeanAbsoluteError())}
        model = self.model(R2Score(), MeanAbsoluteError())
        history = model.fit(MANY, LABELS, epochs=4, validation_data=(MANY, LABELS), callbacks=[*stopping.values()])
        assert stopping["r2"].best == max(record["val_r2"] for record in history)
        assert stopping["mae"].best == min(record["val_mae"] for record in history)

    def test_the_best_checkpoint_asks_them(self, tmp_path: Path) -> None:
        options: dict[str, Any] = {"epochs": 3, "validation_data": (MANY, LABELS)}
        history = self.model(R2Score()).fit(MANY, LABELS, checkpoints=Checkpoints(tmp_path, best="val_r2"), **options)
        best = int(np.argmax([record["val_r2"] for record in history])) + 1
        assert read(tmp_path / "best.safetensors")[1]["epoch"] == best

    def test_a_training_whose_metric_is_no_number_goes_on_from_its_checkpoint(self, tmp_path: Path) -> None:
        def fit(model: Model, **options: Any) -> Any:
            return model.fit(ONE, YES, epochs=3, validation_data=(ONE[:9], np.zeros((9, 1))), **options)

        whole, first, resumed = (passing(1, BCEWithLogitsLoss(), [ROCAUC()]) for _ in range(3))
        fit(whole)
        fit(first, checkpoints=Checkpoints(tmp_path, every_seconds=0, keep=9))
        history = fit(resumed, resume=sorted(tmp_path.glob("checkpoint-*"))[1])
        assert [np.isnan(record["val_roc_auc"]) for record in history] == [True] * 3
        np.testing.assert_array_equal(resumed.parameters["weight"], whole.parameters["weight"])

    @pytest.mark.host
    def test_one_that_no_file_can_hold_is_refused_before_training(self, tmp_path: Path) -> None:
        class Plain(Metric):
            name, higher_is_better = "plain", True

            def update(self, xp: Any, loss: Any, prediction: Any, target: Any, weight: Any) -> Any:
                return {}

            def compute(self, means: Any) -> float:
                return 0.0

        with pytest.raises(UsageError, match="cannot be written to a file: it must be a dataclass"):
            self.model(Plain()).fit(MANY, LABELS, checkpoints=Checkpoints(tmp_path))

    def test_are_saved_loaded_and_copied(self, tmp_path: Path) -> None:
        model = self.model(R2Score(), Largest())
        model.build((4,)).save(tmp_path / "model.safetensors")
        loaded = Model.load(tmp_path / "model.safetensors", known=[Largest])
        assert loaded.metrics == (R2Score(), Largest())
        assert loaded.evaluate(MANY, LABELS) == model.evaluate(MANY, LABELS)
        with pytest.raises(Exception, match="unknown layer, loss, optimizer or metric 'Largest'"):
            Model.load(tmp_path / "model.safetensors")

    def test_may_be_assigned(self) -> None:
        model = self.model()
        assert list(model.evaluate(MANY, LABELS)) == ["loss"]
        model.metrics = [R2Score()]  # type: ignore[assignment]
        assert list(model.evaluate(MANY, LABELS)) == ["loss", "r2"]

    def test_a_training_that_goes_on_must_measure_the_same(self, tmp_path: Path) -> None:
        options: dict[str, Any] = {"epochs": 2, "validation_data": (MANY, LABELS)}
        self.model(R2Score()).fit(MANY, LABELS, checkpoints=Checkpoints(tmp_path, every_seconds=0), **options)
        with pytest.raises(CheckpointError, match=r"written by another model, with metrics .*R2Score"):
            self.model().fit(MANY, LABELS, resume=latest(tmp_path), **options)

    @pytest.mark.parametrize(
        ("metrics", "words"),
        [
            (R2Score(), r"metrics must be a list, such as \[Accuracy\(\)\]"),
            ("r2", "metrics must be a list"),
            (3, "metrics must be a list"),
            ([R2Score], r"but hold .*R2Score.*; make one, as in R2Score\(\)"),
            (["r2"], "metrics must hold objects of the class Metric, but hold 'r2'"),
            ([R2Score(), R2Score()], "there are two 'r2'"),
            ([Metric()], "is a metric that has no name"),
            ([Accuracy()], r"Accuracy\(\) measures a target of class or probability, but MSELoss\(\) is for a value"),
        ],
    )
    def test_that_cannot_be_are_refused(self, metrics: Any, words: str) -> None:
        with pytest.raises(UsageError, match=words):
            passing(4, MSELoss(), metrics)

    @pytest.mark.parametrize(
        ("returned", "computed", "words"),
        [
            (None, 0.0, "update must return a dict of arrays, but returns None"),
            ({}, "high", "compute must return a number"),
        ],
    )
    def test_must_return_what_can_be_summed_and_a_number(self, returned: Any, computed: Any, words: str) -> None:
        class Odd(Largest):
            def update(self, *_: Any) -> Any:
                return returned

            def reduce(self, totals: Any) -> Any:
                return totals[0]

            def compute(self, means: Any) -> Any:
                return computed

        with pytest.raises(UsageError, match=words):
            self.model(Odd()).evaluate(MANY, LABELS)

    @pytest.mark.parametrize(("name", "higher"), [("", True), (None, True), (3, True), ("odd", None)])
    def test_must_have_a_name_and_a_direction(self, name: Any, higher: Any) -> None:
        class Odd(Largest):
            pass

        Odd.name, Odd.higher_is_better = name, higher
        words = "must have a text as its name, and True or False as higher_is_better|has no (name|higher_is_better)"
        with pytest.raises(UsageError, match=words):
            self.model(Odd())

    def test_another_loss_must_fit_them(self) -> None:
        model = self.model(R2Score())
        with pytest.raises(UsageError, match=r"R2Score\(\) measures a target of value, but CrossEntropyLoss\(\)"):
            model.loss = CrossEntropyLoss()

    def test_one_needs_what_it_calls_of_the_loss(self) -> None:
        class Bare:
            target_kind = "class"

            def __call__(self, *_: Any) -> Any: ...

        with pytest.raises(UsageError, match=r"Accuracy\(\) needs a loss with classify, but .*Bare.* has none"):
            passing(3, Bare(), [Accuracy()])


class TestWhichWayIsBetter:
    @pytest.mark.parametrize("name", ["val_loss", "loss"])
    def test_is_known_of_the_loss(self, name: str) -> None:
        assert not higher_is_better(name, {"loss": False, "val_loss": False})

    def test_of_a_measure_that_a_callback_adds_needs_a_mode(self) -> None:
        class Add(Callback):
            def on_epoch_end(self, model: Model, record: dict[str, float]) -> None:
                record["mine"] = -model.epoch

        model = passing(4, MSELoss(), None)
        with pytest.raises(UsageError, match=r"unknown measure 'mine'.*known: loss\); give mode=\"min\" or mode="):
            model.fit(MANY, LABELS, callbacks=[EarlyStopping("mine"), Add()])
        stopping = EarlyStopping("mine", mode="min")
        model.fit(MANY, LABELS, epochs=2, callbacks=[stopping, Add()])
        assert stopping.best == -model.epoch

    @pytest.mark.parametrize("mode", ["maximum", "", None, ["min"]])
    def test_a_mode_is_one_of_three(self, mode: Any) -> None:
        for make in (EarlyStopping, lambda mode: Checkpoints("run", best="loss", mode=mode)):
            with pytest.raises(UsageError, match=r"unknown mode .*known: auto, min, max"):
                make(mode=mode)
