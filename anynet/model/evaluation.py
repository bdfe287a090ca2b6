"""Evaluation and prediction, which read a model and never change it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np

from anynet.distributed import Communicator
from anynet.errors import UsageError
from anynet.model.base import BaseModel
from anynet.nn.checks import python_number
from anynet.training.batches import EVALUATION_BATCH, chunks
from anynet.training.fit_state import Record
from anynet.training.inputs import count_rows, flat
from anynet.training.metrics import Metric, Totals


def evaluate(model: BaseModel, x: Any, target: Any, weight: Any) -> Record:
    """The mean loss and the metrics, for samples that have been checked already."""
    comm, metrics = _readers(model), model._evaluation[1]
    with comm.together():
        mine = _totals(model, x, target, weight, comm.part(count_rows(x)))
    losses, of_ranks = zip(*comm.gather(mine), strict=True)
    loss, parts = sum(losses), [list(chain(*of_metric)) for of_metric in zip(*of_ranks, strict=True)]
    # Divide on the host, in float64, so that an accuracy of 1 is exactly 1.
    weights = float(weight.sum())
    measured = (_measure(metric, of_chunks, weights) for metric, of_chunks in zip(metrics, parts, strict=True))
    return {"loss": loss / weights, **dict(zip((metric.name for metric in metrics), measured, strict=True))}


def _readers(model: BaseModel) -> Communicator:
    """The ranks that read a model together: all, but this one alone while another thread trains with the others."""
    return Communicator() if model.is_trained_elsewhere else model.comm


def _totals(model: BaseModel, x: Any, target: Any, weight: Any, rows: slice) -> tuple[float, list[list[Totals]]]:
    """The loss, summed over these rows, and for each metric what it gives for each chunk of them."""
    state = model.read_state()
    step, metrics = model._evaluation
    loss = 0.0
    parts: list[list[Totals]] = [[] for _ in metrics]
    for chunk in chunks(model.backend, flat(x, target, weight), EVALUATION_BATCH, rows=rows):
        _, found = model.backend.run(step, state, chunk.arrays, donate=False)
        totals = {key: model.backend.to_numpy(total).astype(np.float64) for key, total in found.items()}
        loss += float(totals.pop("loss").sum())
        for i, metric in enumerate(metrics):
            prefix = f"{i}/"
            mine = {key.removeprefix(prefix): total for key, total in totals.items() if key.startswith(prefix)}
            parts[i].append(metric.reduce([{name: mine[name][j] for name in mine} for j in range(chunk.steps)]))
    return loss, parts


def _measure(metric: Metric, of_chunks: list[Totals], weights: float) -> float:
    means = {name: total / weights for name, total in metric.reduce(of_chunks).items()}
    measure = python_number(metric.compute(means))
    if measure is None:
        raise UsageError(f"{metric!r}.compute must return a number")
    return float(measure)


def predict(model: BaseModel, x: Any, meaning: Callable[[Any, Any], Any]) -> Any:
    """``meaning(xp, output)`` of the network's output for each sample, as a NumPy array."""
    comm, found = _readers(model), []
    with comm.together():
        state = model.read_state()
        for chunk in chunks(model.backend, flat(x), EVALUATION_BATCH, rows=comm.part(count_rows(x))):
            _, result = model.backend.run(model._predict, state, chunk.arrays, donate=False)
            with model.backend.scope():
                output = model.backend.to_numpy(meaning(model.backend.xp, result["prediction"]))
            found.append(output.reshape(chunk.rows, *output.shape[2:]))
    return np.concatenate([output for part in comm.gather(found) for output in part])
