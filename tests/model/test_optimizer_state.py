"""What an optimizer remembers is its own affair: a model keeps it, moves it and writes it down, whatever its shape."""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chosen import BACKEND

from anynet import Model
from anynet.backends import select
from anynet.errors import CheckpointError, UsageError
from anynet.model import Checkpoints
from anynet.model.checkpoints import latest
from anynet.nn import SGD, Adam, Dropout, Linear, LinearDecay, MSELoss, Optimizer, Schedule, Sequential, Tanh
from anynet.training import Callback

SAMPLES = Path(__file__).parents[1] / "samples"
X = np.linspace(-1, 1, 60).reshape(20, 3)
Y = X[:, :1] * X[:, 1:2]


@dataclass(frozen=True)
class Factored(Optimizer):
    """Steps of one length for each parameter; remembers the last norms, and the mean square of each row."""

    lr: float | Schedule = 0.1
    weight_decay: float = 0.01
    elementwise = False

    def init(self, xp: Any, block: Any) -> dict[str, Any]:
        like = {"dtype": block.dtype, "device": block.device}
        rows = {"rows": xp.zeros(block.shape[:1], **like)} if block.ndim == 2 else {}
        return {"norms": xp.zeros(2, **like), **rows}

    def update(self, xp: Any, block: Any, gradient: Any, slots: Any, learning_rate: Any) -> Any:
        norm = xp.sqrt(xp.sum(gradient * gradient)) + 1e-9
        kept = {"norms": xp.stack([norm, slots["norms"][0]])}
        scale = 1.0 / (norm + slots["norms"][1])
        if block.ndim == 2:
            kept["rows"] = 0.5 * slots["rows"] + xp.mean(gradient * gradient, axis=1)
            scale = scale / (1.0 + xp.sqrt(kept["rows"])[:, None])
        block -= learning_rate * scale * gradient
        return block, kept


class Stop(Callback):
    def __init__(self, after: int) -> None:
        self.left = after

    def on_batches_end(self, model: Any, samples: int) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def new_model(optimizer: Any, backend: str = BACKEND, *, p: float = 0.25, **settings: Any) -> Model:
    network = Sequential(Linear(4), Dropout(p), Tanh(), Linear(1))
    return Model(network, MSELoss(), optimizer, backend=backend, dtype="float64", seed=2, **settings)


def assert_equal(model: Model, expected: Model, rtol: float = 1e-9) -> None:
    for name, array in expected.parameters.items():
        np.testing.assert_allclose(model.parameters[name], array, rtol=rtol, err_msg=name)


OPTIMIZERS = [Adam(0.05), Factored()]


@dataclass(frozen=True)
class Normalized(Optimizer):
    """No weight decay, no slots: as little as one that is not elementwise can be."""

    lr: float | Schedule = 0.1
    elementwise = False

    def update(self, xp: Any, block: Any, gradient: Any, slots: Any, learning_rate: Any) -> Any:
        block -= learning_rate * gradient / (xp.sqrt(xp.sum(gradient * gradient)) + 1e-9)
        return block, slots


@pytest.mark.filterwarnings("error")
def test_one_that_remembers_nothing_and_does_not_decay_trains_too(backend_name: str) -> None:
    model, expected = new_model(Normalized(), backend_name), new_model(Normalized(), "strict")
    model.fit(X, Y, epochs=2, batch_size=8)
    expected.fit(X, Y, epochs=2, batch_size=8)
    assert_equal(model, expected)


@pytest.mark.parametrize(
    ("made", "returned", "words"),
    [
        (None, {}, r"Odd\.init must return a dict of arrays, by names without '/', but returns None"),
        ({"a": 1.0}, {}, r"Odd\.init must return a dict of arrays"),
        ({"a/b": np.zeros(())}, {}, "by names without '/'"),
        ({}, {"new": np.zeros(())}, r"Odd\.update must return the slots of init, in their shapes"),
        ({"a": np.zeros(())}, {}, r"Odd\.update must return the slots of init"),
        ({"a": np.zeros(())}, {"a": np.zeros(3)}, r"Odd\.update must return the slots of init"),
    ],
)
@pytest.mark.host
def test_slots_that_no_file_could_hold_are_refused(made: Any, returned: Any, words: str) -> None:
    class Odd(SGD):
        def init(self, xp: Any, block: Any) -> Any:
            return made

        def update(self, xp: Any, block: Any, gradient: Any, slots: Any, learning_rate: Any) -> Any:
            return block, returned

    with pytest.raises(UsageError, match=words):
        new_model(Odd(0.1)).fit(X, Y)


