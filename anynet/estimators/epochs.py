"""Training epoch by epoch as scikit-learn's MLP does: its order of rows, its batches, and when it stops."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from anynet.training import Callback, Model, reading
from anynet.training.batches import batch_shares
from anynet.training.callbacks import Callbacks
from anynet.training.feeds import Resident, Streamed, feed


class Samples(NamedTuple):
    """Inputs, encoded targets, and weights or None."""

    x: Any
    target: Any
    weight: Any = None

    def of(self, rows: Any) -> Samples:
        return Samples(*(None if array is None else array[rows] for array in self))


class Epochs:
    """The epochs of one call of `fit` or `partial_fit`, and what is watched from one to the next.

    Parameters
    ----------
    estimator : NetEstimator
        Its model is trained, and its curves and counters grow.
    samples : Samples
    held_out : Samples or None
        Measured after each epoch; with `early_stopping`, a part of the samples where there is none.
    random : numpy.random.RandomState
    callbacks : sequence of Callback
    first, incremental : bool
        Whether the weights are new, and whether it is `partial_fit` that was called.
    """

    def __init__(
        self,
        estimator: Any,
        samples: Samples,
        held_out: Samples | None,
        random: Any,
        callbacks: tuple[Callback, ...],
        *,
        first: bool,
        incremental: bool,
    ) -> None:
        self.estimator = estimator
        self.incremental = incremental
        self.random = random
        self.callbacks = Callbacks(callbacks)
        if estimator.early_stopping and held_out is None:
            samples, held_out = self._split(samples)
        self.samples, self.held_out = samples, held_out
        self.batch_size = self._batch_size()
        self.order = np.arange(len(samples.x))
        self.sizes = np.diff(np.arange(0, len(self.order), self.batch_size), append=len(self.order))
        # Without weights of their own, rows share alike in whatever order they come.
        self.weights = self._weights() if self.samples.weight is None else None
        # A call of `fit` is patient anew; those of `partial_fit` go on where the last one stopped.
        self.stalled = estimator._stalled if incremental else 0
        self.best_loss = estimator.best_loss_ if incremental and estimator.best_loss_ is not None else np.inf
        self.best_score = -np.inf
        self.best = _copied(estimator._model) if estimator.early_stopping else None
        if estimator.early_stopping and not first:
            score = self._score()[1]
            self.best_score = -np.inf if np.isnan(score) else score

    def run(self) -> None:
        """Train until the epochs are over or nothing more is gained, and go back to the best weights that were."""
        estimator, model = self.estimator, self.estimator._model
        most = 1 if self.incremental else estimator.max_iter
        source = feed(model.backend, (self.samples.x, self.samples.target))
        estimator.n_iter_ = 0
        with model.training(), self.callbacks.until_the_end(model), self._best_in_the_end():
            go_on = self.callbacks.tell("on_fit_begin", model, most, len(self.samples.x))
            while go_on and estimator.n_iter_ < most:
                go_on = self._epoch(source)
            if go_on and not self.incremental:
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({most}) reached and the optimization hasn't "
                    "converged yet.",
                    ConvergenceWarning,
                    stacklevel=5,
                )

    @contextmanager
    def _best_in_the_end(self) -> Iterator[None]:
        model = self.estimator._model
        try:
            yield
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=7)
        finally:
            self.estimator._stalled = self.stalled
            if self.best:
                model.state = model.state._replace(parameters=self.best.parameters, buffers=self.best.buffers)

    def _epoch(self, source: Resident | Streamed) -> bool:
        """Train on all rows once; whether to go on."""
        estimator, model = self.estimator, self.estimator._model
        started = time.perf_counter()
        losses, go_on = self._train(source)
        if len(losses) < len(self.sizes):
            return False
        estimator.loss_ = float(losses @ self.sizes / len(self.order))
        record = {"epoch": len(estimator.loss_curve_) + 1, "loss": estimator.loss_}
        estimator.n_iter_ += 1
        estimator.t_ += len(self.samples.x)
        estimator.loss_curve_.append(estimator.loss_)
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")
        record["seconds"] = time.perf_counter() - started
        if self.held_out:
            record |= self._measure()
        self._watch()
        model.epoch += 1
        return all((go_on, self._adapt(), self.callbacks.tell("on_epoch_end", model, record)))

    def _train(self, source: Resident | Streamed) -> tuple[Any, bool]:
        """Train on all rows, or until a callback wants to stop; the loss of each batch, and whether to go on."""
        estimator, model = self.estimator, self.estimator._model
        if estimator.shuffle:
            rows = np.arange(len(self.order))
            self.random.shuffle(rows)
            self.order = self.order[rows]
        weights = self.weights or self._weights()
        losses, go_on = [], True
        for batches in source.batches(self.order, weights, self.batch_size):
            losses.append(model.train_on(batches, source.data, estimator._step))
            go_on = self.callbacks.tell("on_batches_end", model, batches.rows)
            if not go_on:
                break
        return np.concatenate([model.backend.to_numpy(part) for part in losses]), go_on

    def _weights(self) -> tuple[Any, ...]:
        """Each row's share of its batch and, where rows weigh differently, what the penalty is divided by."""
        if self.samples.weight is None:
            return batch_shares(np.broadcast_to(np.ones(1), len(self.order)), self.order, self.batch_size)[:1]
        shares, totals = batch_shares(self.samples.weight, self.order, self.batch_size)
        # A batch of rows that weigh nothing teaches nothing.
        once = np.divide(1, totals, out=np.zeros_like(totals), where=totals > 0)
        return shares, np.repeat(once, self.sizes)

    def _measure(self) -> dict[str, float]:
        """Loss and score of the rows that are held out."""
        loss, score = self._score()
        self.estimator.validation_loss_curve_.append(loss)
        self.estimator.validation_scores_.append(score)
        if self.estimator.verbose:
            print(f"Validation score: {score:f}")
        return {"val_loss": loss, "val_score": score}

    def _score(self) -> tuple[float, float]:
        assert self.held_out
        model = self.estimator._model
        x, target, weight = self.held_out
        # Looked at already, by the rules of scikit-learn.
        outputs = reading.outputs(model, x, lambda xp, prediction: prediction)
        share = np.full(len(x), 1 / len(x)) if weight is None else weight / weight.sum()
        loss = float(model.loss(np, outputs, target, share.astype(outputs.dtype))[0])
        return loss, self.estimator._score(outputs, target, weight)

    def _watch(self) -> None:
        """Count the epochs without gain, and keep the best weights where held-out rows decide.

        To scikit-learn an epoch without a number is not one without gain: whoever diverges goes on to the last.
        """
        estimator = self.estimator
        if estimator.early_stopping:
            score = estimator.validation_scores_[-1]
            self.stalled = self.stalled + 1 if score < self.best_score + estimator.tol else 0
            if score > self.best_score:
                self.best_score, self.best = score, _copied(estimator._model)
            estimator.best_validation_score_ = self.best_score
        else:
            self.stalled = self.stalled + 1 if estimator.loss_ > self.best_loss - estimator.tol else 0
            self.best_loss = min(self.best_loss, estimator.loss_)
            estimator.best_loss_ = min(estimator.best_loss_, estimator.loss_)

    def _adapt(self) -> bool:
        """The next epoch's learning rate; False where there is to be none."""
        estimator, model = self.estimator, self.estimator._model
        stalled = self.stalled > estimator.n_iter_no_change
        rate = estimator._next_learning_rate(estimator._rate, stalled)
        if stalled and estimator.verbose:
            what = "Validation score" if estimator.early_stopping else "Training loss"
            then = estimator._last_words() if rate is None else f"Setting learning rate to {rate:f}"
            print(
                f"{what} did not improve more than tol={estimator.tol:f} for {estimator.n_iter_no_change} "
                f"consecutive epochs. {then}"
            )
        if rate is None:
            return False
        if rate != estimator._rate:
            estimator._rate = rate
            model.state = model.state._replace(learning_rate=model.backend.asarray(np.asarray(rate), copy=True))
        self.stalled = 0 if stalled else self.stalled
        return True

    def _split(self, samples: Samples) -> tuple[Samples, Samples]:
        estimator = self.estimator
        strata = estimator._strata(samples.target)
        try:
            rows, kept = train_test_split(
                np.arange(len(samples.x)),
                random_state=self.random,
                test_size=estimator.validation_fraction,
                stratify=strata,
            )
        except ValueError as error:
            raise ValueError(
                f"early_stopping cannot hold back {estimator.validation_fraction} of {_counted(samples, strata)}; give "
                f"X_val and y_val, or another validation_fraction: {error}"
            ) from None
        if len(kept) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        parts = samples.of(rows), samples.of(kept)
        for part, what in zip(parts, ("to train on", "to hold back"), strict=True):
            if part.weight is not None and not part.weight.any():
                raise ValueError(f"early_stopping leaves no sample that weighs anything {what}; give X_val and y_val")
        return parts

    def _batch_size(self) -> int:
        size, rows = self.estimator.batch_size, len(self.samples.x)
        if size == "auto":
            size = min(200, rows)
        if size > rows:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=7
            )
        size = int(min(size, rows))
        # One row has no variance to be normalised by.
        while rows % size == 1 and getattr(self.estimator._model.network, "advances", False):
            size += 1
        return size


def _counted(samples: Samples, strata: Any) -> str:
    """How many rows there are and, where it matters, of which class."""
    rows = f"{len(samples.x)} samples"
    if strata is None:
        return rows
    labels, counts = np.unique(strata, return_counts=True)
    each = (f"{label!r} has {count}" for label, count in zip(labels.tolist(), counts, strict=True))
    return f"{rows} ({', '.join(each)})"


class Best(NamedTuple):
    """Weights and buffers, copied."""

    parameters: tuple[Any, ...]
    buffers: tuple[Any, ...]


def _copied(model: Model) -> Best:
    xp = model.backend.xp
    with model.backend.scope():
        parts = model.state.parameters, model.state.buffers
        return Best(*(tuple(xp.asarray(block, copy=True) for block in part) for part in parts))
