"""The metrics of a model: those it may have, also of one's own, and what training and files make of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training.predictions import CLASSES, LABELS, MANY, ONE, ROWS, THREE, YES, passing

from anynet import Model
from anynet.errors import CheckpointError, UsageError
from anynet.model import Checkpoints
from anynet.model.checkpoints import latest, read
from anynet.nn import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss
from anynet.training import ROCAUC, Accuracy, EarlyStopping, F1Score, MeanAbsoluteError, Metric, R2Score


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
        with pytest.raises(UsageError, match=r"R2Score\(\) measures a target of value, but CrossEntropyLoss\("):
            model.loss = CrossEntropyLoss()

    def test_one_needs_what_it_calls_of_the_loss(self) -> None:
        class Bare:
            target_kind = "class"

            def __call__(self, *_: Any) -> Any: ...

        with pytest.raises(UsageError, match=r"Accuracy\(\) needs a loss with classify, but .*Bare.* has none"):
            passing(3, Bare(), [Accuracy()])
