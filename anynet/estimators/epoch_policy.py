"""Trains in epochs as scikit-learn's MLP does: the same order of rows, batches, learning rates and end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from anynet.errors import warn
from anynet.estimators.samples import Samples
from anynet.model import Model, evaluation
from anynet.model.ranks import check_same_everywhere
from anynet.nn.derived import value_of
from anynet.training.batches import normalize_weights
from anynet.training.callbacks import Callbacks
from anynet.training.fit_state import FitState, Record
from anynet.training.loop import Loop, Policy
from anynet.training.sources import make_source
from anynet.training.step import Steps
from anynet.training.stopping import Best


@dataclass(frozen=True)
class Settings:
    """Settings of a training: parameters with their names in scikit-learn, and functions of the estimator.

    Attributes
    ----------
    score : callable
        ``(outputs, target, weight) -> float``, higher being better.
    next_learning_rate : callable
        ``(rate, stalled) -> rate``, or None to end training.
    farewell : str
        What a verbose training prints when it ends so.
    """

    batch_size: int
    shuffle: bool
    early_stopping: bool
    tol: float
    n_iter_no_change: float
    verbose: bool
    score: Callable[[Any, Any, Any], float]
    next_learning_rate: Callable[[Any, bool], Any]
    farewell: str


class Curves(Protocol):
    """The attributes of an estimator that training updates: scikit-learn's curves, and its progress."""

    n_iter_: int
    t_: int
    loss_: float
    loss_curve_: list[float]
    best_loss_: Any
    validation_scores_: Any
    validation_loss_curve_: Any
    best_validation_score_: float | None
    _stalled: int
    _rate: Any


def start_curves(curves: Curves, first: bool, *, measured: bool, early_stopping: bool) -> None:
    """Begin new curves, or continue the old ones; `measured` tells whether validation data are given."""
    if first or not hasattr(curves, "loss_curve_"):
        curves.loss_ = np.nan
        curves.loss_curve_ = []
        curves.validation_scores_ = curves.validation_loss_curve_ = None
        curves.best_loss_ = None
    if (measured or early_stopping) and curves.validation_scores_ is None:
        curves.validation_scores_, curves.validation_loss_curve_ = [], []
    if curves.best_loss_ is None and not early_stopping:
        curves.best_loss_ = np.inf
    curves.best_validation_score_ = -np.inf if early_stopping else None


