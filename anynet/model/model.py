"""What a person holds: a network, a loss and an optimizer, on a backend."""

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
from anynet.model.fitting import FitPolicy
from anynet.model.host_state import named_arrays
from anynet.model.reading import measures, outputs
from anynet.model.summary import Summary, short, summary
from anynet.model.validation import check_callbacks, check_validation, check_whole
from anynet.nn import Layout
from anynet.nn.layer import Shape
from anynet.training.callbacks import Callback, Callbacks
from anynet.training.fit_state import FitState, Record
from anynet.training.loop import Loop
from anynet.training.sources import make_source


class Model(BaseModel):
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
    metrics : iterable of Metric, optional
        What is measured beside the loss; accuracy alone, where the loss decides between classes, if not given.
    clip_norm : float, optional
        A gradient with a larger norm, over all parameters, is scaled down to it.
    backend : str or Backend
        ``name[:device]`` or ``auto``, as `anynet.backends.select` takes it.
    dtype : {"float32", "float64"}, or NumPy's dtype of that name
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
        shape, x, target, weight = self._checked_samples(self.input_shape, x, y, sample_weight)
        warn_of_one_class(target, self.loss)
        validation = None
        if validation_data is not None:
            validation = self._checked_samples(shape, *check_validation(validation_data))[1:]
        directions = {"loss": False}
        if validation:
            directions |= {"val_loss": False, **{f"val_{one.name}": one.higher_is_better for one in self.measured}}
        fit = FitState(self.epoch, epochs, self.epoch + epochs, len(x), batch_size, directions)
        checkpoint = None
        if resume is not None:
            checkpoint = Checkpoint(Path(resume), self, shape, fit)
            fit = checkpoint.fit
        self._ensure_built(shape)
        with ExitStack() as stack:
            stack.enter_context(self.training(fit))
            writer = None
            if checkpoints:
                step = checkpoint.step if checkpoint else int(self.backend.to_numpy(self.state.step))
                writer = stack.enter_context(checkpoints.writer(self, fit, told, step, resumed=checkpoint))
            if checkpoint:
                checkpoint.restore(self)
            source = make_source(self.backend, (x, target))
            stack.enter_context(told.until_the_end(self))
            go_on = told.tell("on_fit_begin", self, fit.last_epoch - self.epoch, len(x))
            if checkpoint:
                checkpoint.restore_callbacks(told, self)
            if go_on:
                most_steps = 1 if debug else checkpoints.every_steps if checkpoints else None
                policy = FitPolicy(self, fit, weight, validation)
                Loop(self, fit, source, policy, told, writer.save if writer else None, most_steps).run()
        return fit.history

    def _checked_samples(self, shape: Shape | None, *samples: Any) -> tuple[Shape, Any, Any, Any]:
        return check_samples(self.network, self.loss, shape, *samples)

    def evaluate(self, x: Any, y: Any, sample_weight: Any = None) -> Record:
        """The mean loss, and what the model's metrics measure.

        >>> import numpy as np
        >>> from anynet.nn import SGD, BCEWithLogitsLoss, Linear, Values
        >>> model = Model(Linear(1, weight=Values([[1.0]])), BCEWithLogitsLoss(), SGD(lr=0.1))
        >>> model.evaluate(np.asarray([[-2.0], [2.0]]), np.asarray([0, 1]))["accuracy"]
        1.0
        """
        shape, *samples = self._checked_samples(self.input_shape, x, y, sample_weight)
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

    def save(self, path: str | Path) -> None:
        """Write description, weights and metadata to one safetensors file, all of it or nothing.

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
            raise DataError(f"{bad[0]} is not finite, and a file of it could not be loaded: train anew, more slowly")
        model_file.write(Path(path), arrays, self.description(state))

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
            settings = {name: description[name] for name in ("clip_norm", "dtype", "seed")}
            settings["metrics"] = model_file.build(description["metrics"], known)
            model = cls(*parts, backend=backend, **settings)
            model.epoch = description["epoch"]
            model.metadata = description["metadata"]
            shape = tuple(description["input_shape"])
            layout = Layout(model.network, shape, model.backend.pack_limit)
            model_file.check(arrays, layout.shapes((*layout.parameters, *layout.buffers)))
            model._set(shape, layout, arrays, description["step"])
        return model

    def summary(self, input_shape: Shape | None = None) -> Summary:
        """A table of the layers: what comes out of each, how many parameters it has, and the memory they take.

        It prints as text and shows as HTML in a notebook, as the model itself does there.

        Parameters
        ----------
        input_shape : tuple of int, optional
            The shape of a sample, for a model that is not built yet or to see what another would make of it.

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

        Layers are named as in `parameters`: ``0``, ``1``, those of a Sequential within it ``3.0``; the only layer of a
        network without containers has no name. They compute as in `predict`. All outputs are in memory at once: ask
        for as many samples as it has room for.

        >>> import numpy as np
        >>> from anynet.nn import SGD, Linear, MSELoss, ReLU, Sequential, Values
        >>> model = Model(Sequential(Linear(1, Values([[-2.0]])), ReLU()), MSELoss(), SGD(0.1))
        >>> {name: output.tolist() for name, output in model.activations(np.asarray([[1.0], [-1.0]])).items()}
        {'0': [[-2.0], [2.0]], '1': [[0.0], [2.0]]}
        """
        return inspection.activations(self, x)

    def gradients(self, x: Any, y: Any, sample_weight: Any = None) -> dict[str, Any]:
        """The gradient of the loss for each trainable parameter, as NumPy arrays by name.

        It is what the next training step would use if x were its batch: with dropout as in that step and the batch's
        own statistics in batch normalization, and without weight decay, which is no part of the loss.

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