@pytest.mark.filterwarnings("error")
def test_one_that_is_not_elementwise_gets_each_parameter_in_its_shape(backend_name: str) -> None:
    model, expected = new_model(Factored(), backend_name), new_model(Factored(), "strict")
    model.fit(X, Y, epochs=3, batch_size=8)
    expected.fit(X, Y, epochs=3, batch_size=8)
    assert_equal(model, expected)
    assert [{name: tuple(slot.shape) for name, slot in slots.items()} for slots in model.state.slots] == [
        {"norms": (2,), "rows": (3,)},
        {"norms": (2,)},
        {"norms": (2,), "rows": (4,)},
        {"norms": (2,)},
    ]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_it_goes_along_to_a_copy_and_to_another_backend(optimizer: Any, backend_name: str) -> None:
    model = new_model(optimizer)
    model.fit(X, Y, epochs=2, batch_size=8)
    others = copy.deepcopy(model), model.on(select(backend_name, "float64"))
    model.fit(X, Y, epochs=2, batch_size=8)
    for other in others:
        other.fit(X, Y, epochs=2, batch_size=8)
        assert_equal(other, model)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_it_is_in_a_checkpoint_for_any_backend(optimizer: Any, backend_name: str, tmp_path: Path) -> None:
    whole, killed, resumed = new_model(optimizer), new_model(optimizer), new_model(optimizer, backend_name)
    whole.fit(X, Y, epochs=3, batch_size=8)
    with pytest.raises(KeyboardInterrupt):
        killed.fit(X, Y, epochs=3, batch_size=8, callbacks=[Stop(5)], checkpoints=Checkpoints(tmp_path, every_steps=1))
    resumed.fit(X, Y, epochs=3, batch_size=8, resume=latest(tmp_path))
    assert_equal(resumed, whole)


def test_a_loaded_model_corrects_adams_means_anew(tmp_path: Path) -> None:
    model = new_model(Adam(0.05))
    model.fit(X, Y, epochs=5)
    model.save(tmp_path / "model.safetensors")
    loaded = Model.load(tmp_path / "model.safetensors")
    before = loaded.parameters
    loaded.fit(X, Y, batch_size=len(X))
    for name, array in loaded.parameters.items():
        # The first step of Adam is as long as the learning rate, but where the gradient is next to nothing.
        np.testing.assert_allclose(np.abs(array - before[name]).max(), 0.05, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("max_norm", [0.01, 1e6])
def test_a_model_clips_gradients_to_a_norm(max_norm: float, backend_name: str) -> None:
    model = new_model(SGD(1.0), backend_name, p=0.0, clip_norm=max_norm).build((3,))
    before, gradients = model.parameters, model.gradients(X, Y)
    norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients.values()))
    model.fit(X, Y, batch_size=len(X))
    for name, array in model.parameters.items():
        step = before[name] - gradients[name] * min(1.0, max_norm / norm)
        np.testing.assert_allclose(array, step, rtol=1e-3, err_msg=name)


def test_a_model_clips_each_number_of_the_gradient_and_then_its_norm(backend_name: str) -> None:
    for clipping in ({"clip_value": 0.05}, {"clip_value": 0.05, "clip_norm": 0.06}):
        model = new_model(SGD(1.0), backend_name, p=0.0, **clipping).build((3,))
        before = model.parameters
        clipped = {name: np.clip(gradient, -0.05, 0.05) for name, gradient in model.gradients(X, Y).items()}
        assert any((clipped[name] != gradient).any() for name, gradient in model.gradients(X, Y).items())
        norm = np.sqrt(sum((gradient**2).sum() for gradient in clipped.values()))
        assert norm > 0.06
        model.fit(X, Y, batch_size=len(X))
        for name, array in model.parameters.items():
            step = before[name] - clipped[name] * clipping.get("clip_norm", norm) / norm
            np.testing.assert_allclose(array, step, rtol=1e-4, err_msg=name)


def test_nothing_to_train_is_nothing_to_clip(backend_name: str) -> None:
    model = Model(Sequential(Tanh()), MSELoss(), Adam(), clip_norm=1.0, clip_value=1.0, backend=backend_name)
    assert len(model.fit(X, X, epochs=2)) == 2


