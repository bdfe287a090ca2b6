"""`Model`: a network with a loss and an optimizer, to train, evaluate, predict, save and load."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from anynet.errors import DataError, UsageError
from anynet.model import inspection, model_file
from anynet.model.base import BaseModel
from anynet.model.checkpoint_file import Checkpoint
from anynet.model.checkpoints import Checkpoints
from anynet.model.data_validation import check_inputs, check_samples, warn_of_one_class
from anynet.model.evaluation import evaluate, predict
from anynet.model.fit_policy import FitPolicy
from anynet.model.host_state import named_arrays
from anynet.model.ranks import check_divides, check_same_everywhere, digest_of_rows
from anynet.model.summary import Summary, short, summary
from anynet.model.validation import check_callbacks, check_validation, check_whole
from anynet.nn import Layout
from anynet.nn.layer import InputShape
from anynet.tracing.trees import over_dicts
from anynet.training.callbacks import Callback, Callbacks
from anynet.training.fit_state import FitState, Record
from anynet.training.inputs import count_rows, flat, shape_of
from anynet.training.loop import Loop
from anynet.training.sources import make_source


class Model(BaseModel):
    """A network with its loss and optimizer, which can be trained.

    The weights are created by `build`, or by the first call with samples, such as `fit`. They are drawn on the host
    from `seed`, so every backend starts with the same weights, and gets the data in the same order.

    A model is thread-safe: one thread at a time may train it, and any number of threads may read it meanwhile (by
    `predict`, `evaluate`, `parameters`, `save`, pickling). They get the weights after the last completed batches.

    Parameters
    ----------
    network : Layer
        Such as ``Sequential(Linear(128), ReLU(), Linear(10))``. It cannot be replaced once there are weights.
    loss : Loss
        You may assign another one between two trainings.
    optimizer : Optimizer
        Likewise; a newly assigned optimizer starts without state, at step 0.
    metrics : iterable of Metric, optional
        What `evaluate` measures beside the loss. The default is accuracy if the loss can classify, else nothing.
    clip_norm : float, optional
        If the L2 norm of the gradient, over all parameters, is larger, it is scaled down to this value.
    clip_value : float, optional
        Each number of the gradient is limited to -clip_value and clip_value; if both are given, before its norm is.
    backend : str or Backend
        ``name[:device]``, such as ``torch:cpu``, or ``auto``; see `anynet.backends.select`.
    dtype : {"float32", "float64"}, or NumPy's dtype of that name
        Ignored if `backend` is a Backend, which has its own.
    seed : int
        For the initial weights, the order of samples, and layers that draw random numbers, such as Dropout.
    comm : communicator of mpi4py, or jax.sharding.Mesh, optional
        Such as ``MPI.COMM_WORLD``: its processes train the model together, each on its part of every batch. Each makes
        the same model, and makes the same calls of `fit`, `evaluate` and `predict`, with the same data. On JAX, a mesh
        of one axis, such as ``jax.make_mesh((4,), ("rows",))``: its devices do so, in one process or in several.

    Attributes
    ----------
    epoch : int
        How many epochs the model has been trained.
    learning_rate : float
        Of the next step; you may assign another one, unless the optimizer has a schedule.
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

    def fit(
        self,
        x: Any,
        y: Any,
        *,
        epochs: int = 1,
        batch_size: int = 32,
        accumulate: int = 1,
        sample_weight: Any = None,
        validation_data: tuple[Any, ...] | None = None,
        callbacks: Iterable[Callback] = (),
        checkpoints: Checkpoints | None = None,
        resume: str | Path | None = None,
        debug: bool = False,
    ) -> list[Record]:
        """Train for a number of epochs; another call continues from the weights and optimizer state of this one.

        Parameters
        ----------
        x : array of shape (samples, ...), or files, or a dict of them by name if the network begins with `nn.Inputs`
            uint8 stays uint8 until it is inside the step; other integers become floats. A memory-mapped array, or a
            list of paths of .npy files, is read in pieces, ahead of the step, and may be larger than memory.
        y : array of shape (samples, ...)
            As the loss needs: class numbers of shape (samples,), or probabilities or values in the output's shape.
        epochs, batch_size : int
            The last, shorter batch of an epoch is trained on too. On many ranks, it is the size of the whole batch.
        accumulate : int
            Add up the gradients of this many batches for each update of the weights: that of one large batch, in the
            memory for a small one. Batch normalization still uses each small batch's own statistics.
        sample_weight : array of shape (samples,), optional
            Each batch's loss is the mean over its samples with these weights; all 1 if left out.
        validation_data : (x, y) or (x, y, sample_weight), optional
            Measured after each epoch, never trained on.
        callbacks : iterable of Callback
        checkpoints : Checkpoints, optional
            Where and how often to write checkpoints, for `resume`.
        resume : str or Path, optional
            A checkpoint to continue from, also in the middle of an epoch. With the same data and settings, the result
            has the same bytes as without the interruption; on another backend, or in float64 on JAX, it is the same
            up to rounding. The history begins with the epochs before it.
        debug : bool
            Check that the loss is finite after each step, instead of after several steps; this is slower.

        Returns
        -------
        list of dict
            One record for each epoch: `epoch`, `loss` (the mean of the batch losses in training), `val_loss` and other
            validation metrics, and `seconds` and `samples_per_second` of training.

        Raises
        ------
        DataError, ShapeError
            When the data are invalid or do not fit the model, which is unchanged then.
        CheckpointError, WriteError
            When a checkpoint cannot be read, or cannot be written.
        TrainingDiverged
            When a loss or a weight is not finite.
        """
        with self.comm.together():
            epochs, batch_size = check_whole("epochs", epochs, least=1), check_whole("batch_size", batch_size, least=1)
            accumulate = check_whole("accumulate", accumulate, least=1)
            check_divides(batch_size, self.comm)
            told = Callbacks(check_callbacks(callbacks), self.comm)
            shape, x, target, weight = self._checked_samples(self.input_shape, x, y, sample_weight)
            warn_of_one_class(target, self.loss)
            validation = None
            if validation_data is not None:
                validation = self._checked_samples(shape, *check_validation(validation_data))[1:]
            rows = count_rows(x)
            fit = self._new_fit(epochs, rows, batch_size * accumulate, is_validated=validation is not None)
            checkpoint = None
            if resume is not None:
                checkpoint = Checkpoint(Path(resume), self, shape, fit)
                fit = checkpoint.fit
            self._ensure_built(shape)
        with ExitStack() as stack:
            writer = None
            with self.comm.together():
                stack.enter_context(self.training(fit))
                if checkpoints and self.comm.rank == 0:
                    step = checkpoint.step if checkpoint else int(self.backend.to_numpy(self.state.step))
                    writer = stack.enter_context(checkpoints.writer(self, fit, told, step, resumed=checkpoint))
                if checkpoint:
                    checkpoint.restore(self)
                most_steps = 1 if debug else checkpoints.every_steps if checkpoints else None
                settings = {"accumulate": accumulate, "validation_data": digest_of_rows(validation)}
            check_same_everywhere(self, fit, (x, target, weight), settings)
            source = make_source(self.backend, flat(x, target), self.comm, batch_size)
            # Only rank 0 has to know of checkpoints.
            most_steps = self.comm.gather(most_steps)[0]
            stack.enter_context(told.until_the_end(self))
            go_on = told.tell("on_fit_begin", self, fit.last_epoch - self.epoch, rows)
            with self.comm.together():
                if checkpoint:
                    checkpoint.restore_callbacks(told, self)
            if go_on:
                policy = FitPolicy(self, fit, weight, validation)
                policy.steps = self._training_steps(batch_size) if accumulate > 1 else None
                Loop(self, fit, source, policy, told, writer.save if writer else None, most_steps).run()
        return fit.history

    def _new_fit(self, epochs: int, samples: int, batch_size: int, *, is_validated: bool) -> FitState:
        directions = {"loss": False}
        if is_validated:
            directions |= {"val_loss": False, **{f"val_{one.name}": one.higher_is_better for one in self.measured}}
        return FitState(self.epoch, epochs, self.epoch + epochs, samples, batch_size, directions)

    def _checked_samples(self, shape: InputShape | None, *samples: Any) -> tuple[InputShape, Any, Any, Any]:
        return check_samples(self.network, self.loss, shape, *samples)

    def evaluate(self, x: Any, y: Any, sample_weight: Any = None) -> Record:
        """Compute the mean loss and the metrics, by name.

        >>> import numpy as np
        >>> from anynet.nn import SGD, BCEWithLogitsLoss, Linear, Values
        >>> model = Model(Linear(1, weight=Values([[1.0]])), BCEWithLogitsLoss(), SGD(lr=0.1))
        >>> model.evaluate(np.asarray([[-2.0], [2.0]]), np.asarray([0, 1]))["accuracy"]
        1.0
        """
        shape, *samples = self._checked_samples(self.input_shape, x, y, sample_weight)
        self._ensure_built(shape)
        return evaluate(self, *samples)

    def predict(self, x: Any) -> Any:
        """The network's output for each sample, as a NumPy array of shape (samples, ...)."""
        return self._outputs(x, lambda xp, prediction: prediction)

    def probabilities(self, x: Any) -> Any:
        """The predicted probabilities, in the shape of the output: of each class, or of class 1 for a binary loss."""
        return self._outputs(x, self._of_loss("probabilities"))

    def classify(self, x: Any) -> Any:
        """The predicted class number of each sample; for a binary loss, 0 or 1 for each output."""
        return self._outputs(x, self._of_loss("classify"))

    def _of_loss(self, name: str) -> Any:
        if not hasattr(self.loss, name):
            raise UsageError(f"{name} needs a loss that decides between classes, but this one is {self.loss!r}")
        return getattr(self.loss, name)

    def _outputs(self, x: Any, meaning: Any) -> Any:
        x = check_inputs(x, self.input_shape, self.network.indices)
        self._ensure_built(shape_of(x))
        return predict(self, x, meaning)

    def save(self, path: str | Path) -> None:
        """Write the model, without its optimizer state, to one safetensors file, completely or not at all.

        Raises
        ------
        UsageError
            When there are no weights yet, or a part of the model cannot be described in a file.
        DataError
            When a weight is not finite.
        WriteError
            When the file cannot be written.
        """
        state = self.read_state()
        arrays = named_arrays(self.layout, self.backend, state)
        if bad := [name for name, array in arrays.items() if not np.isfinite(array).all()]:
            raise DataError(f"{bad[0]} is not finite, so no file is written: train again, with a smaller learning rate")
        model_file.write(Path(path), arrays, self.description(state))

    @classmethod
    def load(cls, path: str | Path, *, backend: str = "numpy", known: Iterable[type] = (), comm: Any = None) -> Model:
        """Read a model from a file that `save` wrote.

        You can continue to train it, but with a new optimizer state: velocities, or Adam's moments and step count, are
        only in checkpoints. A learning rate schedule continues at its step.

        Parameters
        ----------
        path : str or Path
        backend : str
            Any backend; it need not be the one on which the model was trained.
        known : iterable of type
            Your own classes of layers, losses, optimizers or metrics that the model uses.
        comm : communicator of mpi4py, optional
            As for a new model.

        Raises
        ------
        ModelFileError
            When the file is missing, damaged, or names something unknown.
        """
        path = Path(path)
        arrays, description = model_file.read(path)
        with model_file.blamed(path):
            parts = [model_file.build(description[part], known) for part in ("network", "loss", "optimizer")]
            settings = {name: description[name] for name in ("clip_norm", "clip_value", "dtype", "seed")}
            settings["metrics"] = model_file.build(description["metrics"], known)
            model = cls(*parts, backend=backend, comm=comm, **settings)
            model.epoch = description["epoch"]
            model.metadata = description["metadata"]
            shape = over_dicts(tuple, description["input_shape"])
            layout = Layout(model.network, shape, model.backend.pack_limit)
            model_file.check(arrays, layout.shapes((*layout.parameters, *layout.buffers)))
            model._set(shape, layout, arrays, description["step"])
        return model

    def summary(self, input_shape: InputShape | None = None) -> Summary:
        """A table of the layers with output shapes, numbers of parameters, and the memory for training them.

        It prints as text, and as HTML in a notebook; a notebook shows a model itself in the same way.

        Parameters
        ----------
        input_shape : tuple of int or dict, optional
            The shape of one sample, without the batch axis, or of each input by name; if left out, the one the model
            was built for.

        Raises
        ------
        ShapeError
            When the layers do not fit the shape.

        >>> from anynet.nn import Adam, CrossEntropyLoss, Linear, ReLU, Sequential
        >>> Model(Sequential(Linear(64), ReLU(), Linear(10)), CrossEntropyLoss(), Adam()).summary((784,))
        CrossEntropyLoss(), Adam(), numpy on cpu, float32
        <BLANKLINE>
        name   layer       output  parameters  trainable
        0      Linear(64)  (64,)       50,240     50,240
        1      ReLU()      (64,)            0          0
        2      Linear(10)  (10,)          650        650
        total              (10,)       50,890     50,890
        <BLANKLINE>
        memory: weights 198.8 KiB, gradients 198.8 KiB, optimizer 397.6 KiB
        """
        return summary(self, input_shape)

    def __repr__(self) -> str:
        return short(self)

    def _repr_html_(self) -> str:
        return summary(self)._repr_html_()

    def activations(self, x: Any) -> dict[str, Any]:
        """The output of every layer for each sample, as NumPy arrays by the name of the layer.

        Layers are named as in `parameters`: ``0``, ``1``, or ``3.0`` for layer 0 in a Sequential at place 3. If the
        network is one layer without a container, its name is empty. Layers compute as in `predict`. All outputs are in
        memory at once, so pass only as many samples as fit.

        >>> import numpy as np
        >>> from anynet.nn import SGD, Linear, MSELoss, ReLU, Sequential, Values
        >>> model = Model(Sequential(Linear(1, Values([[-2.0]])), ReLU()), MSELoss(), SGD(0.1))
        >>> {name: output.tolist() for name, output in model.activations(np.asarray([[1.0], [-1.0]])).items()}
        {'0': [[-2.0], [2.0]], '1': [[0.0], [2.0]]}
        """
        return inspection.activations(self, x)

    def gradients(self, x: Any, y: Any, sample_weight: Any = None) -> dict[str, Any]:
        """The gradient of the loss for each trainable parameter, as NumPy arrays by name.

        It is the gradient that the next training step would compute if x were its batch, before clipping: with the
        dropout of that step, the batch's own statistics in batch normalization, and no weight decay.

        Parameters
        ----------
        x, y, sample_weight : arrays
            As in `fit`; all samples are one batch.

        Raises
        ------
        DataError, ShapeError
            When the data do not fit the network or the loss.

        >>> import numpy as np
        >>> from anynet.nn import SGD, Linear, MSELoss, Values
        >>> model = Model(Linear(1, Values([[2.0]])), MSELoss(), SGD(0.1))
        >>> model.gradients(np.asarray([[3.0]]), np.asarray([[5.0]]))
        {'weight': array([[6.]], dtype=float32), 'bias': array([2.], dtype=float32)}
        """
        return inspection.gradients(self, x, y, sample_weight)
