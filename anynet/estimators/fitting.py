"""How an estimator is fitted: it checks the data, makes a model, and trains it in epochs or by L-BFGS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight

from anynet.backends import Backend, select
from anynet.backends.base import Step
from anynet.distributed import Communicator
from anynet.distributed import select as select_comm
from anynet.errors import warn
from anynet.estimators.array_library import ArrayLibrary, host
from anynet.estimators.epoch_policy import EpochPolicy, Settings, run_epochs, start_curves
from anynet.estimators.fit_guards import alone, restored_on_error
from anynet.estimators.penalty import penalized
from anynet.estimators.quasi_newton import minimize_loss, warn_unless_converged
from anynet.estimators.samples import Samples, hold_back
from anynet.estimators.validation import check_data, check_parts, check_weights
from anynet.estimators.warm_start import transferred
from anynet.model import Model
from anynet.model.ranks import check_divides
from anynet.nn import Layer, Loss, Optimizer
from anynet.training import Callback
from anynet.training.callbacks import Callbacks
from anynet.training.step import loss_and_gradient, training_step, training_steps

# Parameters that may change between two calls without a new training step.
_OF_THE_LOOP = frozenset(
    (
        "backend",
        "batch_size",
        "class_weight",
        "early_stopping",
        "learning_rate",
        "max_fun",
        "max_iter",
        "n_iter_no_change",
        "power_t",
        "random_state",
        "shuffle",
        "tol",
        "validation_fraction",
        "verbose",
        "warm_start",
    )
)
# Results are checked for inf and nan instead, so the user's NumPy settings for overflow do not matter.
quiet = np.errstate(all="ignore")
NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)


@dataclass(eq=False, repr=False, kw_only=True)
class Fitting(BaseEstimator):
    """Base class: `_fit`, which trains, and the methods that a subclass may override to decide how.

    Its fields, and those of its subclasses, are the parameters that scikit-learn sees.
    """

    loss: Any = None
    optimizer: Optimizer | None = None
    batch_size: Any = "auto"
    max_iter: int = 200
    shuffle: bool = True
    random_state: Any = None
    tol: float = 1e-4
    verbose: Any = False
    warm_start: bool = False
    early_stopping: bool = False
    validation_fraction: float = 0.1
    n_iter_no_change: float = 10
    clip_norm: float | None = None
    clip_value: float | None = None
    backend: str = "auto"
    comm: Any = None

    loss_: float = field(init=False)
    n_outputs_: int = field(init=False)
    # Whether X may have more than two axes.
    allow_nd: ClassVar[bool] = False

    _model: Model = field(init=False)
    _sample_shape: tuple[int, ...] = field(init=False)
    _made_of: dict[str, Any] = field(init=False)
    _stalled: int = field(init=False)
    _training: object = field(init=False)

    @property
    def _l2(self) -> float:
        return 0.0

    def _network(self, outputs: int) -> Layer:
        raise NotImplementedError

    def _loss(self) -> Loss:
        raise NotImplementedError

    def _optimizer(self) -> Optimizer:
        raise NotImplementedError

    def _encode(self, y: Any, first: bool, held_out: bool = False) -> Any:
        """Encode y as targets of the loss; if `first`, also set what describes y, such as `classes_`."""
        raise NotImplementedError

    def _score(self, outputs: Any, target: Any, weight: Any) -> float:
        """The score of the network's outputs, like that of `score`."""
        raise NotImplementedError

    def _balanced(self, target: Any, weight: Any) -> Any:
        """Sample weights, multiplied by the class weights."""
        return weight

    def _strata(self, target: Any) -> Any:
        """The label of each row if `early_stopping` must hold out a stratified part; else None."""
        return None

    def _next_learning_rate(self, rate: Any, stalled: bool) -> Any:
        """The learning rate of the next epoch, or None to end training."""
        return None if stalled else rate

    def _last_words(self) -> str:
        return "Stopping."

    def _minimizes(self) -> bool:
        """Whether L-BFGS trains on all rows at once."""
        return False

    def _trains_in_epochs(self) -> bool:
        if self._minimizes():
            raise AttributeError("partial_fit is only available for stochastic optimizers. lbfgs is not stochastic.")
        return True

    def _first_arrays(self, network: Any, random: Any) -> dict[str, Any]:
        """Initial weights by name; the layers' own initializers draw those that are missing."""
        return {}

    @quiet
    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: tuple[Any, Any] | None,
        callbacks: tuple[Callback, ...],
        *,
        first: bool,
        incremental: bool,
    ) -> Self:
        self._validate_params()
        check_parts(self, validation, callbacks)
        with alone(self):
            with restored_on_error(self), select_comm(self.comm).together():
                train = self._prepared(X, y, sample_weight, validation, callbacks, first, incremental)
            try:
                train()
            finally:
                if not incremental:
                    # A step may hold many times the memory of the weights.
                    self._model.backend.clear_cache()
                    del self._steps
        # If the loss is nan, L-BFGS keeps the initial weights, which are finite.
        lost = self._minimizes() and np.isnan(self.loss_)
        if lost or not all(np.isfinite(array).all() for array in self._model.parameters.values()):
            raise ValueError(NOT_FINITE)
        return self

    def _prepared(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: tuple[Any, Any] | None,
        callbacks: tuple[Callback, ...],
        first: bool,
        incremental: bool,
    ) -> Callable[[], None]:
        """Check everything before training; return the function that trains."""
        if not incremental:
            # The `classes` given to `partial_fit` are only for calls of `partial_fit`.
            self.__dict__.pop("_announced", None)
        self._library = ArrayLibrary.of(X)
        x, y = check_data(self, X, y, reset=first)
        weight = host(sample_weight)
        if weight is not None:
            weight = _check_sample_weight(weight, x, dtype=np.float64, ensure_non_negative=True)
        target = self._encode(y, first)
        weight = self._balanced(target, weight)
        check_weights(weight, getattr(self, "class_weight", None))
        samples = Samples(x, target, weight)
        held_out = None
        if validation:
            x_val, y_val = check_data(self, *validation, reset=False)
            held_out = Samples(x_val, self._encode(y_val, first=False, held_out=True))
        random = check_random_state(self.random_state)
        self._prepare(x, random, first, incremental)
        if self._minimizes():
            return partial(self._minimize, samples)
        start_curves(self, first, measured=bool(held_out), early_stopping=self.early_stopping)
        if self.early_stopping and held_out is None:
            samples, held_out = hold_back(samples, self.validation_fraction, self._strata(samples.target), random)
        settings = self._loop_settings(len(samples.x))
        parts = self._model, self._steps, settings, self, samples, held_out, random
        policy = EpochPolicy(*parts, first=first, incremental=incremental)
        epochs = 1 if incremental else self.max_iter
        told = Callbacks(callbacks, self._model.comm)
        compared = self._compared_settings()
        return partial(run_epochs, policy, told, epochs, must_converge=not incremental, compared_settings=compared)

    def _minimize(self, samples: Samples) -> None:
        options = {name: getattr(self, name) for name in ("max_iter", "max_fun", "tol")}
        compared = self._compared_settings()
        found = minimize_loss(self._model, samples, self._decays(), self._l2, compared_settings=compared, **options)
        self.n_iter_, self.loss_ = int(found.nit), float(found.fun)
        warn_unless_converged(found, self.max_iter)

    def _loop_settings(self, rows: int) -> Settings:
        return Settings(
            batch_size=self._batch_size(rows),
            shuffle=self.shuffle,
            early_stopping=self.early_stopping,
            tol=self.tol,
            n_iter_no_change=self.n_iter_no_change,
            verbose=self.verbose,
            score=self._score,
            next_learning_rate=self._next_learning_rate,
            farewell=self._last_words(),
        )

    def _batch_size(self, rows: int) -> int:
        size: int = min(200, rows) if self.batch_size == "auto" else self.batch_size
        if size > rows:
            warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
        size = int(min(size, rows))
        # Batch normalization cannot use a batch of one row.
        while rows % size == 1 and self._model.network.updates_buffers:
            size += 1
        if size < rows:
            check_divides(size, self._model.comm)
        return size

    def _prepare(self, x: Any, random: Any, first: bool, incremental: bool) -> None:
        """Make a new model, or go on with the old one and its optimizer state, which only `partial_fit` does."""
        backend = self._backend(x.dtype.name)
        settings = self._settings()
        same = incremental and not first and settings == self._made_of
        if same and repr(backend) == repr(self._model.backend) and hasattr(self, "_steps"):
            return
        self._model = self._model.on(backend) if same else self._new_model(backend, random, first)
        if same:
            self._model.comm = self.comm
        self._made_of = settings
        if not same:
            self._rate = self._model.optimizer.lr
        model, decays = self._model, self._decays()

        def train(comm: Communicator | None) -> Step:
            differentiate = loss_and_gradient(backend, model.network, model.loss, model.layout, model.seed, comm)
            differentiate = penalized(differentiate, decays, self._l2)
            clipping = self.clip_norm, self.clip_value
            return training_step(backend, differentiate, model.optimizer, model.layout, decays, *clipping)

        self._steps = training_steps(train, model.comm)

    def _settings(self) -> dict[str, Any]:
        """The parameters that a training step depends on."""
        given = self.get_params(deep=False).items()
        return {
            name: getattr(value, "tolist", lambda v=value: v)() for name, value in given if name not in _OF_THE_LOOP
        }

    def _compared_settings(self) -> dict[str, Any]:
        """The parameters that must be the same on all ranks."""
        return {name: value for name, value in self.get_params(deep=False).items() if name not in ("comm", "verbose")}

    def _new_model(self, backend: Backend, random: Any, first: bool) -> Model:
        network = self._network(self.n_outputs_)
        if first:
            self.n_iter_ = self.t_ = 0
            self._stalled = 0
            arrays = self._first_arrays(network, random)
        else:
            arrays = transferred(self._model.parameters, network, self._sample_shape)
        # Draw a seed only if needed: scikit-learn draws nothing here, and the next numbers must be the same.
        needs_seed = not arrays or network.stochastic
        seed = int(random.randint(np.iinfo(np.int32).max)) if needs_seed else 0
        parts = network, self._loss(), self._optimizer()
        model = Model(*parts, backend=backend, seed=seed, comm=self.comm).build(self._sample_shape, arrays)
        model.epoch = 0 if first else len(getattr(self, "loss_curve_", ()))
        return model

    def _decays(self) -> tuple[Any, ...]:
        backend = self._model.backend
        if not (self._l2 or self._model.optimizer.weight_decay):
            return ()
        return tuple(backend.asarray(marks) for marks in self._model.layout.decays(np))

    def _backend(self, dtype: str) -> Backend:
        return select(self._library.name if self.backend == "auto" else self.backend, dtype)
