"""`MLPClassifier` and `MLPRegressor`, with scikit-learn's parameters and more."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor
from sklearn.utils._param_validation import Interval

from anynet.estimators.perceptron import Perceptron
from anynet.estimators.sklearn_losses import PoissonLoss, SoftmaxLogLoss
from anynet.estimators.tasks import Classification, Regression
from anynet.nn import HalfMSELoss, Loss

LOSSES: dict[str, Loss] = {"squared_error": HalfMSELoss(), "poisson": PoissonLoss()}

_OURS: dict[str, Any] = {
    "activation": "no_validation",
    "optimizer": "no_validation",
    **{name: [Interval(Real, 0, None, closed="neither"), None] for name in ("clip_norm", "clip_value")},
    "dropout": [Interval(Real, 0, 1, closed="left")],
    "batch_norm": ["boolean"],
    "layer_norm": ["boolean"],
    "backend": [str],
    "comm": "no_validation",
}


@dataclass(eq=False, repr=False)
class MLPClassifier(Classification, Perceptron):
    """A multi-layer perceptron for classification, with scikit-learn's parameters and more.

    Up to `max_fun` the parameters have the names, meanings and defaults of `sklearn.neural_network.MLPClassifier`. As
    there, the L2 penalty `alpha` is divided by the batch size. For a penalty that does not depend on the batch size,
    use ``optimizer=SGD(..., weight_decay=...)``.

    Parameters
    ----------
    activation : {"identity", "logistic", "tanh", "relu"}, layer, or list of these
        One for all hidden layers, or a list with one for each.
    dropout : float
        The share of each hidden layer's outputs that a training step sets to 0.
    batch_norm, layer_norm : bool
        Whether each hidden layer is normalised before its activation.
    loss : Loss, optional
        Replaces the log loss.
    optimizer : Optimizer, optional
        Replaces `solver` and its settings; may have a schedule, as in ``SGD(lr=LinearDecay(0.1, 1000))``.
    clip_norm : float, optional
        If the L2 norm of the gradient is larger, it is scaled down to this value.
    clip_value : float, optional
        Each number of the gradient is limited to -clip_value and clip_value; if both are given, before its norm is.
    class_weight : dict or "balanced", optional
        A factor for each class, which multiplies the sample weights.
    backend : str
        ``auto`` uses the library and the device of X; see `anynet.backends.select` for other names.
    comm : communicator of mpi4py, optional
        Such as ``MPI.COMM_WORLD``: its processes train one model together, each on its part of every batch. Each makes
        the same estimator, with a number as `random_state`, and the same calls with the same data.

    Attributes
    ----------
    classes_, coefs_, intercepts_, loss_, best_loss_, loss_curve_, validation_scores_, best_validation_score_,
    n_iter_, t_, n_layers_, n_outputs_, n_features_in_, feature_names_in_, out_activation_
        As in scikit-learn.
    validation_loss_curve_ : list of float or None
        The loss of the held-out rows, or of X_val, after each epoch.

    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> MLPClassifier(max_iter=1000, random_state=0).fit(X, y).score(X, y) > 0.95
    True
    """

    loss_of_many: ClassVar[Loss] = SoftmaxLogLoss()
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **TheirClassifier._parameter_constraints,
        **_OURS,
        "loss": "no_validation",
        "class_weight": [dict, str, None],
    }

    def _learn_activation(self) -> None:
        of_each = self._multilabel or self.n_outputs_ == 1
        if self.loss is not None:
            of_each = self._loss().target_kind != "class"
        self.out_activation_ = "logistic" if of_each else "softmax"


@dataclass(eq=False, repr=False)
class MLPRegressor(Regression, Perceptron):
    """A multi-layer perceptron for regression, with scikit-learn's parameters and more.

    Up to `max_fun` the parameters are those of `sklearn.neural_network.MLPRegressor`. With several outputs, `loss_` is
    the sum over the outputs, and the gradient is that of the sum.

    Parameters
    ----------
    loss : {"squared_error", "poisson"} or Loss
    activation, optimizer, clip_norm, clip_value, dropout, batch_norm, layer_norm, backend, comm
        As in `MLPClassifier`.

    Attributes
    ----------
    coefs_, intercepts_, loss_, best_loss_, loss_curve_, validation_scores_, best_validation_score_, n_iter_, t_,
    n_layers_, n_outputs_, n_features_in_, feature_names_in_, out_activation_
        As in scikit-learn.
    validation_loss_curve_ : list of float or None
        The loss of the held-out rows, or of X_val, after each epoch.

    >>> import numpy as np
    >>> X = np.linspace(-1, 1, 200)[:, None]
    >>> MLPRegressor(max_iter=1000, random_state=0).fit(X, X[:, 0] ** 2).score(X, X[:, 0] ** 2) > 0.9
    True
    """

    loss: str | Loss = "squared_error"

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **TheirRegressor._parameter_constraints,
        **_OURS,
        "loss": "no_validation",
    }

    def _loss(self) -> Loss:
        loss: Any = self.loss
        if hasattr(loss, "target_kind"):
            given: Loss = loss
            return given
        if not isinstance(self.loss, str) or self.loss not in LOSSES:
            raise ValueError(f"loss must be a loss of anynet.nn, or among {set(LOSSES)}. Got {self.loss!r} instead.")
        return LOSSES[self.loss]

    def _encode(self, y: Any, first: bool, held_out: bool = False) -> Any:
        target = super()._encode(y, first, held_out)
        loss = self._loss()
        if isinstance(loss, PoissonLoss) and (target < 0).any():
            raise ValueError(f"The loss 'poisson' needs a y of 0 or more, but the smallest is {target.min()}.")
        if first:
            logistic = "logistic" if hasattr(loss, "probabilities") else "identity"
            self.out_activation_ = "exp" if isinstance(loss, PoissonLoss) else logistic
        return target
