"""Training on all rows at once, by SciPy's L-BFGS."""

from __future__ import annotations

import math
from contextlib import nullcontext
from signal import SIGINT
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from anynet.backends.base import SharedStep
from anynet.distributed.mesh import MeshCommunicator
from anynet.errors import warn
from anynet.estimators.penalty import penalized
from anynet.estimators.samples import Samples
from anynet.model import Model
from anynet.model.ranks import check_same_everywhere
from anynet.training import signals
from anynet.training.fit_state import FitState
from anynet.training.state import State
from anynet.training.step import loss_and_gradient


def minimize_loss(
    model: Model,
    samples: Samples,
    decays: tuple[Any, ...],
    l2: float,
    *,
    compared_settings: dict[str, Any],
    max_iter: int,
    max_fun: int,
    tol: float,
) -> Any:
    """Train a model by limited-memory BFGS (Liu and Nocedal 1989), which minimizes the loss of all rows.

    The backend computes loss and gradient; L-BFGS keeps its own state on the host, in float64.

    Returns
    -------
    scipy.optimize.OptimizeResult
        Its `status` is not 0 if it has not converged.
    """
    from scipy.optimize import OptimizeResult, minimize

    backend = model.backend
    count = len(samples.x)
    fit = FitState(model.epoch, 1, model.epoch + 1, count, count)
    check_same_everywhere(model, fit, samples.arrays, compared_settings)
    # As in epochs, each rank has its part of the rows if these can be divided equally, and else all; so has a mesh.
    divides = count % model.comm.ranks == 0 and not isinstance(model.comm, MeshCommunicator)
    comm = model.comm if divides and model.comm.ranks > 1 else None
    differentiate = loss_and_gradient(backend, model.network, model.loss, model.layout, comm=comm)
    differentiate = penalized(differentiate, decays, l2)
    weight = np.ones(count) if samples.weight is None else samples.weight
    rows = samples.x, samples.target, weight / weight.sum(), np.full(count, 1 / weight.sum())
    mine = comm.part(count) if comm else slice(None)
    batch = tuple(backend.asarray(array[mine][None]) for array in rows)
    shapes = [block.shape for block in model.state.parameters]

    def step(xp: Any, state: State, batch: tuple[Any, ...]) -> tuple[State, dict[str, Any]]:
        value, gradients, _ = differentiate(xp, state._replace(parameters=batch[4:]), batch[:4])
        return state, {"loss": value, **{str(i): gradient for i, gradient in enumerate(gradients)}}

    def blocks_of(flat: Any) -> list[Any]:
        cuts = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
        return [part.reshape(shape) for part, shape in zip(np.split(flat, cuts), shapes, strict=True)]

    blocks = [backend.to_numpy(block).ravel() for block in model.state.parameters]
    latest = start = np.concatenate(blocks).astype(np.float64)

    summed = SharedStep(step, comm) if comm else step
    came: list[int] = []

    def objective(flat: Any) -> tuple[float, Any]:
        if number := model.comm.any(came[0] if came else 0):
            raise KeyboardInterrupt if number == SIGINT else SystemExit(128 + number)
        moved = (backend.asarray(block[None]) for block in blocks_of(flat))
        nonlocal latest
        latest = flat.copy()
        _, metrics = backend.run(summed, model.state, (*batch, *moved), donate=False)
        gradients = [backend.to_numpy(metrics[str(i)]).ravel() for i in range(len(shapes))]
        return float(backend.to_numpy(metrics["loss"])[0]), np.concatenate(gradients).astype(np.float64)

    options = {"maxfun": max_fun, "maxiter": max_iter, "gtol": tol}
    # On many ranks, an interrupt waits until all hear of it.
    with model.training(), signals.deferred() if model.comm.ranks > 1 else nullcontext(came) as came:
        try:
            found = minimize(objective, start, method="L-BFGS-B", jac=True, options=options)
        except KeyboardInterrupt:
            came.clear()
            warn("Training interrupted by user.")
            found = OptimizeResult(x=latest, fun=objective(latest)[0], nit=0, status=0)
        best = (backend.asarray(block, copy=True) for block in blocks_of(found.x))
        model.state = model.state._replace(parameters=tuple(best))
    return found


def warn_unless_converged(found: Any, max_iter: int) -> None:
    """Warn if `minimize_loss` has not converged; the warning points to the call of the estimator's `fit`."""
    if found.status != 0:
        warn(
            f"lbfgs failed to converge after {found.nit} iteration(s) (status={found.status}):\n{found.message}\n"
            f"You might also want to scale the data, or increase max_iter (now {max_iter}).",
            ConvergenceWarning,
        )
