"""What is predicted: classes, or values."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import column_or_1d, compute_class_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels

from anynet.errors import UsageError
from anynet.estimators.base import NetEstimator
from anynet.estimators.library import host


class Classes(ClassifierMixin, NetEstimator):
    """Classes by name, one for each sample; or, for a y of zeros and ones with a column each, any number of them."""

    class_weight: Any

    @available_if(lambda self: self._trains_in_epochs())  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Train on X for one epoch; `classes` names all there will be, at the first call."""
        if classes is None and not hasattr(self, "classes_"):
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if classes is not None:
            named = unique_labels(host(classes))
            if hasattr(self, "classes_") and not np.array_equal(named, self.classes_):
                raise ValueError(
                    f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {self.classes_!r}"
                )
            self._announced = named
        try:
            return self._fit_a_little(X, y, sample_weight)
        finally:
            self.__dict__.pop("_announced", None)

    def predict(self, X: Any) -> Any:
        """The likeliest class of each sample; or zeros and ones, a column for each class."""
        chosen = self._chosen(self._outputs(X, "predict"))
        return self._give(chosen if self._multilabel else self.classes_[chosen], X)

    def predict_proba(self, X: Any) -> Any:
        """The probability of each class, in columns ordered as `classes_` is."""
        return self._give(self._probabilities(self._outputs(X, "predict_proba")), X)

    def predict_log_proba(self, X: Any) -> Any:
        """The logarithm of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return self._give(np.log(self._probabilities(self._outputs(X, "predict_log_proba"))), X)

    def _probabilities(self, outputs: Any) -> Any:
        loss = self._model.loss
        if not hasattr(loss, "probabilities"):
            raise UsageError(f"predict_proba needs a loss that gives probabilities, but this one is {loss!r}")
        found = loss.probabilities(np, outputs)
        if self.n_outputs_ > 1 or self._multilabel:
            return found
        return np.hstack([1 - found, found])[:, : len(self.classes_)] if len(self.classes_) > 1 else np.ones_like(found)

    def _chosen(self, outputs: Any) -> Any:
        """The number of each sample's class, or which classes it has."""
        scores = self._model.loss.probabilities(np, outputs) if hasattr(self._model.loss, "probabilities") else outputs
        if self._multilabel:
            return (scores > 0.5).astype(np.int64)
        if self.n_outputs_ == 1:
            return np.minimum(scores[:, 0] > 0.5, len(self.classes_) - 1).astype(np.int64)
        return scores.argmax(axis=1)

    def _encode(self, y: Any, first: bool) -> Any:
        check_classification_targets(y)
        multilabel = type_of_target(y, input_name="y").startswith("multilabel")
        y = y.toarray() if hasattr(y, "toarray") else y
        if not multilabel and y.ndim == 2:
            y = column_or_1d(y, warn=True)
        if first:
            self._multilabel = multilabel
            found = np.arange(y.shape[1]) if multilabel else np.unique(y)
            self.classes_ = getattr(self, "_announced", found)
            self.n_outputs_ = len(self.classes_) if multilabel or len(self.classes_) > 2 else self._outputs_for_two()
        self._check_known(y, multilabel, first)
        if multilabel:
            return y.astype(np.float64)
        numbers = np.searchsorted(self.classes_, y)
        if self._loss().target_kind == "class":
            return numbers.astype(np.int32)
        wide = self.n_outputs_ > 1
        return (numbers[:, None] == (np.arange(self.n_outputs_) if wide else [1])).astype(np.float64)

    def _outputs_for_two(self) -> int:
        return 1

    def _check_known(self, y: Any, multilabel: bool, first: bool) -> None:
        if multilabel != self._multilabel or (multilabel and y.shape[1] != len(self.classes_)):
            raise ValueError(f"`y` has the shape {y.shape}, but fit saw {len(self.classes_)} classes of another kind.")
        labels = self.classes_ if multilabel else np.unique(y)
        if self.warm_start and not first and not hasattr(self, "_announced") and set(labels) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                f"Previously got {self.classes_}, `y` has {labels}"
            )
        if unknown := [label for label in labels if label not in set(self.classes_)]:
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {unknown}."
            )

    def _balanced(self, target: Any, weight: Any) -> Any:
        if self.class_weight is None:
            return weight
        if self._multilabel:
            raise ValueError("class_weight needs one class for each sample, but y has a column for each class")
        numbers = target if target.ndim == 1 else target.argmax(axis=1) if target.shape[1] > 1 else target[:, 0]
        labels = self.classes_[numbers.astype(np.int64)]
        present = np.unique(labels)
        given = self.class_weight
        if isinstance(given, dict):
            given = {label: given.get(label, 1.0) for label in present}
        of_class = dict(zip(present, compute_class_weight(given, classes=present, y=labels), strict=True))
        factors = np.asarray([of_class[label] for label in labels])
        return factors if weight is None else factors * weight

    def _score(self, outputs: Any, target: Any, weight: Any) -> float:
        chosen = self._chosen(outputs)
        if self._multilabel or target.ndim == 1:
            right = target
        else:
            right = target.argmax(axis=1) if target.shape[1] > 1 else target[:, 0]
        return float(accuracy_score(right.astype(np.int64), chosen, sample_weight=weight))

    @property
    def _stratifies(self) -> bool:
        return self.n_outputs_ == 1 and not self._multilabel

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class Values(RegressorMixin, NetEstimator):
    """One value for each sample, or several."""

    _stratifies = False

    @available_if(lambda self: self._trains_in_epochs())  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on X for one epoch."""
        return self._fit_a_little(X, y, sample_weight)

    def predict(self, X: Any) -> Any:
        """The predicted values, of shape (n_samples,) where y had it."""
        values = self._values(self._outputs(X, "predict"))
        return self._give(values[:, 0] if self.n_outputs_ == 1 else values, X)

    def _values(self, outputs: Any) -> Any:
        return outputs

    def _encode(self, y: Any, first: bool) -> Any:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        target = y.reshape(len(y), -1).astype(np.float64, copy=False)
        if first:
            self.n_outputs_ = target.shape[1]
        if target.shape[1] != self.n_outputs_:
            raise ValueError(f"y has {target.shape[1]} outputs, but fit saw {self.n_outputs_}.")
        return target

    def _score(self, outputs: Any, target: Any, weight: Any) -> float:
        return float(r2_score(target, self._values(outputs), sample_weight=weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
