"""`Classification` and `Regression`: how estimators encode y, predict and score."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import column_or_1d, compute_class_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels

from anynet.estimators.array_library import host
from anynet.estimators.base import NetEstimator
from anynet.estimators.fitting import quiet
from anynet.estimators.sklearn_losses import LogLoss, PoissonLoss
from anynet.nn import CrossEntropyLoss, Loss


@dataclass(eq=False, repr=False, kw_only=True)
class Classification(ClassifierMixin, NetEstimator):
    """Classifiers: one class for each sample; or multilabel, with a column of zeros and ones in y for each class."""

    class_weight: Any = None

    # The default loss for one class per sample, if the network has more than one output.
    loss_of_many: ClassVar[Loss] = CrossEntropyLoss()

    @available_if(lambda self: self._trains_in_epochs())  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Train on X for one epoch; the first call needs all `classes` that will ever be in y."""
        if classes is None and not (self.__sklearn_is_fitted__() or hasattr(self, "_announced")):
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if classes is not None:
            named = unique_labels(host(classes))
            if self.__sklearn_is_fitted__() and not np.array_equal(named, self.classes_):
                raise ValueError(
                    f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {self.classes_!r}"
                )
            self._announced = named
        return self._fit_a_little(X, y, sample_weight)

    @quiet
    def predict(self, X: Any) -> Any:
        """The most likely class of each sample; or, if multilabel, zeros and ones with a column for each class."""
        chosen = self._chosen(self._outputs(X, "predict"))
        return self._give(chosen if self._multilabel else self.classes_[chosen], X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The accuracy of `predict`, for arrays of any library; if multilabel, all classes of a sample must match."""
        return float(accuracy_score(host(y), host(self.predict(X)), sample_weight=host(sample_weight)))

    @available_if(lambda self: self._tells_probabilities())  # type: ignore[untyped-decorator]
    @quiet
    def predict_proba(self, X: Any) -> Any:
        """The probabilities, of shape (n_samples, n_classes), with columns in the order of `classes_`."""
        return self._give(self._probabilities(self._outputs(X, "predict_proba")), X)

    @available_if(lambda self: self._tells_probabilities())  # type: ignore[untyped-decorator]
    @quiet
    def predict_log_proba(self, X: Any) -> Any:
        """The logarithm of `predict_proba`."""
        return self._give(np.log(self._probabilities(self._outputs(X, "predict_log_proba"))), X)

    def _tells_probabilities(self) -> bool:
        loss = self._model.loss if self.__sklearn_is_fitted__() else self.loss
        return loss is None or hasattr(loss, "probabilities")

    def _probabilities(self, outputs: Any) -> Any:
        loss: Any = self._model.loss
        found = loss.probabilities(np, outputs)
        if self._multilabel:
            return found
        if self.n_outputs_ > 1:
            # Probabilities of a binary loss for each class need not sum to 1.
            return found / found.sum(axis=1, keepdims=True)
        return np.hstack([1 - found, found]) if len(self.classes_) > 1 else np.ones_like(found)

    def _chosen(self, outputs: Any) -> Any:
        """The class number of each sample or, if multilabel, zeros and ones."""
        scores = self._model.loss.probabilities(np, outputs) if hasattr(self._model.loss, "probabilities") else outputs
        if self._multilabel:
            return (scores > 0.5).astype(np.int64)
        if self.n_outputs_ == 1:
            return np.minimum(scores[:, 0] > 0.5, len(self.classes_) - 1).astype(np.int64)
        return scores.argmax(axis=1)

    def _encode(self, y: Any, first: bool, held_out: bool = False) -> Any:
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
            self._learn_activation()
        self._check_known(y, multilabel, first or held_out)
        kind = self._loss().target_kind
        if multilabel and kind == "class":
            raise ValueError(f"y has a column for each class, but {self.loss!r} is for one class of each sample")
        if multilabel:
            return y.astype(np.float64)
        numbers = np.searchsorted(self.classes_, y)
        if kind == "class":
            return numbers.astype(np.int32)
        wide = self.n_outputs_ > 1
        return (numbers[:, None] == (np.arange(self.n_outputs_) if wide else [1])).astype(np.float64)

    def _loss(self) -> Loss:
        if isinstance(self.loss, str):
            raise ValueError(f"loss must be one of anynet.nn, such as CrossEntropyLoss(), but is {self.loss!r}")
        if self.loss is not None:
            given: Loss = self.loss
            return given
        return LogLoss() if self._multilabel or self.n_outputs_ == 1 else self.loss_of_many

    def _outputs_for_two(self) -> int:
        """The number of outputs for two classes: one, unless the loss needs one for each class."""
        return 2 if getattr(self.loss, "target_kind", None) == "class" else 1

    def _learn_activation(self) -> None:
        """Set `out_activation_`, where an estimator has it."""

    def _check_known(self, y: Any, multilabel: bool, first: bool) -> None:
        if multilabel != self._multilabel or (multilabel and y.shape[1] != len(self.classes_)):
            raise ValueError(
                f"`y` has the shape {y.shape}, but fit saw {len(self.classes_)} classes in another format."
            )
        known = set(self.classes_.tolist())
        labels = self.classes_ if multilabel else np.unique(y)
        if self.warm_start and not first and not hasattr(self, "_announced") and set(labels.tolist()) != known:
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                f"Previously got {self.classes_}, `y` has {labels}"
            )
        if unknown := [label for label in labels.tolist() if label not in known]:
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {unknown}."
            )

    def _balanced(self, target: Any, weight: Any) -> Any:
        if self.class_weight is None:
            return weight
        if self._multilabel:
            raise ValueError("class_weight needs one class for each sample, but y has a column for each class")
        labels = self._labels(target)
        present = np.unique(labels)
        given = self.class_weight
        if isinstance(given, dict):
            if unknown := [label for label in given if label not in set(self.classes_.tolist())]:
                raise ValueError(f"The classes, {unknown}, are not in y: class_weight is for {self.classes_.tolist()}")
            if not all(isinstance(factor, Real) and 0 <= float(factor) < np.inf for factor in given.values()):
                raise ValueError(f"class weights must be finite numbers, 0 or more, but class_weight is {given}")
            given = {label: given.get(label, 1.0) for label in present}
        of_class = dict(zip(present, compute_class_weight(given, classes=present, y=labels), strict=True))
        factors = np.asarray([of_class[label] for label in labels])
        return factors if weight is None else factors * weight

    def _score(self, outputs: Any, target: Any, weight: Any) -> float:
        right = target.astype(np.int64) if self._multilabel else self._numbers(target)
        return float(accuracy_score(right, self._chosen(outputs), sample_weight=weight))

    def _strata(self, target: Any) -> Any:
        return self._labels(target) if len(self.classes_) == 2 and not self._multilabel else None

    def _numbers(self, target: Any) -> Any:
        """The class number of each sample, from encoded targets."""
        one = target if target.ndim == 1 else target.argmax(axis=1) if target.shape[1] > 1 else target[:, 0]
        return one.astype(np.int64)

    def _labels(self, target: Any) -> Any:
        return self.classes_[self._numbers(target)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class Regression(RegressorMixin, NetEstimator):
    """Regressors: one value for each sample, or several."""

    @available_if(lambda self: self._trains_in_epochs())  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on X for one epoch."""
        return self._fit_a_little(X, y, sample_weight)

    @quiet
    def predict(self, X: Any) -> Any:
        """The predicted values, of shape (n_samples,) or, for several outputs, (n_samples, n_outputs)."""
        values = self._values(self._outputs(X, "predict"))
        return self._give(values[:, 0] if self.n_outputs_ == 1 else values, X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R squared of `predict`, for arrays of any library."""
        return float(r2_score(host(y), host(self.predict(X)), sample_weight=host(sample_weight)))

    def _values(self, outputs: Any) -> Any:
        """Values from outputs: exp(outputs) for a Poisson loss, or what the loss takes as values or probabilities."""
        loss = self._model.loss
        if isinstance(loss, PoissonLoss):
            return np.exp(outputs)
        if hasattr(loss, "values"):
            return loss.values(np, outputs)
        return loss.probabilities(np, outputs) if hasattr(loss, "probabilities") else outputs

    def _encode(self, y: Any, first: bool, held_out: bool = False) -> Any:
        if self._loss().target_kind == "class":
            raise ValueError(f"{self.loss!r} tells classes apart; take MLPClassifier, or a loss of values")
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        target = y.reshape(len(y), -1).astype(np.float64, copy=False)
        if first:
            self.n_outputs_ = target.shape[1]
        if target.shape[1] != self.n_outputs_:
            raise ValueError(f"y has {target.shape[1]} outputs, but fit saw {self.n_outputs_}.")
        return target

    def _score(self, outputs: Any, target: Any, weight: Any) -> float:
        values = self._values(outputs)
        return float(r2_score(target, values, sample_weight=weight)) if np.isfinite(values).all() else np.nan

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
