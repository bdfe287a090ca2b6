"""What a person holds: a network, a loss and an optimizer, on a backend."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anynet.backends import Backend, select
from anynet.backends.base import Step
from anynet.errors import UsageError
from anynet.nn import Layer, Layout, Loss, Optimizer
from anynet.nn.checks import check_layer, check_shape
from anynet.nn.layer import Shape
from anynet.training import model_file, snapshot
from anynet.training.arrays import check_inputs, check_targets, check_weights
from anynet.training.batches import Chunk
from anynet.training.callbacks import Callback, Callbacks, Record
from anynet.training.checkpoint_file import Checkpoint
from anynet.training.checkpoints import Checkpoints
from anynet.training.checks import (
    check_arrays,
    check_callbacks,
    check_loss,
    check_optimizer,
    check_validation,
    check_whole,
)
from anynet.training.course import Course, follow
from anynet.training.feeds import feed
from anynet.training.parts import Part
from anynet.training.reading import measures, outputs
from anynet.training.state import SharedState, State, fresh, state_of
from anynet.training.step import evaluation_step, prediction_step, training_step
from anynet.training.streams import stream

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

_BELONGS_TO_WEIGHTS = {
    "network": "make another Model, and carry over what fits with build(input_shape, arrays)",
    "backend": "model.on(backend) is the same model on another",
}


class Model:
    """A network that trains.

    The weights are made at the first call that shows the shape of a sample, or by `build`. They are drawn on
    the host from `seed`, so every backend starts from the same numbers and sees the data in the same order.

    One thread at a time may train a model. Beside it, any number of threads may read it (`predict`, `evaluate`,
    `parameters`, `save`, pickling): they are served with the weights as of the last batches that are done.

    Parameters
    ----------
    network : Layer
        Such as ``Sequential(Linear(128), ReLU(), Linear(10))``. Once there are weights, no other can be assigned.
    loss : Loss
        Another may be assigned between two trainings.
    optimizer : Optimizer
        Likewise; one that is assigned has taken no step, and remembers nothing.
    backend : str or Backend
        ``name[:device]`` or ``auto``, as `anynet.backends.select` takes it.
    dtype : {"float32", "float64"}, or NumPy's dtype of that name
        Left aside when `backend` is a Backend, which has its own.
    seed : int

    Attributes
    ----------
    epoch : int
        How many epochs it has been trained.
    steps_before : int
        How many steps it had taken when the optimizer began; a schedule counts them too.
    metadata : dict
        Anything JSON can hold; saved and loaded with the model.

    >>> import numpy as np
    >>> from anynet.nn import SGD, Linear, MSELoss, Sequential
    >>> x = np.linspace(-1, 1, 100)[:, None]
    >>> model = Model(Sequential(Linear(1)), MSELoss(), SGD(lr=0.1))
    >>> history = model.fit(x, 3 * x + 1, epochs=30)
    >>> model.predict(np.asarray([[0.5]])).round(2)
    array([[2.5]], dtype=float32)
    """

    network: Part[Layer] = Part()
    loss: Part[Loss] = Part()
    optimizer: Part[Optimizer] = Part()
    backend: Part[Backend] = Part()
    seed: Part[int] = Part()

    def __init__(
        self,
        network: Layer,
        loss: Loss,
        optimizer: Optimizer,
        *,
        backend: str | Backend = "numpy",
        dtype: DTypeLike = "float32",
        seed: int = 0,
    ) -> None:
        self.input_shape: Shape | None = None
        self._shared: SharedState
        self._parts: dict[str, Any] = {}
        self.network = network
        self.loss = loss
        self.optimizer = optimizer
        self.backend = backend if isinstance(backend, Backend) else select(backend, dtype)
        self.seed = seed
        self.epoch = 0
        self.steps_before = 0
        self.metadata: dict[str, Any] = {}
        self.course: Course | None = None
        self._building = threading.RLock()

    def build(self, input_shape: Shape, arrays: Mapping[str, Any] | None = None) -> Model:
        """Make the weights for samples of this shape, without the batch axis.

        Parameters
        ----------
        input_shape : tuple of int
        arrays : dict of arrays, optional
            Weights by name, as in `parameters`; those that are not there are drawn from the seed.

        Raises
        ------
        ShapeError
            When the layers do not fit the shape, or each other, or an array does not fit its parameter.
        UsageError
            When the network has no parameter of such a name, or the model is being trained.
        """
        shape = check_shape(input_shape)
        layout = Layout(self.network, shape, self.backend.pack_limit)
        given = check_arrays(arrays or {}, layout, self.backend.dtype_name, complete=False)
        if any(entry.name not in given for entry in (*layout.parameters, *layout.buffers)):
            given = {**layout.initial(np, stream(self.seed, "weights")), **given}
        self._set(shape, layout, given)
        return self

    def _set(self, shape: Shape, layout: Layout, arrays: Mapping[str, Any]) -> None:
        state = state_of(self.backend, layout, self.optimizer, arrays)
        with self._building:
            if self.input_shape is not None:
                self._shared.refuse_others()
            self._shared = SharedState(self.backend, state)
            self.layout = layout
            self._make_steps()
            self.input_shape = shape

    def _make_steps(self) -> None:
        backend, parts = self.backend, (self.network, self.loss)
        decays = self.layout.decays(np) if self.optimizer.weight_decay else ()
        decays = tuple(backend.asarray(decay) for decay in decays)
        self._train = training_step(
            backend, *parts, self.optimizer, self.layout, decays, seed=self.seed, steps_before=self.steps_before
        )
        self._evaluate = evaluation_step(backend, *parts, self.layout)
        self._predict = prediction_step(backend, self.network, self.layout)

    def _need_weights(self) -> None:
        if self.input_shape is None:
            raise UsageError("the model has no weights yet: fit it first, or build(input_shape)")

    @property
    def state(self) -> State:
        """What training changes; it belongs to training, so `read_state` is for everybody else."""
        self._need_weights()
        return self._shared.state

    @state.setter
    def state(self, state: State) -> None:
        self._shared.replace(state)

    def read_state(self) -> State:
        """The state as of the last batches that are done; its arrays are never changed afterwards, nor may be."""
        self._need_weights()
        return self._shared.read()

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter and buffer by name, copied to NumPy arrays, such as ``0.weight``."""
        return snapshot.named(self, self.read_state())

    def put(self, arrays: Mapping[str, Any]) -> None:
        """Set parameters and buffers by name, all of them, as `parameters` gives them; all else stays as it is.

        In a callback, training goes on with what was put.

        Raises
        ------
        ShapeError, DataError
            When an array has another shape than its parameter, or holds what is no finite number.
        UsageError
            When names are unknown or missing, or the model is being trained in another thread.
        """
        self._need_weights()
        checked = check_arrays(arrays, self.layout, self.backend.dtype_name)
        parameters, buffers = (
            tuple(self.backend.asarray(block, copy=True) for block in part) for part in self.layout.blocks(np, checked)
        )
        self.state = self.state._replace(parameters=parameters, buffers=buffers)

    def __getstate__(self) -> dict[str, Any]:
        return snapshot.taken(self)

    def __setstate__(self, kept: dict[str, Any]) -> None:
        self._restore(kept, select("numpy", kept["dtype"]))

    def on(self, backend: Backend) -> Model:
        """The same model, with all that it remembers, on another backend."""
        model = object.__new__(Model)
        model._restore(snapshot.taken(self), backend)
        return model

    def _restore(self, kept: Mapping[str, Any], backend: Backend) -> None:
        parts = kept["network"], kept["loss"], kept["optimizer"]
        Model.__init__(self, *parts, backend=backend, seed=kept["seed"])
        self.epoch, self.metadata = kept["epoch"], kept["metadata"]
        if kept["input_shape"] is not None:
            shape = kept["input_shape"]
            self._set(shape, Layout(self.network, shape, backend.pack_limit), kept["arrays"])
            self._go_on_from(kept)

    def _go_on_from(self, kept: Mapping[str, Any]) -> None:
        """Become, within a training, the model of which this was taken."""
        self._parts["seed"] = kept["seed"]
        self.epoch, self.steps_before, self.metadata = kept["epoch"], kept["steps_before"], kept["metadata"]
        self._make_steps()
        snapshot.put_back(self, kept)

    @staticmethod
    def _checked(name: str, part: Any) -> Any:
        if name == "seed":
            return check_whole("seed", part, least=0)
        if name == "network":
            check_layer(part, "the network")
        elif name == "loss":
            check_loss(part)
        elif name == "optimizer":
            check_optimizer(part)
        return part

    def _assign(self, name: str, part: Any) -> None:
        """Make something a part; another loss, optimizer or seed counts from the next `fit` on."""
        part = self._checked(name, part)
        if self.input_shape is None:
            self._parts[name] = part
            return
        if self._shared.in_training:
            raise UsageError(f"the model is being trained with the {name} that it has: assign another afterwards")
        if name in _BELONGS_TO_WEIGHTS and part != getattr(self, name):
            raise UsageError(f"the model has weights, so its {name} stays: {_BELONGS_TO_WEIGHTS[name]}")
        if name == "optimizer" and part != self.optimizer:
            slots, learning_rate, step = fresh(self.backend, part, self.state.parameters)
            self.state = self.state._replace(slots=slots, learning_rate=learning_rate, step=step)
            self.steps_before = 0
        self._parts[name] = part
        self._make_steps()

    def fit(
        self,
        x: Any,
        y: Any,
        *,
        epochs: int = 1,
        batch_size: int = 32,
        sample_weight: Any = None,
        validation_data: tuple[Any, ...] | None = None,
        callbacks: Iterable[Callback] = (),
        checkpoints: Checkpoints | None = None,
        resume: str | Path | None = None,
        debug: bool = False,
    ) -> list[Record]:
        """Train for a number of epochs; another call goes on where this one stopped.

        Parameters
        ----------
        x : array of shape (samples, ...), or files
            Bytes stay bytes until they are inside the step; other integers become floats. A memory-mapped array,
            or a sequence of paths of .npy files, is read as it is needed, ahead of the step, and may be larger
            than memory.
        y : array of shape (samples, ...)
            Class numbers, probabilities or values, as the loss takes them.
        epochs, batch_size : int
            The last, shorter batch of an epoch is trained on too.
        sample_weight : array of shape (samples,), optional
            Each batch's loss is the mean of its samples weighted so.
        validation_data : (x, y) or (x, y, sample_weight), optional
            Measured after each epoch, never trained on.
        callbacks : iterable of Callback
        checkpoints : Checkpoints, optional
            Where and how often to write what a training that was killed can go on from.
        resume : str or Path, optional
            A checkpoint to go on from, in the middle of an epoch too: with the same data and settings, to the same
            bytes as if it had never stopped (on another backend, to rounding). The epochs that are over come first in
            the history.
        debug : bool
            Look after each step, not each stretch of them, whether the loss is finite.

        Returns
        -------
        list of dict
            One record for each epoch: `epoch`, `loss` (the mean over the epoch's batches as they were trained
            on), `val_loss` and other validation metrics, `seconds` and `samples_per_second` of training.

        Raises
        ------
        DataError, ShapeError
            When the data cannot be trained on; nothing has changed then.
        CheckpointError
            When a checkpoint cannot be read or written.
        TrainingDiverged
            When a loss or a weight is not finite.
        """
        epochs, batch_size = check_whole("epochs", epochs, least=1), check_whole("batch_size", batch_size, least=1)
        told = Callbacks(check_callbacks(callbacks))
        shape, x, target, weight = self._check(self.input_shape, x, y, sample_weight)
        validation = None if validation_data is None else self._check(shape, *check_validation(validation_data))[1:]
        asked = {"asked": epochs, "samples": len(x), "batch_size": batch_size}
        checkpoint = None if resume is None else Checkpoint(Path(resume), self, shape, asked)
        self._ensure_built(shape)
        with ExitStack() as stack:
            stack.enter_context(self.training())
            if checkpoint:
                checkpoint.restore(self)
            last = self.epoch + epochs
            course = checkpoint.course if checkpoint else Course(self.epoch, epochs, last, len(x), batch_size)
            writer = None
            if checkpoints:
                step = int(self.backend.to_numpy(self.state.step))
                resumed = checkpoint.path if checkpoint else None
                writer = stack.enter_context(checkpoints.writer(course, step, resumed))
            self.course = course
            stack.callback(setattr, self, "course", None)
            source = feed(self.backend, (x, target))
            stack.enter_context(told.until_the_end(self))
            go_on = told.tell("on_fit_begin", self, course.epochs - self.epoch, len(x))
            if checkpoint:
                checkpoint.restore_callbacks(told)
            if go_on:
                most_steps = 1 if debug else checkpoints.every_steps if checkpoints else None
                follow(self, course, source, weight, validation, told, writer, most_steps)
        return course.history

    def training(self) -> AbstractContextManager[None]:
        """The time in which this thread alone may change the model; a UsageError where it is being trained already."""
        self._need_weights()
        return self._shared.training()

    def train_on(self, batches: Chunk, data: tuple[Any, ...], step: Step | None = None) -> Any:
        """Take a step for each batch, in training; the loss of each, which the device may be working on still."""

        def steps(state: State) -> tuple[State, Any]:
            state, metrics = self.backend.run(step or self._train, state, batches.arrays, data)
            return state, metrics["loss"]

        return self._shared.change(steps)

    def evaluate(self, x: Any, y: Any, sample_weight: Any = None) -> Record:
        """The mean loss, and accuracy where the loss decides between classes.

        >>> import numpy as np
        >>> from anynet.nn import SGD, BCEWithLogitsLoss, Linear, Values
        >>> model = Model(Linear(1, weight=Values([[1.0]])), BCEWithLogitsLoss(), SGD(lr=0.1))
        >>> model.evaluate(np.asarray([[-2.0], [2.0]]), np.asarray([0, 1]))["accuracy"]
        1.0
        """
        shape, *samples = self._check(self.input_shape, x, y, sample_weight)
        self._ensure_built(shape)
        return measures(self, *samples)

    def predict(self, x: Any) -> Any:
        """The network's output for each sample, as a NumPy array of shape (samples, ...)."""
        return self._outputs(x, lambda xp, prediction: prediction)

    def probabilities(self, x: Any) -> Any:
        """The predicted probabilities: of each class, or of the one class there is."""
        return self._outputs(x, self._of_loss("probabilities"))

    def classify(self, x: Any) -> Any:
        """The number of the likeliest class of each sample."""
        return self._outputs(x, self._of_loss("classify"))

    def _of_loss(self, name: str) -> Any:
        if not hasattr(self.loss, name):
            raise UsageError(f"{name} needs a loss that decides between classes, but this one is {self.loss!r}")
        return getattr(self.loss, name)

    def _outputs(self, x: Any, meaning: Any) -> Any:
        x = check_inputs(x, self.input_shape)
        self._ensure_built(x.shape[1:])
        return outputs(self, x, meaning)

    def _check(self, shape: Shape | None, x: Any, y: Any, sample_weight: Any = None) -> tuple[Shape, Any, Any, Any]:
        x = check_inputs(x, shape)
        _, out_shape = self.network.parameters(x.shape[1:])
        target = check_targets(y, len(x), self.loss, out_shape)
        return x.shape[1:], x, target, check_weights(sample_weight, len(x))

    def _ensure_built(self, shape: Shape) -> None:
        with self._building:
            if self.input_shape is None:
                self.build(shape)

    def save(self, path: str | Path) -> None:
        """Write description, weights and metadata to one safetensors file, all of it or nothing.

        Raises
        ------
        UsageError
            When there are no weights yet, or a part of the model cannot be described in a file.
        """
        state = self.read_state()
        model_file.write(Path(path), snapshot.named(self, state), self.description(state))

    def description(self, state: State) -> dict[str, Any]:
        """All but the weights, as what JSON can hold."""
        return {
            **model_file.parts(self),
            "input_shape": self.input_shape,
            "seed": self.seed,
            "epoch": self.epoch,
            "step": self.steps_before + int(self.backend.to_numpy(state.step)),
            "metadata": self.metadata,
        }

    @classmethod
    def load(cls, path: str | Path, *, backend: str = "numpy", known: Iterable[type] = ()) -> Model:
        """Read a model from a file that `save` wrote.

        It can be trained further, by an optimizer that begins anew: what it remembered, such as a velocity or Adam's
        moments with the count of their steps, is in a checkpoint and not in this file. A schedule goes on.

        Parameters
        ----------
        path : str or Path
        backend : str
            Any backend, whichever the model was trained on.
        known : iterable of type
            The classes of your own layers, losses or optimizers that the model uses.

        Raises
        ------
        ModelFileError
            When the file is missing, damaged, or names something unknown.
        """
        path = Path(path)
        arrays, description = model_file.read(path)
        with model_file.blamed(path):
            parts = [model_file.build(description[part], known) for part in ("network", "loss", "optimizer")]
            model = cls(*parts, backend=backend, dtype=description["dtype"], seed=description["seed"])
            model.epoch = description["epoch"]
            model.metadata = description["metadata"]
            shape = tuple(description["input_shape"])
            layout = Layout(model.network, shape, model.backend.pack_limit)
            model_file.check(arrays, layout.shapes((*layout.parameters, *layout.buffers)))
            model.steps_before = description["step"]
            model._set(shape, layout, arrays)
        return model
