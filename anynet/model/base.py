"""The base of `Model`: its parts and weights, and thread-safe access to them."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from anynet.backends import Backend, select
from anynet.backends.base import Step
from anynet.distributed import Communicator
from anynet.errors import UsageError
from anynet.model import host_state, model_file
from anynet.model.part import Part
from anynet.model.validation import check_arrays, check_assigned, check_learning_rate, check_metrics
from anynet.nn import EMA, Layer, Layout, Loss, Optimizer
from anynet.nn.checks import check_input_shape
from anynet.nn.layer import InputShape
from anynet.tracing.trees import leaves, rebuilt
from anynet.training.batches import Chunk
from anynet.training.fit_state import FitState
from anynet.training.metrics import Metric, default_metrics
from anynet.training.rng import generator
from anynet.training.state import SharedState, State, first_rate, first_slots, resets_after_fork, state_of, step_number
from anynet.training.step import (
    Steps,
    evaluation_step,
    loss_and_gradient,
    prediction_step,
    training_step,
    training_steps,
)

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

_BELONGS_TO_WEIGHTS = {
    "network": "make another Model, and carry over what fits with build(input_shape, arrays)",
    "backend": "model.on(backend) is the same model on another",
}
_PLAIN = (
    "network",
    "loss",
    "optimizer",
    "metrics",
    "clip_norm",
    "clip_value",
    "seed",
    "epoch",
    "metadata",
    "input_shape",
)


class BaseModel:
    """The parts and weights of a model; one thread at a time may change them, any number may read them."""

    network: Part[Layer] = Part()
    loss: Part[Loss] = Part()
    optimizer: Part[Optimizer] = Part()
    backend: Part[Backend] = Part()
    metrics: Part[tuple[Metric, ...] | None] = Part()
    clip_norm: Part[float | None] = Part()
    clip_value: Part[float | None] = Part()
    comm: Part[Communicator] = Part()
    seed: Part[int] = Part()

    def __init__(
        self,
        network: Layer,
        loss: Loss,
        optimizer: Optimizer,
        *,
        metrics: Iterable[Metric] | None = None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        backend: str | Backend = "numpy",
        dtype: DTypeLike = "float32",
        seed: int = 0,
        comm: Any = None,
    ) -> None:
        self.input_shape: InputShape | None = None
        self._shared: SharedState
        self._parts: dict[str, Any] = {}
        # Held while parts or weights are replaced, and when a training begins.
        self._building = threading.RLock()
        resets_after_fork(self)
        self.network = network
        self.loss = loss
        self.optimizer = optimizer
        self.metrics = metrics
        self.clip_norm = clip_norm
        self.clip_value = clip_value
        self.comm = comm
        self.backend = backend if isinstance(backend, Backend) else select(backend, dtype)
        self.seed = seed
        self.epoch = 0
        self.metadata: dict[str, Any] = {}
        self.fit_state: FitState | None = None

    def reset_after_fork(self) -> None:
        """Replace a lock that a thread of the parent process may have held."""
        self._building = threading.RLock()

    def build(self, input_shape: InputShape, arrays: Mapping[str, Any] | None = None) -> Self:
        """Make the weights for samples of this shape, without the batch axis.

        Parameters
        ----------
        input_shape : tuple of int, or dict
            A dict has the shape of each input by name, if the network takes a dict of arrays.
        arrays : dict of arrays, optional
            Weights by name, as in `parameters`; missing ones are drawn from the seed.

        Raises
        ------
        ShapeError
            When the layers do not fit the shape, or each other, or an array does not fit its parameter.
        UsageError
            When the network has no parameter of such a name, or the model is being trained.
        """
        shape = check_input_shape(input_shape)
        layout = Layout(self.network, shape, self.backend.pack_limit)
        given = check_arrays(arrays or {}, layout, self.backend.dtype_name, complete=False)
        if any(entry.name not in given for entry in (*layout.parameters, *layout.buffers)):
            given = {**layout.initial(np, generator(self.seed, "weights")), **given}
        is_built = self.input_shape is not None
        self._set(shape, layout, given)
        if is_built:
            self.epoch = 0
        return self

    def _set(self, shape: InputShape, layout: Layout, arrays: Mapping[str, Any], step: int = 0) -> None:
        state = state_of(self.backend, layout, self.optimizer, arrays, step)
        with self._building:
            if self.input_shape is not None and self._shared.in_training:
                raise UsageError("the model is being trained: build it anew afterwards, or put other weights")
            self._shared = SharedState(self.backend, state)
            self.layout = layout
            self._make_steps()
            self.input_shape = shape

    def _make_steps(self) -> None:
        backend, parts = self.backend, (self.network, self.loss)
        self._train = self._training_steps()
        metrics = self.measured
        self._evaluation = evaluation_step(backend, *parts, metrics, self.layout), metrics
        self._predict = prediction_step(backend, self.network, self.layout)

    def _training_steps(self, most_rows: int | None = None) -> Steps:
        """The training steps, which compute a batch in pieces of `most_rows` over all ranks."""
        backend, layout = self.backend, self.layout
        decays = layout.decays(np) if self.optimizer.weight_decay else ()
        decays = tuple(backend.asarray(decay) for decay in decays)

        def train(comm: Communicator | None) -> Step:
            rows = most_rows // comm.devices if most_rows and comm else most_rows
            differentiate = loss_and_gradient(backend, self.network, self.loss, layout, self.seed, comm, rows)
            clipping = self.clip_norm, self.clip_value
            return training_step(backend, differentiate, self.optimizer, layout, decays, *clipping)

        return training_steps(train, self.comm)

    @property
    def measured(self) -> tuple[Metric, ...]:
        """The metrics that `evaluate` measures beside the loss; if none were given, the default of the loss."""
        return default_metrics(self.loss) if self.metrics is None else self.metrics

    def _need_weights(self) -> None:
        if self.input_shape is None:
            raise UsageError("the model has no weights yet: fit it first, or build(input_shape)")

    @property
    def is_trained_elsewhere(self) -> bool:
        """Whether another thread is training the model."""
        return self.input_shape is not None and self._shared.is_trained_elsewhere

    @property
    def state(self) -> State:
        """Everything that training changes; only for the training thread, other code calls `read_state`."""
        self._need_weights()
        return self._shared.state

    @state.setter
    def state(self, state: State) -> None:
        self._shared.replace(lambda _: state)

    def read_state(self) -> State:
        """The state after the last completed batches; do not change its arrays.

        Training does not change them either, except those that a callback has read.
        """
        self._need_weights()
        state = self._shared.read()
        # While many devices train, each has the whole state; whoever reads it has one.
        return rebuilt(state, map(self.backend.local, leaves(state))) if self.comm.devices > 1 else state

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters and buffers by name, such as ``0.weight``, copied to NumPy arrays."""
        state = self.read_state()
        return host_state.named_arrays(self.layout, self.backend, state)

    def put(self, arrays: Mapping[str, Any]) -> None:
        """Set all parameters and buffers, by name as in `parameters`; the optimizer state does not change.

        If a callback calls this, training continues with the new values.

        Raises
        ------
        ShapeError, DataError
            When an array does not have the shape of its parameter, or holds inf or nan.
        UsageError
            When names are unknown or missing, or the model is being trained in another thread.
        """
        self._need_weights()
        checked = check_arrays(arrays, self.layout, self.backend.dtype_name)
        parameters, buffers = (
            tuple(self.backend.asarray(block, copy=True) for block in part) for part in self.layout.blocks(np, checked)
        )
        self._shared.replace(lambda state: state._replace(parameters=parameters, buffers=buffers))

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step.

        A number may be assigned, also by a callback, unless the optimizer has a schedule. It belongs to the optimizer
        state: checkpoints and copies have it, model files do not, and another optimizer begins with its own ``lr``.

        Raises
        ------
        UsageError
            When the model has no weights yet; on assignment, also when the number is invalid, the optimizer has a
            schedule, or the model is being trained in another thread.
        """
        state, backend, schedule = self.read_state(), self.backend, self.optimizer.lr
        with backend.scope():
            rate = state.learning_rate
            if callable(schedule):
                rate = schedule(backend.xp, backend.xp.astype(state.step, backend.dtype))
            return float(backend.to_numpy(rate))

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self._need_weights()
        checked = check_learning_rate(rate, self.optimizer, self.backend.dtype_name)
        on_device = self.backend.asarray(checked, copy=True)
        self._shared.replace(lambda state: state._replace(learning_rate=on_device))

    def snapshot(self) -> dict[str, Any]:
        """The whole model as a dict, its arrays as NumPy arrays; used for pickling and copying."""
        # Another thread may be assigning an optimizer, with a state of its own.
        with self._building:
            kept = {**{name: getattr(self, name) for name in _PLAIN}, "dtype": self.backend.dtype_name}
            state = None if self.input_shape is None else self.read_state()
        kept["metadata"] = copy.deepcopy(self.metadata)
        if state is not None:
            kept |= host_state.to_host(self.layout, self.backend, kept["optimizer"], state)
        return kept

    def description(self, state: State) -> dict[str, Any]:
        """Everything but the weights, as values that JSON can hold."""
        return {
            **model_file.parts(self),
            "input_shape": self.input_shape,
            "seed": self.seed,
            "epoch": self.epoch,
            "step": int(self.backend.to_numpy(state.step)),
            "metadata": self.metadata,
        }

    __getstate__ = snapshot

    def __setstate__(self, kept: dict[str, Any]) -> None:
        self._restore(kept, select("numpy", kept["dtype"]))

    def on(self, backend: Backend) -> Self:
        """A copy of the model, with its optimizer state, on another backend."""
        return self._made_from(self.snapshot(), backend)

    def averaged(self) -> Self:
        """A copy of the model with the running mean of its weights, which the optimizer `EMA` keeps.

        Also in a callback, as in ``model.averaged().evaluate(x, y)``. Buffers, such as the statistics of batch
        normalization, are those of the model. Save it by ``model.averaged().save(path)``: like all of the optimizer
        state, the mean is in checkpoints, not in model files.

        Raises
        ------
        UsageError
            When the model has no weights yet, or its optimizer keeps no mean of them.
        """
        self._need_weights()
        kept = self.snapshot()
        if not isinstance(kept["optimizer"], EMA):
            raise UsageError(f"the optimizer keeps no mean of the weights: give it as EMA({kept['optimizer']!r})")
        # A network without parameters has no slots, either.
        averages = kept["slots"].get("average", {})
        return self._made_from({**kept, "arrays": kept["arrays"] | averages}, self.backend)

    def _made_from(self, kept: Mapping[str, Any], backend: Backend) -> Self:
        model = object.__new__(type(self))
        model._restore(kept, backend)
        # JAX sums over other ranks than the rest.
        if (backend.name == "jax") == (self.backend.name == "jax"):
            model.comm = self.comm
        return model

    def _restore(self, kept: Mapping[str, Any], backend: Backend) -> None:
        parts = kept["network"], kept["loss"], kept["optimizer"]
        settings = {name: kept[name] for name in ("metrics", "clip_norm", "clip_value", "seed")}
        BaseModel.__init__(self, *parts, backend=backend, **settings)
        self.epoch, self.metadata = kept["epoch"], kept["metadata"]
        if kept["input_shape"] is not None:
            shape = kept["input_shape"]
            self._set(shape, Layout(self.network, shape, backend.pack_limit), kept["arrays"])
            self._go_on_from(kept)

    def _go_on_from(self, kept: Mapping[str, Any]) -> None:
        """Restore seed, epoch, metadata, weights and optimizer state from a snapshot, inside a training."""
        self._parts["seed"] = kept["seed"]
        self.epoch, self.metadata = kept["epoch"], kept["metadata"]
        self._make_steps()
        self.state = host_state.from_host(self.layout, self.backend, self.optimizer, kept)

    def _assign(self, name: str, part: Any) -> None:
        """Check and assign a part, for the next call; network and backend cannot change once there are weights."""
        part = check_assigned(name, part)
        with self._building:
            if name == "metrics":
                part = check_metrics(part, self.loss)
            elif name == "loss":
                check_metrics(self._parts.get("metrics"), part)
            elif name == "comm" and "backend" in self._parts:
                self.backend.check_comm(part)
            elif name == "backend":
                part.check_comm(self.comm)
            self._put_part(name, part)

    def _put_part(self, name: str, part: Any) -> None:
        if self.input_shape is None:
            self._parts[name] = part
            return
        if self._shared.in_training:
            raise UsageError(f"the model is being trained with the {name} that it has: assign another afterwards")
        if name in _BELONGS_TO_WEIGHTS and part != getattr(self, name):
            raise UsageError(f"the model has weights, so its {name} stays: {_BELONGS_TO_WEIGHTS[name]}")
        if name == "optimizer" and part is not self.optimizer:
            self._shared.replace(
                lambda state: state._replace(
                    slots=first_slots(self.backend, self.layout, part, state.parameters),
                    learning_rate=first_rate(self.backend, part),
                    step=step_number(self.backend, 0),
                )
            )
        self._parts[name] = part
        self._make_steps()

    def _ensure_built(self, shape: InputShape) -> None:
        if self.input_shape is None:
            with self._building:
                if self.input_shape is None:
                    self.build(shape)

    @contextmanager
    def training(self, fit: FitState | None = None) -> Iterator[None]:
        """A context in which only this thread may change the model; a UsageError if it is already being trained."""
        self._need_weights()
        with ExitStack() as stack:
            with self._building:
                stack.enter_context(self._shared.training())
            stack.callback(setattr, self, "fit_state", None)
            self.fit_state = fit
            yield

    def train_on(self, batches: Chunk, data: tuple[Any, ...], steps: Steps | None = None) -> Any:
        """Take a step for each batch, inside `training`; return the losses, which the device may still compute."""

        whole, part = steps or self._train
        step = part if batches.is_shared else whole

        def run(state: State) -> tuple[State, Any]:
            state, metrics = self.backend.run(step, state, batches.arrays, data)
            return state, metrics["loss"]

        return self._shared.change(run)
