"""`NetClassifier` and `NetRegressor`: any network behind scikit-learn's interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, TypeAlias

from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.utils._param_validation import Interval

from anynet.errors import UsageError
from anynet.estimators.base import NetEstimator
from anynet.estimators.tasks import Classification, Regression
from anynet.nn import Adam, HalfMSELoss, Layer, Linear, Loss, Optimizer, ReLU, Sequential
from anynet.nn.losses import target_shape

Network: TypeAlias = Layer | Callable[[int], Layer]


def one_hidden_layer(outputs: int) -> Layer:
    """The default network."""
    return Sequential(Linear(100), ReLU(), Linear(outputs))


@dataclass(eq=False, repr=False)
class CustomNetwork(NetEstimator):
    """The base of `NetClassifier` and `NetRegressor`."""

    network: Network | None = None

    allow_nd: ClassVar[bool] = True

    def _network(self, outputs: int) -> Layer:
        made_by: Any = one_hidden_layer if self.network is None else self.network
        if isinstance(made_by, type) or not (isinstance(made_by, Layer) or callable(made_by)):
            raise UsageError(f"network must be a layer, or a function of the number of outputs, but is {made_by!r}")
        network: Layer = made_by if isinstance(made_by, Layer) else made_by(outputs)
        _, made = network.parameters(self._sample_shape)
        if len(made) != 1:
            raise UsageError(f"the network makes {made} of each sample, but must make a row: Flatten() is missing")
        values = target_shape(self._loss(), (1, *made))[-1]
        if values != outputs:
            needed = outputs * made[0] // values
            raise UsageError(f"y needs a network of {needed} outputs, but this one has {made[0]}: {network!r}")
        return network

    def _optimizer(self) -> Optimizer:
        return Adam() if self.optimizer is None else self.optimizer


_CONSTRAINTS: dict[str, Any] = {
    **{
        name: TheirClassifier._parameter_constraints[name]
        for name in (
            "batch_size",
            "max_iter",
            "shuffle",
            "random_state",
            "tol",
            "n_iter_no_change",
            "early_stopping",
            "validation_fraction",
            "warm_start",
            "verbose",
        )
    },
    "network": "no_validation",
    "loss": "no_validation",
    "optimizer": "no_validation",
    **{name: [Interval(Real, 0, None, closed="neither"), None] for name in ("clip_norm", "clip_value")},
    "backend": [str],
    "comm": "no_validation",
}


@dataclass(eq=False, repr=False)
class NetClassifier(Classification, CustomNetwork):
    """A classifier with any network of `anynet.nn`.

    Parameters
    ----------
    network : Layer, or callable, optional
        A whole network, with one output for each class, or with one or two outputs for two classes. Or a function that
        makes a network, given the number of outputs. The default has one hidden layer of 100.
    loss : Loss, optional
        The default is `CrossEntropyLoss`. If the network has one output, or y has a column of zeros and ones for each
        class, it is the binary log loss of each output.
    optimizer : Optimizer, optional
        The default is ``Adam()``.
    batch_size, max_iter, shuffle, random_state, tol, n_iter_no_change, early_stopping, validation_fraction,
    warm_start, verbose, clip_norm, clip_value, class_weight, backend, comm
        As in `MLPClassifier`.

    Attributes
    ----------
    classes_, loss_, loss_curve_, best_loss_, validation_scores_, validation_loss_curve_, best_validation_score_,
    n_iter_, t_, n_outputs_, n_features_in_, feature_names_in_

    >>> from anynet.nn import Linear, Sequential, Tanh
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> net = NetClassifier(Sequential(Linear(16), Tanh(), Linear(3)), max_iter=1000, random_state=0)
    >>> net.fit(X, y).score(X, y) > 0.95
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {**_CONSTRAINTS, "class_weight": [dict, str, None]}

    def _outputs_for_two(self) -> int:
        if not isinstance(self.network, Layer):
            return super()._outputs_for_two()
        _, (*_, outputs) = self.network.parameters(self._sample_shape)
        return 2 if outputs == 2 else super()._outputs_for_two()


@dataclass(eq=False, repr=False)
class NetRegressor(Regression, CustomNetwork):
    """A regressor with any network of `anynet.nn`.

    Parameters
    ----------
    network : Layer, or callable, optional
        A whole network, with one output for each column of y, or with two where the loss is `GaussianNLLLoss`. Or a
        function that makes a network, given the number of columns. The default has one hidden layer of 100.
    loss : Loss, optional
        The default is `HalfMSELoss`.
    optimizer, batch_size, max_iter, shuffle, random_state, tol, n_iter_no_change, early_stopping,
    validation_fraction, warm_start, verbose, clip_norm, clip_value, backend, comm
        As in `NetClassifier`.

    Attributes
    ----------
    loss_, loss_curve_, best_loss_, validation_scores_, validation_loss_curve_, best_validation_score_, n_iter_, t_,
    n_outputs_, n_features_in_, feature_names_in_

    >>> import numpy as np
    >>> from anynet.nn import Linear, Sequential, Tanh
    >>> X = np.linspace(-1, 1, 200)[:, None]
    >>> net = NetRegressor(Sequential(Linear(16), Tanh(), Linear(1)), max_iter=2000, random_state=0)
    >>> net.fit(X, np.sin(2 * X[:, 0])).score(X, np.sin(2 * X[:, 0])) > 0.9
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = _CONSTRAINTS

    def _loss(self) -> Loss:
        if isinstance(self.loss, str):
            raise ValueError(f"loss must be one of anynet.nn, such as MSELoss(), but is {self.loss!r}")
        return HalfMSELoss() if self.loss is None else self.loss
