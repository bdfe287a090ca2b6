"""What rows weigh, which are held back, and values that are none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from estimators.samples import THREE, TWO, VALUES, X, quick
from sklearn.base import clone
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor

from anynet.estimators import MLPClassifier, MLPRegressor, NetClassifier, NetRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("kind", [MLPClassifier, NetClassifier])
def test_class_weights_act_as_sample_weights(kind: type) -> None:
    given = {"no": 0.5, "yes": 3.0}
    by_class = quick(kind, class_weight=given).fit(X, TWO)
    by_sample = quick(kind).fit(X, TWO, sample_weight=np.asarray([given[label] for label in TWO]))
    np.testing.assert_array_equal(by_class.predict_proba(X), by_sample.predict_proba(X))
    rare = np.where(np.arange(150) < 140, "common", "rare")
    balanced, plain = (quick(kind, class_weight=how).fit(X, rare).predict_proba(X)[:, 1] for how in ("balanced", None))
    assert balanced.mean() > plain.mean() + 0.1


class TestWeights:
    @pytest.mark.parametrize("kind", [MLPClassifier, NetClassifier])
    def test_of_classes_that_leave_nothing_to_train_on_are_refused(self, kind: type) -> None:
        nothing = {"no": 0, "yes": 0}
        with pytest.raises(ValueError, match=r"sum above 0, but it is 0.0 \(class_weight is {'no': 0, 'yes': 0}\)"):
            kind(class_weight=nothing).fit(X, TWO)
        with pytest.raises(ValueError, match=r"class_weight is {'no': 0}"):
            kind(class_weight={"no": 0}).fit(X, TWO, sample_weight=(TWO == "no").astype(float))

    @pytest.mark.parametrize("solver", ["adam", "lbfgs"])
    def test_of_zero_are_refused_as_scikit_learn_refuses_them(self, solver: str) -> None:
        for kind in (MLPRegressor, TheirRegressor):
            with pytest.raises(ValueError, match="must contain at least one non-zero number"):
                kind(solver=solver).fit(X, VALUES, sample_weight=np.zeros(150))

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("scale", [1e38, 1e300, 1e-300])
    @pytest.mark.parametrize("settings", [{}, {"solver": "lbfgs"}, {"early_stopping": True}], ids=str)
    def test_act_the_same_whatever_they_are_multiplied_by(
        self, settings: dict[str, Any], scale: float, dtype: str
    ) -> None:
        weight = np.random.default_rng(3).uniform(0.1, 2, 150)
        # The penalty is divided by the sum of the weights, as it is in scikit-learn.
        one, other = (
            quick(MLPClassifier, alpha=0, max_iter=5, **settings).fit(X.astype(dtype), TWO, sample_weight=w)
            for w in (weight, scale * weight)
        )
        tolerance = 1e-4 if dtype == "float32" else 1e-9
        np.testing.assert_allclose(other.predict_proba(X), one.predict_proba(X), rtol=tolerance)

    def test_whose_sum_is_no_number_are_refused(self) -> None:
        with pytest.raises(ValueError, match="must have a finite sum above 0, but it is inf"):
            MLPRegressor().fit(X, VALUES, sample_weight=np.full(150, 1e308))

    def test_of_zero_in_a_whole_batch_teach_nothing_not_even_the_penalty(self) -> None:
        weight = (np.arange(150) < 50).astype(float)
        settings: dict[str, Any] = {"solver": "sgd", "momentum": 0.0, "alpha": 10.0, "shuffle": False, "max_iter": 1}
        whole = quick(MLPRegressor, batch_size=50, **settings).fit(X, VALUES, sample_weight=weight)
        part = quick(MLPRegressor, batch_size=50, **settings).fit(X[:50], VALUES[:50])
        np.testing.assert_array_equal(whole.predict(X), part.predict(X))

    @pytest.mark.parametrize("kind", [MLPRegressor, NetClassifier])
    def test_that_leave_nothing_to_train_on_or_to_hold_back_are_refused(self, kind: type) -> None:
        y = VALUES if kind is MLPRegressor else TWO
        with pytest.raises(ValueError, match=r"no sample that weighs anything to (train on|hold back); give X_val"):
            quick(kind, early_stopping=True).fit(X, y, sample_weight=np.arange(150) == 0)


class TestMaskedValues:
    MASKED = np.ma.masked_array(X, mask=np.arange(600).reshape(150, 4) < 3)

    @pytest.mark.parametrize(
        "arguments",
        [
            {"X": MASKED, "y": VALUES},
            {"X": X, "y": np.ma.masked_less(VALUES, np.sort(VALUES)[3])},
            {"X": X, "y": VALUES, "sample_weight": np.ma.masked_less(np.arange(150.0), 3)},
            {"X": X, "y": VALUES, "X_val": MASKED, "y_val": VALUES},
            {"X": X, "y": VALUES, "X_val": X, "y_val": np.ma.masked_less(VALUES, np.sort(VALUES)[3])},
        ],
        ids=["X", "y", "sample_weight", "X_val", "y_val"],
    )
    @pytest.mark.parametrize("kind", [MLPRegressor, NetRegressor])
    def test_are_refused_and_counted(self, kind: type, arguments: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"3 of (600|150) values are masked"):
            kind().fit(**arguments)

    def test_are_refused_when_predicting(self) -> None:
        with pytest.raises(ValueError, match="3 of 600 values are masked"):
            quick(MLPRegressor, max_iter=1).fit(X, VALUES).predict(self.MASKED)

    def test_of_which_there_are_none_are_no_hindrance(self) -> None:
        m = quick(MLPRegressor, max_iter=2).fit(np.ma.masked_array(X), VALUES)
        np.testing.assert_array_equal(m.predict(X), quick(MLPRegressor, max_iter=2).fit(X, VALUES).predict(X))


@pytest.mark.parametrize("settings", [{}, {"solver": "lbfgs"}, {"early_stopping": True}, {"batch_norm": True}], ids=str)
@pytest.mark.parametrize("y", [VALUES, TWO, THREE], ids=["values", "two classes", "three classes"])
def test_what_numpy_is_to_do_about_overflow_and_underflow_changes_nothing(y: Any, settings: dict[str, Any]) -> None:
    # Logits this far apart leave a probability smaller than any number.
    x = np.concatenate([X, 1e4 * X])
    m = quick(MLPRegressor if y is VALUES else MLPClassifier, max_iter=3, **settings)
    expected = clone(m).fit(x, np.tile(y, 2))
    with np.errstate(all="raise"):
        m.fit(x, np.tile(y, 2))
        for method in ("predict", "predict_proba", "predict_log_proba"):
            if hasattr(m, method):
                np.testing.assert_array_equal(getattr(m, method)(x), getattr(expected, method)(x))


def test_one_class_alone_is_learned_as_scikit_learn_learns_it() -> None:
    for kind in (MLPClassifier, NetClassifier, TheirClassifier):
        m = kind(max_iter=3, random_state=0).fit(X, ["yes"] * 150)
        assert m.classes_.tolist() == ["yes"]
        assert (m.predict(X) == "yes").all()


@pytest.mark.parametrize(
    ("kind", "y", "words"),
    [
        (MLPClassifier, ["ham"] + ["spam"] * 20, r"0\.1 of 21 samples \('ham' has 1, 'spam' has 20\); give X_val"),
        (NetClassifier, [7] * 2 + [3] * 3, r"0\.1 of 5 samples \(3 has 3, 7 has 2\); give X_val"),
        (MLPClassifier, ["a"], r"0\.1 of 1 samples; give X_val"),
        (NetRegressor, [1.0], r"0\.1 of 1 samples; give X_val"),
    ],
)
def test_rows_that_cannot_be_held_back_are_named_as_the_user_names_them(kind: type, y: list[Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"early_stopping cannot hold back {words}"):
        kind(early_stopping=True).fit(X[: len(y)], y)
