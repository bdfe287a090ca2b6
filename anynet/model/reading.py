"""Measuring and predicting: a model is read, and never changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from anynet.model.base import BaseModel
from anynet.training.batches import EVALUATION_BATCH, chunks
from anynet.training.fit_state import Record


def measures(model: BaseModel, x: Any, target: Any, weight: Any) -> Record:
    """The mean loss, and other metrics, of samples that have been looked at."""
    state = model.read_state()
    total: Record = {}
    for chunk in chunks(model.backend, (x, target, weight), EVALUATION_BATCH):
        _, metrics = model.backend.run(model._evaluate, state, chunk.arrays, donate=False)
        for name, values in metrics.items():
            total[name] = total.get(name, 0.0) + float(model.backend.to_numpy(values).astype(np.float64).sum())
    # Divided here and in float64, so that an accuracy of 1 is exactly 1.
    return {name: value / float(weight.sum()) for name, value in total.items()}


def outputs(model: BaseModel, x: Any, meaning: Callable[[Any, Any], Any]) -> Any:
    """What the network's output means for each sample, as a NumPy array."""
    state = model.read_state()
    found = []
    for chunk in chunks(model.backend, (x,), EVALUATION_BATCH):
        _, result = model.backend.run(model._predict, state, chunk.arrays, donate=False)
        with model.backend.scope():
            output = model.backend.to_numpy(meaning(model.backend.xp, result["prediction"]))
        found.append(output.reshape(chunk.rows, *output.shape[2:]))
    return np.concatenate(found)