@pytest.mark.parametrize("name", ["clip_norm", "clip_value"])
def test_clipping_is_saved_assigned_and_compared(tmp_path: Path, name: str) -> None:
    model = new_model(SGD(0.1), **{name: 0.5})
    model.fit(X, Y)
    model.save(tmp_path / "model.safetensors")
    assert getattr(Model.load(tmp_path / "model.safetensors"), name) == getattr(copy.deepcopy(model), name) == 0.5
    unclipped = new_model(SGD(0.1))
    setattr(unclipped, name, 0.5)
    unclipped.fit(X, Y)
    assert_equal(unclipped, model, rtol=0)
    checkpoints = Checkpoints(tmp_path / "checkpoints", every_steps=1)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, batch_size=8, callbacks=[Stop(3)], checkpoints=checkpoints)
    with pytest.raises(CheckpointError, match=rf"written by another model, with {name} 0\.5"):
        new_model(SGD(0.1)).fit(X, Y, batch_size=8, resume=latest(tmp_path / "checkpoints"))


@pytest.mark.parametrize("norm", [0, -1.0, float("nan"), float("inf"), 10**400, "1", True])
def test_a_clip_norm_that_is_none_is_refused(norm: Any) -> None:
    for name in ("clip_norm", "clip_value"):
        with pytest.raises(UsageError, match=f"{name} must be a finite number above 0, or None"):
            new_model(SGD(0.1), **{name: norm})


def test_a_slot_named_as_one_of_adams_is_no_older_file(tmp_path: Path) -> None:
    class Averaged(SGD):
        def init(self, xp: Any, block: Any) -> Any:
            return {"mean": xp.zeros_like(block)}

        def update(self, xp: Any, block: Any, gradient: Any, slots: Any, learning_rate: Any) -> Any:
            mean = 0.9 * slots["mean"] + gradient
            return block - learning_rate * mean, {"mean": mean}

    model = new_model(Averaged(0.1))
    model.fit(X, Y, epochs=2, checkpoints=Checkpoints(tmp_path, every_seconds=0))
    assert len(new_model(Averaged(0.1)).fit(X, Y, epochs=2, resume=latest(tmp_path))) == 2


@pytest.mark.host
def test_a_copy_beside_an_assignment_has_the_state_of_its_optimizer() -> None:
    """Adam remembers what SGD does not."""
    model = new_model(Adam(0.05)).build((3,))
    done = threading.Event()

    def assign() -> None:
        while not done.is_set():
            model.optimizer = SGD(0.1)
            model.optimizer = Adam(0.05)

    thread = threading.Thread(target=assign)
    thread.start()
    try:
        copies = [copy.deepcopy(model) for _ in range(60)]
    finally:
        done.set()
        thread.join()
    for copied in copies:
        copied.fit(X, Y)


def test_one_that_is_not_derived_from_the_base_class_is_refused() -> None:
    class Own:
        lr, weight_decay = 0.1, 0.0

        def init(self, xp: Any, block: Any) -> Any:
            return {}

        update = init

    with pytest.raises(UsageError, match=r"derive Own from anynet\.nn\.Optimizer"):
        new_model(Own())


def test_a_training_that_the_second_format_wrote_down_goes_on_to_the_same_numbers(backend_name: str) -> None:
    """Three epochs of Adam saved and loaded, so that its steps are fewer than the model's; stopped in the fifth."""
    model = Model.load(SAMPLES / "model-2.safetensors", backend=backend_name)
    assert model.optimizer == Adam(LinearDecay(0.05, 100), weight_decay=0.1)
    history = model.fit(X, Y, epochs=4, batch_size=4, resume=SAMPLES / "checkpoint-2.safetensors")
    losses = [0.12440788820385933, 0.15953484326601028, 0.09183610044419765, 0.10708732530474663]
    np.testing.assert_allclose([record["loss"] for record in history], losses, rtol=1e-5)
    weight = [-0.05264842510223389, -0.41480931639671326, 0.06363342702388763, -0.1167575791478157]
    np.testing.assert_allclose(model.parameters["3.weight"].ravel(), weight, rtol=1e-4)


def test_a_training_that_the_third_format_wrote_down_goes_on_without_a_clip_value(backend_name: str) -> None:
    whole = Model.load(SAMPLES / "model-3.safetensors")
    assert (whole.clip_norm, whole.clip_value) == (0.5, None)
    network = Sequential(Linear(4), Dropout(0.25), Tanh(), Linear(1))
    resumed = Model(network, MSELoss(), Adam(0.05), clip_norm=0.5, backend=backend_name, seed=2)
    with pytest.raises(CheckpointError, match="with clip_value None"):
        new_model(Adam(0.05), clip_norm=0.5, clip_value=1.0).fit(
            X, Y, epochs=3, resume=SAMPLES / "checkpoint-3.safetensors"
        )
    resumed.fit(X, Y, epochs=3, batch_size=8, resume=SAMPLES / "checkpoint-3.safetensors")
    assert_equal(resumed, whole, rtol=1e-4)
