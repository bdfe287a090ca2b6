"""A model file that is damaged, forged or another program's is refused, with no trust in what it says."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from model.saved_model import complaint

from anynet.model import model_file


def test_every_flipped_cut_or_added_byte_is_noticed(path: Path) -> None:
    good = path.read_bytes()
    flips = (good[:i] + bytes([good[i] ^ 1 << i % 8]) + good[i + 1 :] for i in range(len(good)))
    cuts = (good[:end] for end in range(len(good)))
    for damaged in (*flips, *cuts, good + b"\0", good + good):
        path.write_bytes(damaged)
        complaint(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path, tmp_path / "nul\0", tmp_path / ("long" * 99)):
        assert complaint(path) == "there is no model file FILE"


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_the_weights_of_other_programs_are_refused_unread(path: Path, metadata: Any) -> None:
    path.write_bytes(safetensors.numpy.save({"weight": np.zeros(1 << 20)}, metadata=metadata))
    tracemalloc.start()
    message = complaint(path)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert message == "FILE cannot be loaded: it is a safetensors file, but no model that anynet saved"
    assert most < 1 << 20


def forge(path: Path, arrays: Any = None, lacking: str = "", **changes: Any) -> None:
    """The same file with another content and a right checksum."""
    held, description = model_file.read(path)
    description = {name: value for name, value in {**description, **changes}.items() if name != lacking}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_file, "_check_header", lambda header: None)
        model_file.write(path, held if arrays is None else arrays, description)


def layer(**fields: Any) -> dict[str, Any]:
    return {"network": {"is": "Sequential", "layers": [{"is": "Linear", **fields}]}}


DAMAGED = "its description is damaged: "
FORGERIES = [
    (layer(**{"is": "Liner"}), "unknown layer, loss, optimizer or metric 'Liner': did you mean 'Linear'? (known: "),
    (layer(**{"is": "os.system"}), "unknown layer, loss, optimizer or metric 'os.system' (known: "),
    (layer(out_features=0), "Linear: out_features must be a whole number, 1 or more, but is 0"),
    (layer(out_features="3"), "Linear: out_features must be a whole number, 1 or more, but is '3'"),
    (layer(out_features=10**12), "it holds 0.bias of shape (3,), but its network needs 0.bias of shape (10000000"),
    (layer(inputs=3), DAMAGED + "TypeError: Linear.__init__() got an unexpected keyword argument 'inputs'"),
    ({"network": {"is": "Sequential", "layers": [3]}}, "layer 0 of Sequential is 3, which is no layer: expected one"),
    ({"network": {"is": "Sequential", "layers": []}}, "it holds 0.bias of shape (3,), but its network needs no 0.bias"),
    ({"network": {"is": "Sequential"}}, DAMAGED + "KeyError: 'layers'"),
    ({"network": None}, "its network is None: expected names with values"),
    ({"network": {"is": "MSELoss"}}, "its network cannot be MSELoss"),
    ({"loss": {"is": "ReLU"}}, "its loss cannot be ReLU"),
    ({"optimizer": {"is": "Zeros"}}, "its optimizer cannot be Zeros"),
    ({"optimizer": {"is": "SGD", "lr": -1}}, "SGD: lr must be above 0 and finite, or a schedule"),
    ({"optimizer": {"is": "SGD", "lr": "fast"}}, "SGD: lr must be above 0 and finite, or a schedule"),
    ({"input_shape": [3]}, "it holds 0.weight of shape (2, 3), but its network needs 0.weight of shape (3, 3)"),
    *(({"input_shape": shape}, "its input_shape is [") for shape in ([0], [-2], [2.0], [True], [1] * 64)),
    *(
        ({"input_shape": shape}, f"its input_shape is {shape}: expected a list of at most 63 whole numbers, 1")
        for shape in (2, None)
    ),
    *(({"seed": seed}, f"its seed is {seed}: ") for seed in (-1, 0.5, True, None)),
    *(({"epoch": epoch}, f"its epoch is {epoch}: ") for epoch in (-1, 0.5, None)),
    ({"dtype": "float16"}, "its dtype is 'float16': expected float32 or float64"),
    ({"dtype": "float64"}, "it is a model of float64, but holds 0.bias as float32"),
    ({"metadata": [1]}, "its metadata is [1]: expected names with values"),
]


@pytest.mark.parametrize(("changes", "message"), FORGERIES)
def test_a_description_with_a_right_checksum_and_absurd_content_is_refused(
    path: Path, changes: dict[str, Any], message: str
) -> None:
    forge(path, **changes)
    assert complaint(path).startswith(f"FILE cannot be loaded: {message}")


@pytest.mark.parametrize("name", ["network", "loss", "optimizer", "input_shape", "dtype", "seed", "epoch", "metadata"])
def test_a_description_that_lacks_something_is_refused(path: Path, name: str) -> None:
    forge(path, lacking=name)
    assert complaint(path) == f"FILE cannot be loaded: it has no {name}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", DAMAGED + "JSONDecodeError: "),
        ("[]", DAMAGED + "TypeError: "),
        ("{}", DAMAGED + "KeyError: 'format'"),
        ("[" * 99_999, DAMAGED + "RecursionError: "),
        ('{"format": 5}', "its format is 5, not one of (1, 2, 3, 4); a newer anynet may have written it"),
        ('{"format": 1, "sha256": ""}', "its checksum does not fit its content"),
    ],
    ids=lambda text: text[:30],
)
def test_a_description_that_is_none_is_refused(path: Path, text: str, message: str) -> None:
    path.write_bytes(safetensors.numpy.save({"weight": np.zeros(1)}, metadata={"anynet": text}))
    assert complaint(path).startswith(f"FILE cannot be loaded: {message}")


WEIGHTS = {
    "it holds 0.weight of shape (3, 2), but its network needs 0.weight of shape (2, 3)": lambda w: {"0.weight": w.T},
    "it holds no 0.weight, but its network needs 0.weight of shape (2, 3)": lambda w: {"0.weight": None},
    "it holds 9.bias of shape (2,), but its network needs no 9.bias": lambda w: {"9.bias": w[:, 0]},
    "it is a model of float32, but holds 0.weight as int32": lambda w: {"0.weight": w.astype(np.int32)},
}


@pytest.mark.parametrize("message", WEIGHTS)
def test_weights_of_another_network_are_refused(path: Path, message: str) -> None:
    arrays, _ = model_file.read(path)
    arrays |= WEIGHTS[message](arrays["0.weight"])
    forge(path, {name: array for name, array in arrays.items() if array is not None})
    assert complaint(path) == f"FILE cannot be loaded: {message}"
