"""`MLPClassifier` and `MLPRegressor`, with scikit-learn's parameters and more."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor
from sklearn.utils._param_validation import Interval

from anynet.estimators.losses import PoissonLoss, SoftmaxLogLoss
from anynet.estimators.perceptron import Perceptron
from anynet.estimators.tasks import Classification, Regression
from anynet.nn import HalfMSELoss, Loss, Optimizer

LOSSES: dict[str, Loss] = {"squared_error": HalfMSELoss(), "poisson": PoissonLoss()}

_OURS: dict[str, Any] = {
    "activation": "no_validation",
    "optimizer": "no_validation",
    "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
    "dropout": [Interval(Real, 0, 1, closed="left")],
    "batch_norm": ["boolean"],
    "layer_norm": ["boolean"],
    "backend": [str],
}


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
    class_weight : dict or "balanced", optional
        A factor for each class, which multiplies the sample weights.
    backend : str
        ``auto`` uses the library and the device of X; see `anynet.backends.select` for other names.

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

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        loss: Loss | None = None,
        optimizer: Optimizer | None = None,
        clip_norm: float | None = None,
        dropout: float = 0.0,
        batch_norm: bool = False,
        layer_norm: bool = False,
        class_weight: Any = None,
        backend: str = "auto",
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.loss = loss
        self.optimizer = optimizer
        self.clip_norm = clip_norm
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.layer_norm = layer_norm
        self.class_weight = class_weight
        self.backend = backend

    def _learn_activation(self) -> None:
        of_each = self._multilabel or self.n_outputs_ == 1
        if self.loss is not None:
            of_each = self._loss().target_kind != "class"
        self.out_activation_ = "logistic" if of_each else "softmax"


class MLPRegressor(Regression, Perceptron):
    """A multi-layer perceptron for regression, with scikit-learn's parameters and more.

    Up to `max_fun` the parameters are those of `sklearn.neural_network.MLPRegressor`. With several outputs, `loss_` is
    the sum over the outputs, and the gradient is that of the sum.

    Parameters
    ----------
    loss : {"squared_error", "poisson"} or Loss
    activation, optimizer, clip_norm, dropout, batch_norm, layer_norm, backend
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

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **TheirRegressor._parameter_constraints,
        **_OURS,
        "loss": "no_validation",
    }

    def __init__(
        self,
        loss: str | Loss = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        optimizer: Optimizer | None = None,
        clip_norm: float | None = None,
        dropout: float = 0.0,
        batch_norm: bool = False,
        layer_norm: bool = False,
        backend: str = "auto",
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.optimizer = optimizer
        self.clip_norm = clip_norm
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.layer_norm = layer_norm
        self.backend = backend

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

    out_activation_: str
