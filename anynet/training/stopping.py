"""What to do when a measure stops improving: stop early, or lower the learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from anynet.errors import UsageError, unknown
from anynet.training.callbacks import Callback, StopTraining, is_measure
from anynet.training.fit_state import Record


def higher_is_better(measure: str, known: Mapping[str, bool], mode: str = "auto") -> bool:
    """Whether a higher value of a measure is better.

    Parameters
    ----------
    measure : str
        Such as ``val_loss``.
    known : dict of bool
        For each measure, whether a higher value is better; ``"auto"`` uses it.
    mode : {"auto", "min", "max"}

    Raises
    ------
    UsageError
        When the mode is invalid, or it is "auto" and `known` does not have the measure.

    >>> higher_is_better("val_f1", {"loss": False, "val_f1": True}), higher_is_better("mine", {}, mode="min")
    (True, False)
    """
    check_mode(mode)
    if mode != "auto":
        return mode == "max"
    if measure not in known:
        theirs = 'give mode="min" or mode="max" for a measure that a callback adds'
        raise UsageError(f"{unknown('measure', measure, known)}; {theirs}")
    return known[measure]


def check_mode(mode: str) -> None:
    """Raise a UsageError unless a mode is "auto", "min" or "max"."""
    if mode not in ("auto", "min", "max"):
        raise UsageError(unknown("mode", mode, ("auto", "min", "max")))


class Best:
    """The best value of a measure so far.

    Parameters
    ----------
    higher_is_better : bool
    min_delta : float
        Only a larger improvement counts.
    value : float, optional
        The best value so far.

    >>> best = Best(higher_is_better=False)
    >>> [best.improves(loss) for loss in (3.0, 2.0, 2.0, math.nan, 1.0)]
    [True, True, False, False, True]
    """

    def __init__(self, higher_is_better: bool, min_delta: float = 0.0, value: float | None = None) -> None:
        self.higher_is_better = higher_is_better
        self.min_delta = min_delta
        self.value = value

    def improves(self, value: float) -> bool:
        """Whether a value is better than the best so far; if so, keep it as the best. nan never is."""
        if math.isnan(value):
            return False
        if self.value is not None:
            gain = value - self.value if self.higher_is_better else self.value - value
            if not gain > self.min_delta:
                return False
        self.value = value
        return True


class EarlyStopping(Callback):
    """Stops training when a measure has not improved for some epochs, and restores the best weights.

    The best weights and buffers are restored however training ends: early, after its last epoch, by Ctrl-C or an error.

    Parameters
    ----------
    monitor : str
        A key of the records of `fit`, such as ``val_loss``.
    patience : int
        Training stops after this many epochs in a row without improvement.
    min_delta : float
        Only a larger improvement counts.
    mode : {"auto", "min", "max"}
        Whether a lower ("min") or a higher value ("max") is better. "auto" knows it for the loss and the metrics; a
        measure that a callback adds to the records needs "min" or "max".

    Attributes
    ----------
    best : float or None
        The best value so far.
    best_epoch : int or None
        The epoch that reached it, counted from 1.

    Raises
    ------
    UsageError
        When an argument is invalid, or the records have no measure `monitor`.
    """

    last = True

    def __init__(
        self, monitor: str = "val_loss", patience: int = 10, min_delta: float = 0.0, mode: str = "auto"
    ) -> None:
        if patience < 0 or not min_delta >= 0:
            raise UsageError(f"patience and min_delta must be 0 or more, but are {patience!r} and {min_delta!r}")
        self.monitor = monitor
        self.patience = patience
        self.min_delta = min_delta
        check_mode(mode)
        self.mode = mode
        self.name = monitor
        self._begin_with(higher=False)

    def _begin_with(self, higher: bool) -> None:
        self._best = Best(higher, self.min_delta)
        self.best_epoch: int | None = None
        self._arrays: dict[str, Any] = {}

    @property
    def best(self) -> float | None:
        return self._best.value

    def on_fit_begin(self, model: Any, epochs: int, samples: int) -> None:
        self._begin_with(higher_is_better(self.monitor, model.fit_state.higher_is_better, self.mode))
        self._began = model.fit_state.first_epoch
        self._shapes = {name: array.shape for name, array in model.parameters.items()}

    def on_epoch_end(self, model: Any, record: Record) -> None:
        if self._best.improves(_measured(record, self.monitor)):
            self.best_epoch, self._arrays = model.epoch, model.parameters
        elif model.epoch - (self.best_epoch or self._began) >= self.patience:
            raise StopTraining

    def on_fit_end(self, model: Any) -> None:
        if self._arrays:
            model.put(self._arrays)
            self._arrays = {}

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch, "arrays": self._arrays}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        best, epoch, arrays = state["best"], state["best_epoch"], state["arrays"]
        shapes = {name: array.shape for name, array in arrays.items()}
        if best is None and epoch is None and not arrays:
            return
        fits = shapes == self._shapes and all(np.isfinite(array).all() for array in arrays.values())
        if not isinstance(best, (int, float)) or type(epoch) is not int or not fits:
            raise ValueError(
                f"EarlyStopping cannot continue from best={best!r}, best_epoch={epoch!r} and these weights"
            )
        self._best.value, self.best_epoch, self._arrays = float(best), epoch, arrays


class ReduceLROnPlateau(Callback):
    """Lowers the learning rate when a measure has not improved for some epochs.

    The rate is that of the model, ``model.learning_rate``: it is in checkpoints, and a later `fit` goes on with the
    lowered one. On many ranks, give it to each.

    Parameters
    ----------
    monitor : str
        A key of the records of `fit`, such as ``val_loss``.
    factor : float
        Between 0 and 1; the new rate is ``factor`` times the old one. A change of 1e-8 or less is not made.
    patience : int
        The rate is lowered after this many epochs in a row without improvement, as in Keras; PyTorch waits one more.
    min_delta, mode
        As in `EarlyStopping`.
    cooldown : int
        How many epochs after a lower rate do not count.
    min_lr : float
        The rate is not lowered below it.

    Raises
    ------
    UsageError
        When an argument is invalid, the records have no measure `monitor`, or the optimizer has a schedule.
    """

    last = True

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        min_delta: float = 0.0,
        mode: str = "auto",
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        if not 0 < factor < 1:
            raise UsageError(f"factor must be above 0 and below 1, but is {factor!r}")
        if patience < 1:
            raise UsageError(f"patience must be 1 or more, but is {patience!r}")
        if not (min_delta >= 0 and cooldown >= 0 and min_lr >= 0):
            found = f"{min_delta!r}, {cooldown!r} and {min_lr!r}"
            raise UsageError(f"min_delta, cooldown and min_lr must be 0 or more, but are {found}")
        check_mode(mode)
        self.monitor = monitor
        self.factor = factor
        self.patience = patience
        self.min_delta = min_delta
        self.mode = mode
        self.cooldown = cooldown
        self.min_lr = min_lr
        self.name = monitor

    def on_fit_begin(self, model: Any, epochs: int, samples: int) -> None:
        if callable(model.optimizer.lr):
            raise UsageError(
                f"ReduceLROnPlateau needs an optimizer with a number as lr, but it has {model.optimizer.lr!r}"
            )
        self._best = Best(higher_is_better(self.monitor, model.fit_state.higher_is_better, self.mode), self.min_delta)
        # Epochs without improvement; below 0 for those to come that do not count.
        self._waited = 0

    def on_epoch_end(self, model: Any, record: Record) -> None:
        if self._best.improves(_measured(record, self.monitor)):
            self._waited = min(self._waited + 1, 0)
            return
        self._waited += 1
        if self._waited >= self.patience:
            self._waited = -self.cooldown
            rate = model.learning_rate
            lower = max(rate * self.factor, self.min_lr)
            if rate - lower > 1e-8:
                model.learning_rate = lower

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best.value, "waited": self._waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        best, waited = state["best"], state["waited"]
        if not (best is None or isinstance(best, (int, float))) or type(waited) is not int:
            raise ValueError(f"ReduceLROnPlateau cannot continue from best={best!r} and waited={waited!r}")
        self._best.value, self._waited = best, waited


def _measured(record: Record, name: str) -> float:
    if name not in record:
        raise UsageError(unknown("measure", name, [key for key in record if is_measure(key)]))
    return record[name]
