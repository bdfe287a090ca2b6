"""What the library says to an argument of the wrong kind: one clear line of its own, never Python's complaint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from model.refusals import Nameless, Unkind, X, model, said

from anynet import nn
from anynet.backends import select
from anynet.backends.numpy import NumPyBackend
from anynet.checks import gradcheck
from anynet.nn import SGD, Adam, CrossEntropyLoss, Linear, LinearDecay, MSELoss, ReLU, Sequential
from anynet.training import Callback, Progress

WRONG = {
    "None": None,
    "empty text": "",
    "text": "1",
    "empty list": [],
    "list": [0.5],
    "empty dict": {},
    "nan": float("nan"),
    "inf": float("inf"),
    "-1": -1,
    "0": 0,
    "1.5": 1.5,
    "huge": 10**5000,
    "True": True,
    "complex": 1j,
    "object": object(),
    "class": dict,
    "function": lambda: None,
    "NumPy float": np.float64(0.5),
    "NumPy integer": np.int64(3),
    "array": np.ones(3),
    "matrix": np.ones((50, 50)),
    "array of objects": np.asarray([None]),
    "NumPy's float type": np.float32,
}
CONSTRUCTORS = {
    "Linear": nn.Linear,
    "Linear, weight": lambda wrong: nn.Linear(3, weight=wrong),
    "Linear, bias": lambda wrong: nn.Linear(3, bias=wrong),
    "LeakyReLU": nn.LeakyReLU,
    "Rescale": nn.Rescale,
    "Rescale, shift": lambda wrong: nn.Rescale(1.0, wrong),
    "Dropout": nn.Dropout,
    "BatchNorm, momentum": nn.BatchNorm,
    "BatchNorm, eps": lambda wrong: nn.BatchNorm(0.1, wrong),
    "LayerNorm": nn.LayerNorm,
    "Sequential": nn.Sequential,
    "Frozen": nn.Frozen,
    "BCELoss": nn.BCELoss,
    "SGD": nn.SGD,
    "SGD, momentum": lambda wrong: nn.SGD(0.1, wrong),
    "SGD, nesterov": lambda wrong: nn.SGD(0.1, 0.9, wrong),
    "SGD, weight_decay": lambda wrong: nn.SGD(0.1, weight_decay=wrong),
    "Adam": nn.Adam,
    "Adam, betas": lambda wrong: nn.Adam(0.1, wrong),
    "Adam, one of betas": lambda wrong: nn.Adam(0.1, (0.9, wrong)),
    "Adam, eps": lambda wrong: nn.Adam(0.1, eps=wrong),
    "Adam, weight_decay": lambda wrong: nn.Adam(0.1, weight_decay=wrong),
    "LinearDecay": lambda wrong: nn.LinearDecay(wrong, 10),
    "LinearDecay, steps": lambda wrong: nn.LinearDecay(0.1, wrong),
    "Values": nn.Values,
    "Parameter": lambda wrong: nn.Parameter(wrong, nn.Zeros()),
    "Parameter, initializer": lambda wrong: nn.Parameter((3,), wrong),
    "Layout": lambda wrong: nn.Layout(wrong, (3,)),
    "Layout, shape": lambda wrong: nn.Layout(nn.Linear(3), wrong),
    "Layout, one length": lambda wrong: nn.Layout(nn.Linear(3), (2, wrong)),
    "Model, network": model,
    "Model, loss": lambda wrong: model(loss=wrong),
    "Model, optimizer": lambda wrong: model(optimizer=wrong),
    "Model, backend": lambda wrong: model(backend=wrong),
    "Model, dtype": lambda wrong: model(dtype=wrong),
    "Model, seed": lambda wrong: model(seed=wrong),
    "build": lambda wrong: model().build(wrong),
    "fit, batch_size": lambda wrong: model().fit(X, X[:, :1], batch_size=wrong),
    "fit, callbacks": lambda wrong: model().fit(X, X[:, :1], callbacks=wrong),
    "select": select,
    "select, device": type(select("numpy")),
    "select, dtype": lambda wrong: select("numpy", wrong),
    "select, precision": lambda wrong: select("numpy", "float32", wrong),
    "gradcheck": lambda wrong: gradcheck(wrong, (2,)),
    "gradcheck, x": lambda wrong: gradcheck(Linear(1), wrong),
    "gradcheck, one length": lambda wrong: gradcheck(ReLU(), (wrong,)),
    "gradcheck, target": lambda wrong: gradcheck(Linear(1), (2,), wrong, loss=MSELoss()),
    "gradcheck, target of a loss": lambda wrong: gradcheck(CrossEntropyLoss(), (2,), wrong),
    "gradcheck, loss": lambda wrong: gradcheck(Linear(1), (2,), loss=wrong),
    "gradcheck, backend": lambda wrong: gradcheck(Linear(1), (2,), backend=wrong),
    "gradcheck, seed": lambda wrong: gradcheck(Linear(1), (2,), seed=wrong),
    "gradcheck, elements": lambda wrong: gradcheck(Linear(1), (2,), elements=wrong),
}


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize("constructor", CONSTRUCTORS)
def test_whatever_is_given_works_or_is_refused_in_words(constructor: str, value: str) -> None:
    message = said(lambda: CONSTRUCTORS[constructor](WRONG[value]))
    assert "\n" not in message
    assert len(message) < 300


@pytest.mark.parametrize(
    "value", ["None", "text", "list", "nan", "inf", "-1", "huge", "True", "complex", "object", "class"]
)
@pytest.mark.parametrize(
    "constructor", [SGD, lambda wrong: SGD(0.1, wrong), lambda wrong: SGD(0.1, weight_decay=wrong)]
)
def test_what_is_no_finite_number_is_no_rate(constructor: Any, value: str) -> None:
    assert " must be " in said(lambda: constructor(WRONG[value]))


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Layout(Linear(3), (2**63,)),
        lambda: nn.Layout(ReLU(), (10**30, 0)),
        lambda: model().build((2**40, 2**40)),
        lambda: nn.Layout(Linear(2**62), (8,)),
        lambda: nn.Parameter((10**5000,), nn.Zeros()),
    ],
)
def test_lengths_that_no_array_has_are_refused_in_words(make: Any) -> None:
    assert said(make).endswith(", which is more numbers than an array can hold")


@pytest.mark.parametrize("number", [np.float32(0.5), np.float64(0.5), np.asarray(0.5)])
def test_numbers_of_numpy_become_those_of_python(number: Any) -> None:
    for kept in (
        SGD(number).lr,
        SGD(0.1, number).momentum,
        nn.Dropout(number).p,
        Adam(betas=(number, number)).betas[0],
    ):
        assert type(kept) is float
    assert type(Linear(np.int64(3)).out_features) is int


PARTS = [
    ({"network": [Linear(2), ReLU()]}, "the network is a list, which is no layer: wrap what it holds, Sequential"),
    ({"network": (Linear(2), ReLU())}, "the network is a tuple, which is no layer: wrap what it holds"),
    ({"network": "mlp"}, "the network is 'mlp', which is no layer: expected one of anynet.nn, such as Linear"),
    ({"network": Sequential}, "the network is the class Sequential; make one, as in Sequential(...)"),
    ({"loss": "mse"}, "the loss is 'mse': give one of anynet.nn, such as MSELoss()"),
    ({"loss": "cross_entropy"}, "the loss is 'cross_entropy': give one of anynet.nn, such as CrossEntropyLoss()"),
    ({"loss": MSELoss}, "the loss is the class MSELoss; make one, as in MSELoss(...)"),
    ({"loss": Nameless()}, "the loss is Nameless(), which is no loss: expected an object with target_kind and"),
    ({"loss": Unkind()}, "unknown target_kind of a loss 'label'"),
    ({"optimizer": "adam"}, "the optimizer is 'adam': give one of anynet.nn, such as Adam(lr=0.01)"),
    ({"optimizer": SGD}, "the optimizer is the class SGD; make one, as in SGD(...)"),
    ({"optimizer": 0.1}, "the optimizer is 0.1, which is no optimizer: expected an object with lr, weight_decay"),
    ({"backend": None}, "a backend is given by its name, such as 'numpy' or 'torch', but this is None"),
    ({"backend": np}, "a backend is given by its name, such as 'numpy' or 'torch', but this is <module 'numpy' from"),
    ({"dtype": np.int32}, "dtype must be float32 or float64, but is the class int32"),
    ({"seed": 1.5}, "seed must be a whole number, 0 or more, but is 1.5"),
    ({"seed": True}, "seed must be a whole number, 0 or more, but is True"),
]  # fmt: skip


@pytest.mark.parametrize(("parts", "words"), PARTS, ids=[words for _, words in PARTS])
def test_what_no_model_can_be_made_of_is_refused_with_what_to_do(parts: dict[str, Any], words: str) -> None:
    assert said(lambda: model(**parts)).startswith(words)


def test_seeds_and_dtypes_of_numpy_are_taken() -> None:
    assert model(seed=np.int64(3)).seed == 3
    for dtype in (np.float64, np.dtype("float64"), "float64"):
        assert model(dtype=dtype).backend.dtype_name == "float64"


class Talkative(NumPyBackend):
    """Its library says all that it knows."""

    def find_device(self, device: Any) -> Any:
        raise RuntimeError("it is\nnot there. " + "Here is a manual.\n" * 1000)


class Broken(Talkative):
    def load(self) -> Any:
        return self.find_device(None)


def test_of_what_a_library_says_of_a_device_one_sentence_is_shown() -> None:
    remedy = "; `anynet backends` lists what can be used"
    assert said(lambda: Talkative("gpu")) == f"backend 'numpy' has no device 'gpu' here: it is not there{remedy}"
    assert said(Talkative) == f"backend 'numpy' has no device here: it is not there{remedy}"
    assert said(Broken).startswith("backend 'numpy' cannot be used here: it is not there; to install it")


@pytest.mark.parametrize("device", ["fpga", "a" * 1000])
def test_a_device_that_is_not_there_is_refused_in_one_short_line(backend_name: str, device: str) -> None:
    message = said(lambda: select(f"{backend_name}:{device}"))
    assert device[:9] in message
    assert "\n" not in message
    assert len(message) < 600


def failing(xp: Any, step: Any) -> Any:
    raise KeyError("rate")


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (lambda step: 0.1, "a schedule is called as schedule(xp, step), but "),
        (failing, "raises KeyError: 'rate'"),
        (lambda xp, step: None, "must give a 0-d array of the dtype of step, but "),
        (lambda xp, step: 0.1, "gives 0.1 for a step of float32"),
        (lambda xp, step: xp.asarray([step, step]), "must give a 0-d array"),
        (lambda xp, step: xp.asarray(0.1), "of the dtype of step, but"),
        (lambda xp, step: 1 / step, "a learning rate must be 0 or more and finite, but"),
        (lambda xp, step: 0.1 - step / 100, "at step 1000"),
    ],
)
def test_a_schedule_that_is_none_is_refused_before_training(schedule: Any, words: str) -> None:
    assert words in said(lambda: model(optimizer=SGD(lr=schedule)))


def test_the_class_of_a_schedule_is_no_schedule() -> None:
    assert said(lambda: SGD(lr=LinearDecay)).endswith("but is the class LinearDecay, which is no real number")


def test_a_schedule_that_computes_is_taken() -> None:
    cosine = SGD(lr=lambda xp, step: 0.05 + 0.05 * xp.cos(step / 10))
    assert len(model(optimizer=cosine).fit(X, X[:, :1], epochs=2)) == 2


@pytest.mark.parametrize(
    ("callbacks", "words"),
    [
        (Progress(), "callbacks must be a list, such as [Progress()], but is <anynet."),
        (None, "callbacks must be a list, such as [Progress()], but is None"),
        ("progress", "callbacks must be a list"),
        ([Progress], "callbacks must hold objects of the class Callback, but hold the class Progress; make one, as in"),
        ([print], "callbacks must hold objects of the class Callback, but hold <built-in function print>"),
    ],
)
def test_what_is_no_callback_is_refused_before_training(callbacks: Any, words: str) -> None:
    fresh = model()
    assert said(lambda: fresh.fit(X, X[:, :1], callbacks=callbacks)).startswith(words)
    assert fresh.epoch == 0


def test_callbacks_may_be_any_iterable() -> None:
    model().fit(X, X[:, :1], callbacks=iter((Callback(), Callback())))


def test_an_optimizer_of_ones_own_is_held_to_numbers_too() -> None:
    @dataclass(frozen=True)
    class Own(SGD):
        def __post_init__(self) -> None:
            """Nothing is checked here."""

    assert (
        said(lambda: model(optimizer=Own("fast"))) == "the optimizer's lr must be a number or a schedule, but is 'fast'"
    )
    assert "weight_decay must be a number, but is None" in said(lambda: model(optimizer=Own(0.1, weight_decay=None)))


@pytest.mark.parametrize("loss", ["", "x" * 1000, "mse\nmse"])
def test_however_strange_a_word_the_message_is_one_short_line(loss: str) -> None:
    message = said(lambda: model(loss=loss))
    assert message.startswith("the loss is ")
    assert "\n" not in message
    assert len(message) < 200


@pytest.mark.parametrize("word", ["CrossEntropy", "cross-entropy", "categorical_crossentropy"])
def test_a_loss_is_suggested_that_is_called_so_elsewhere(word: str) -> None:
    assert said(lambda: model(loss=word)).endswith("such as CrossEntropyLoss()")
