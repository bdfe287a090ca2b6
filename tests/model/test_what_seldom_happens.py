"""Lines that only rare inputs reach: damaged checkpoints that are whole files, and refusals nobody meets twice."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anynet import Model
from anynet.errors import CheckpointError, DataError, TrainingDiverged, UsageError
from anynet.model import Checkpoints, model_file, schema
from anynet.model.checkpoints import latest
from anynet.nn import SGD, Adam, CrossEntropyLoss, Linear, MSELoss, Optimizer, Sequential
from anynet.training import Callback

X = np.random.default_rng(0).normal(size=(20, 3))
Y = X.sum(axis=1, keepdims=True)


def new_model(optimizer: Any = None) -> Model:
    return Model(Sequential(Linear(1)), MSELoss(), optimizer or Adam(0.01), dtype="float64")


class Counting(Callback):
    """Counts epochs, and refuses a count that is none."""

    def __init__(self) -> None:
        self.epochs = 0

    def on_epoch_end(self, model: Any, record: dict[str, float]) -> None:
        self.epochs += 1

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": self.epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["epochs"] < 0:
            raise ValueError("nobody counts less than nothing")
        self.epochs = state["epochs"]


def fit(model: Model, **options: Any) -> Any:
    return model.fit(X, Y, epochs=3, batch_size=8, callbacks=[Counting()], **options)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    fit(new_model(), checkpoints=Checkpoints(tmp_path, every_seconds=1e9, every_steps=4))
    path = latest(tmp_path)
    assert path is not None
    return path


def other_shape(arrays: Any, description: Any) -> None:
    description["input_shape"] = [4]


def no_mean(arrays: Any, description: Any) -> None:
    for name in [name for name in arrays if name.startswith("slots/square/")]:
        del arrays[name]


def two_rates(arrays: Any, description: Any) -> None:
    arrays["learning_rate"] = np.zeros(2)


def negative_count(arrays: Any, description: Any) -> None:
    for name in [name for name in arrays if name.startswith("slots/step/")]:
        del arrays[name]
    description["steps_before"] = description["step"] + 1


def more_rows_than_there_are(arrays: Any, description: Any) -> None:
    description["course"]["rows"] = 24


def half_a_batch(arrays: Any, description: Any) -> None:
    description["course"]["rows"] = 4


def a_loss_missing(arrays: Any, description: Any) -> None:
    arrays["losses"] = arrays["losses"][:-1]


def a_loss_that_is_no_number(arrays: Any, description: Any) -> None:
    arrays["losses"] = np.full_like(arrays["losses"], np.nan)


def a_record_too_few(arrays: Any, description: Any) -> None:
    description["course"]["history"].pop()


def a_count_of_epochs(arrays: Any, description: Any) -> None:
    description["callbacks"]["Counting"]["epochs"] = -1


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (other_shape, r"its samples have shape \(4,\), not \(3,\)"),
        (no_mean, r"its optimizer remembers \['mean', 'step'\], not \['mean', 'square', 'step'\]"),
        (two_rates, r"its learning rate has shape \(2,\)"),
        (negative_count, "its optimizer has taken -1 steps"),
        (more_rows_than_there_are, "its record of the training contradicts itself"),
        (half_a_batch, "its record of the training contradicts itself"),
        (a_loss_missing, "its record of the training contradicts itself"),
        (a_loss_that_is_no_number, "its record of the training contradicts itself"),
        (a_record_too_few, "its record of the training contradicts itself"),
        (a_count_of_epochs, "nobody counts less than nothing"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_whole_file_that_tells_what_cannot_be_is_refused_and_changes_nothing(
    checkpoint: Path, damage: Callable[[Any, Any], None], words: str
) -> None:
    arrays, description = model_file.read(checkpoint)
    damage(arrays, description)
    model_file.write(checkpoint, arrays, description)
    model = new_model().build((3,))
    before = model.parameters
    with pytest.raises(CheckpointError, match=f"cannot be resumed: {words}"):
        fit(model, resume=checkpoint)
    assert model.epoch == 0
    for name, array in before.items():
        np.testing.assert_array_equal(model.parameters[name], array)


def test_seconds_between_checkpoints_are_not_negative(tmp_path: Path) -> None:
    for seconds in (-1, float("nan")):
        with pytest.raises(UsageError, match=f"^every_seconds must be 0 or more, but is {seconds}$"):
            Checkpoints(tmp_path, every_seconds=seconds)


def test_a_model_without_weights_is_copied_and_pickled_without_them() -> None:
    model = Model(Sequential(Linear(1)), MSELoss(), SGD(0.1), seed=7)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert again.input_shape is None
        assert again.seed == 7
        assert np.isfinite(again.fit(X, Y)[0]["loss"])
    assert model.input_shape is None


def test_only_a_loss_of_classes_tells_classes_and_probabilities() -> None:
    model = new_model().build((3,))
    for ask in (model.classify, model.probabilities):
        with pytest.raises(UsageError, match=r"needs a loss that decides between classes, but this one is MSELoss\(\)"):
            ask(X)


def test_a_validation_loss_that_is_not_finite_ends_training() -> None:
    with pytest.raises(TrainingDiverged, match="the validation loss is inf after epoch 1"):
        Model(Sequential(Linear(1)), MSELoss(), SGD(0.1)).fit(X, Y, validation_data=(X, np.full_like(Y, 1e30)))


def test_arrays_without_names_are_no_weights() -> None:
    with pytest.raises(UsageError, match=r"^arrays must come by name, as model.parameters has them, but came as list$"):
        new_model().build((3,), [np.zeros((3, 1))])  # type: ignore[arg-type]


@pytest.mark.host
def test_rows_may_be_in_several_files(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.npy" for i in range(2)]
    for path, rows in zip(paths, (slice(0, 12), slice(12, None)), strict=True):
        np.save(path, X[rows])
    expected = new_model().fit(X, Y, epochs=2, batch_size=8)
    mapped = [np.load(path, mmap_mode="r") for path in paths]
    histories = [new_model().fit(x, Y, epochs=2, batch_size=8) for x in (paths, list(map(str, paths)))]
    assert [r["loss"] for h in histories for r in h] == pytest.approx([r["loss"] for r in expected] * 2, rel=1e-12)
    whole = np.concatenate(mapped)
    np.save(tmp_path / "whole.npy", whole)
    history = new_model().fit(np.load(tmp_path / "whole.npy", mmap_mode="r"), Y, epochs=2, batch_size=8)
    assert [r["loss"] for r in history] == pytest.approx([r["loss"] for r in expected], rel=1e-12)


@dataclass(frozen=True)
class Rows(Optimizer):
    """Remembers one number for each row of a parameter."""

    lr: float = 0.1
    elementwise = False

    def init(self, xp: Any, block: Any) -> Any:
        return {"rows": xp.zeros(block.shape[:1], dtype=block.dtype)}


def test_a_summary_counts_what_an_optimizer_remembers_of_each_parameter() -> None:
    model = Model(Sequential(Linear(4), Linear(2)), CrossEntropyLoss(), Rows(), dtype="float64").build((3,))
    # Weights of 3 and 4 rows, biases of 4 and 2 numbers.
    assert model.summary().memory["optimizer"] == 8 * (3 + 4 + 4 + 2)


def test_a_value_is_of_the_kind_that_a_schema_says() -> None:
    for value, words in ((3, "its names is 3: expected a list"), ([1], "its names holds 1: expected a text")):
        with pytest.raises(DataError, match=f"^{words}"):
            schema.check({"names": value}, {"names": [schema.TEXT]})
    with pytest.raises(DataError, match=r"^it is 3: expected names with values$"):
        schema.check(3, {"names": [schema.TEXT]})
