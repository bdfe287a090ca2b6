"""Early stopping, and the best value of a measure so far."""

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
        if self.monitor not in record:
            raise UsageError(unknown("measure", self.monitor, [key for key in record if is_measure(key)]))
        if self._best.improves(record[self.monitor]):
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