class EpochPolicy(Policy):
    """The decisions of scikit-learn's MLP in the training loop.

    Parameters
    ----------
    model : Model
    steps : Steps
    settings : Settings
    curves : Curves
        Updated after each epoch.
    samples : Samples
    held_out : Samples or None
        Measured after each epoch.
    random : numpy.random.RandomState
    first, incremental : bool
        Whether the weights are new, and whether this is a call of `partial_fit`.
    """

    def __init__(
        self,
        model: Model,
        steps: Steps,
        settings: Settings,
        curves: Curves,
        samples: Samples,
        held_out: Samples | None,
        random: Any,
        *,
        first: bool,
        incremental: bool,
    ) -> None:
        self.model = model
        self.steps = steps
        self.settings = settings
        self.curves = curves
        self.samples = samples
        self.held_out = held_out
        self.random = random
        self.rows = np.arange(len(samples.x))
        self.sizes = np.diff(np.arange(0, len(self.rows), settings.batch_size), append=len(self.rows))
        # Without sample weights, the shares do not depend on the order of rows.
        self._shares = self._equal_shares() if samples.weight is None else None
        # `fit` counts epochs without improvement from 0; `partial_fit` continues the count of its last call.
        if not incremental:
            curves._stalled = 0
        self.best = Best(settings.early_stopping, value=-np.inf if settings.early_stopping else np.inf)
        if incremental and curves.best_loss_ is not None:
            self.best = Best(higher_is_better=False, value=curves.best_loss_)
        self._best_arrays: Any = None
        if settings.early_stopping:
            self._keep()
            if not first:
                self.best.improves(self._measured()[1])

    def order(self, epoch: int) -> Any:
        """The last order, shuffled."""
        if self.settings.shuffle:
            places = np.arange(len(self.rows))
            self.random.shuffle(places)
            self.rows = self.rows[places]
        return self.rows

    def weights(self, order: Any) -> tuple[tuple[Any, ...], Any]:
        """Each row's share of its batch and, with sample weights, 1 / the batch's total weight, for the penalty."""
        if self._shares is not None:
            return (self._shares,), self.sizes
        shares, totals = normalize_weights(self.samples.weight, order, self.settings.batch_size)
        # A batch of rows with weight 0 must have no penalty, either.
        once = np.divide(1, totals, out=np.zeros_like(totals), where=totals > 0)
        return (shares, np.repeat(once, self.sizes)), self.sizes

    def _equal_shares(self) -> Any:
        return normalize_weights(np.broadcast_to(np.ones(1), len(self.rows)), self.rows, self.settings.batch_size)[0]

    def end_epoch(self, record: Record) -> bool:
        """Extend the curves, set the next learning rate, and return whether there is another epoch."""
        curves = self.curves
        curves.n_iter_ += 1
        curves.t_ += len(self.rows)
        curves.loss_ = record["loss"]
        curves.loss_curve_.append(curves.loss_)
        self._say(f"Iteration {curves.n_iter_}, loss = {curves.loss_:.8f}")
        if self.held_out:
            record["val_loss"], record["val_score"] = loss, score = self._measured()
            curves.validation_loss_curve_.append(loss)
            curves.validation_scores_.append(score)
            self._say(f"Validation score: {score:f}")
        self._watch(record)
        return self._adapt()

    def _say(self, words: str) -> None:
        if self.settings.verbose:
            print(words)

    def _measured(self) -> tuple[float, float]:
        """Loss and score of the held-out rows."""
        assert self.held_out
        x, target, weight = self.held_out
        # The inputs have been checked already, by the rules of scikit-learn.
        outputs = evaluation.predict(self.model, x, lambda xp, prediction: prediction)
        share = np.full(len(x), 1 / len(x)) if weight is None else weight / weight.sum()
        loss = float(value_of(self.model.loss, np, outputs, target, share.astype(outputs.dtype)))
        return loss, self.settings.score(outputs, target, weight)

    def _watch(self, record: Record) -> None:
        """Count the epochs without improvement, and keep the best weights if `early_stopping` is set.

        As in scikit-learn, an epoch with a nan does not count, so a diverged training runs to its last epoch.
        """
        curves, tol = self.curves, self.settings.tol
        best: Any = self.best.value
        if self.settings.early_stopping:
            curves._stalled = curves._stalled + 1 if record["val_score"] < best + tol else 0
            if self.best.improves(record["val_score"]):
                self._keep()
            curves.best_validation_score_ = self.best.value
        else:
            curves._stalled = curves._stalled + 1 if curves.loss_ > best - tol else 0
            self.best.improves(curves.loss_)
            curves.best_loss_ = min(curves.best_loss_, curves.loss_)

    def _adapt(self) -> bool:
        """Set the learning rate of the next epoch; return False if training ends."""
        curves, settings, model = self.curves, self.settings, self.model
        stalled = curves._stalled > settings.n_iter_no_change
        rate = settings.next_learning_rate(curves._rate, stalled)
        if stalled:
            what = "Validation score" if settings.early_stopping else "Training loss"
            then = settings.farewell if rate is None else f"Setting learning rate to {rate:f}"
            self._say(
                f"{what} did not improve more than tol={settings.tol:f} for {settings.n_iter_no_change} consecutive "
                f"epochs. {then}"
            )
        if rate is None:
            return False
        if rate != curves._rate:
            curves._rate = rate
            model.state = model.state._replace(learning_rate=model.backend.asarray(np.asarray(rate), copy=True))
        curves._stalled = 0 if stalled else curves._stalled
        return True

    def _keep(self) -> None:
        """Keep a copy of weights and buffers as the best ones."""
        backend, state = self.model.backend, self.model.state
        self._best_arrays = tuple(tuple(map(backend.copy, blocks)) for blocks in (state.parameters, state.buffers))

    @contextmanager
    def best_in_the_end(self) -> Iterator[None]:
        """A context that restores the best weights, if any were kept, when it ends; Ctrl-C only causes a warning."""
        try:
            yield
        except KeyboardInterrupt:
            warn("Training interrupted by user.")
        finally:
            if self._best_arrays:
                parameters, buffers = self._best_arrays
                self.model.state = self.model.state._replace(parameters=parameters, buffers=buffers)


def run_epochs(
    policy: EpochPolicy,
    callbacks: Callbacks,
    max_iter: int,
    *,
    must_converge: bool,
    compared_settings: dict[str, Any],
) -> None:
    """Train for `max_iter` epochs, or until the policy or a callback stops; then restore the best weights.

    `compared_settings` must be the same on all ranks.
    """
    model, samples = policy.model, policy.samples
    directions = {"loss": False, **({"val_loss": False, "val_score": True} if policy.held_out else {})}
    sizes = len(samples.x), policy.settings.batch_size
    fit = FitState(model.epoch, max_iter, model.epoch + max_iter, *sizes, directions)
    policy.curves.n_iter_ = 0
    goes_on = False
    with model.training(fit), callbacks.until_the_end(model), policy.best_in_the_end():
        check_same_everywhere(model, fit, samples.arrays, compared_settings)
        source = make_source(model.backend, (samples.x, samples.target), model.comm)
        go_on = callbacks.tell("on_fit_begin", model, max_iter, len(samples.x))
        goes_on = go_on and Loop(model, fit, source, policy, callbacks).run()
    if goes_on and must_converge:
        warn(
            f"Stochastic Optimizer: Maximum iterations ({max_iter}) reached and the optimization hasn't converged yet.",
            ConvergenceWarning,
        )
