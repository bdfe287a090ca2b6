"""What a person holds: a network, a loss and an optimizer, on a backend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from anynet.backends import Backend, select
from anynet.errors import UsageError
from anynet.nn import Layer, Layout, Loss, Optimizer
from anynet.nn.layer import Shape
from anynet.training import checkpoints as checkpoint_files
from anynet.training import model_file, snapshot
from anynet.training.arrays import check_inputs, check_targets, check_weights, warn_of_one_class
from anynet.training.batches import chunks
from anynet.training.callbacks import Callback, Record
from anynet.training.checkpoints import Checkpoints
from anynet.training.course import Course, follow
from anynet.training.feeds import feed
from anynet.training.step import State, evaluation_step, prediction_step, training_step
from anynet.training.streams import stream

EVALUATION_BATCH = 1024


class Model:
    """A network that trains.

    The weights are made at the first call that shows the shape of a sample, or by `build`. They are drawn on
    the host from `seed`, so every backend starts from the same numbers and sees the data in the same order.

    Parameters
    ----------
    network : Layer
        Such as ``Sequential(Linear(128), ReLU(), Linear(10))``.
    loss : Loss
    optimizer : Optimizer
    backend : str or Backend
        ``name[:device]`` or ``auto``, as `anynet.backends.select` takes it.
    dtype : {"float32", "float64"}
        Left aside when `backend` is a Backend, which has its own.
    seed : int

    Attributes
    ----------
    epoch : int
        How many epochs it has been trained.
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

    def __init__(
        self,
        network: Layer,
        loss: Loss,
        optimizer: Optimizer,
        *,
        backend: str | Backend = "numpy",
        dtype: str = "float32",
        seed: int = 0,
    ) -> None:
        if not isinstance(seed, (int, np.integer)) or seed < 0:
            raise UsageError(f"seed must be a whole number, 0 or more, but is {seed!r}")
        for name, part in (("network", network), ("loss", loss), ("optimizer", optimizer)):
            if isinstance(part, type):
                raise UsageError(f"the {name} is the class {part.__name__}; make one, as in {part.__name__}(...)")
        self.network = network
        self.loss = loss
        self.optimizer = optimizer
        self.backend = backend if isinstance(backend, Backend) else select(backend, dtype)
        self.seed = int(seed)
        self.epoch = 0
        self.metadata: dict[str, Any] = {}
        self.input_shape: Shape | None = None
        self.course: Course | None = None

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
            When the layers do not fit the shape, or each other.
        """
        shape = tuple(input_shape)
        layout = Layout(self.network, shape, self.backend.pack_limit)
        arrays = dict(arrays or {})
        if any(entry.name not in arrays for entry in (*layout.parameters, *layout.buffers)):
            arrays = {**layout.initial(np, stream(self.seed, "weights")), **arrays}
        self._set(shape, layout, arrays)
        return self

    def _set(self, shape: Shape, layout: Layout, arrays: Mapping[str, Any], step: int = 0) -> None:
        backend = self.backend
        blocks = layout.blocks(np, arrays)
        # A copy, since these blocks are updated in place and an array may share memory with what it was made of.
        parameters, buffers = (tuple(backend.asarray(block, copy=True) for block in part) for part in blocks)
        with backend.scope():
            slots = tuple(self.optimizer.init(backend.xp, block) for block in parameters)
        constant = np.asarray(0.0 if callable(self.optimizer.lr) else self.optimizer.lr)
        learning_rate, step = (backend.asarray(n, copy=True) for n in (constant, np.asarray(step, dtype=np.int32)))
        self.state = State(parameters, buffers, slots, learning_rate, step)
        decays = layout.decays(np) if self.optimizer.weight_decay else ()
        decays = tuple(backend.asarray(decay) for decay in decays)
        self._train = training_step(backend, self.network, self.loss, self.optimizer, layout, decays, seed=self.seed)
        self._evaluate = evaluation_step(backend, self.network, self.loss, layout)
        self._predict = prediction_step(backend, self.network, layout)
        self.layout, self.input_shape = layout, shape

    def _need_weights(self) -> None:
        if self.input_shape is None:
            raise UsageError("the model has no weights yet: fit it first, or build(input_shape)")

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter and buffer by name, copied to NumPy arrays, such as ``0.weight``."""
        self._need_weights()
        return snapshot.named(self, self.state.parameters)

    def put(self, arrays: Mapping[str, Any]) -> None:
        """Set parameters and buffers by name, as `parameters` gives them; all else stays as it is."""
        self._need_weights()
        parameters, buffers = self.layout.blocks(np, arrays)
        blocks = (tuple(self.backend.asarray(block, copy=True) for block in part) for part in (parameters, buffers))
        self.state = self.state._replace(**dict(zip(("parameters", "buffers"), blocks, strict=True)))

    def __getstate__(self) -> dict[str, Any]:
        return snapshot.taken(self)

    def __setstate__(self, kept: dict[str, Any]) -> None:
        snapshot.put_back(self, kept, select("numpy", kept["dtype"]))

    def on(self, backend: Backend) -> Model:
        """The same model, with all that it remembers, on another backend."""
        model = object.__new__(Model)
        snapshot.put_back(model, snapshot.taken(self), backend)
        return model

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
        for name, number in (("epochs", epochs), ("batch_size", batch_size)):
            if not isinstance(number, (int, np.integer)) or isinstance(number, bool) or number < 1:
                raise UsageError(f"{name} must be a whole number, 1 or more, but is {number!r}")
        shape, x, target, weight = self._check(self.input_shape, x, y, sample_weight)
        warn_of_one_class(target, self.loss)
        validation = self._check(shape, *validation_data)[1:] if validation_data else None
        self._ensure_built(shape)
        watchers = list(callbacks)
        course = Course(self.epoch, int(epochs), self.epoch + int(epochs), len(x), int(batch_size))
        if resume is not None:
            course = checkpoint_files.resume(self, Path(resume), course, watchers)
        if checkpoints:
            checkpoints.begin()
        self.course = course
        source = feed(self.backend, self._train, (x, target))
        most_steps = 1 if debug else checkpoints.every_steps if checkpoints else None
        for watcher in watchers:
            watcher.on_fit_begin(self, course.epochs - self.epoch, len(x))
        try:
            follow(self, course, source, weight, validation, watchers, checkpoints, most_steps)
        finally:
            self.course = None
            for watcher in watchers:
                watcher.on_fit_end(self)
        return course.history

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
        return self._measure(*samples)

    def _measure(self, x: Any, target: Any, weight: Any) -> Record:
        total: Record = {}
        for chunk in chunks(self.backend, (x, target, weight), EVALUATION_BATCH):
            self.state, metrics = self.backend.run(self._evaluate, self.state, chunk.arrays)
            for name, values in metrics.items():
                total[name] = total.get(name, 0.0) + float(self.backend.to_numpy(values).astype(np.float64).sum())
        # Divided here and in float64, so that an accuracy of 1 is exactly 1.
        return {name: value / float(weight.sum()) for name, value in total.items()}

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
        outputs = []
        for chunk in chunks(self.backend, (x,), EVALUATION_BATCH):
            self.state, result = self.backend.run(self._predict, self.state, chunk.arrays)
            with self.backend.scope():
                output = self.backend.to_numpy(meaning(self.backend.xp, result["prediction"]))
            outputs.append(output.reshape(chunk.steps * chunk.batch_size, *output.shape[2:]))
        return np.concatenate(outputs)

    def _check(self, shape: Shape | None, x: Any, y: Any, sample_weight: Any = None) -> tuple[Shape, Any, Any, Any]:
        x = check_inputs(x, shape)
        _, out_shape = self.network.parameters(x.shape[1:])
        target = check_targets(y, len(x), self.loss, out_shape)
        return x.shape[1:], x, target, check_weights(sample_weight, len(x))

    def _ensure_built(self, shape: Shape) -> None:
        if self.input_shape is None:
            self.build(shape)

    def save(self, path: str | Path) -> None:
        """Write description, weights and metadata to one safetensors file, all of it or nothing.

        Raises
        ------
        UsageError
            When there are no weights yet, or a part of the model cannot be described in a file.
        """
        self._need_weights()
        model_file.write(Path(path), self.parameters, self.description())

    def description(self) -> dict[str, Any]:
        """All but the weights, as what JSON can hold."""
        return {
            "network": model_file.describe(self.network),
            "loss": model_file.describe(self.loss),
            "optimizer": model_file.describe(self.optimizer),
            "input_shape": self.input_shape,
            "dtype": self.backend.dtype_name,
            "seed": self.seed,
            "epoch": self.epoch,
            "step": int(self.backend.to_numpy(self.state.step)),
            "metadata": self.metadata,
        }

    @classmethod
    def load(cls, path: str | Path, *, backend: str = "numpy", known: Iterable[type] = ()) -> Model:
        """Read a model from a file that `save` wrote; training can go on from there, without old momentum.

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
            model_file.check(arrays, {e.name: e.parameter.shape for e in (*layout.parameters, *layout.buffers)})
            model._set(shape, layout, arrays, description["step"])
        return model
