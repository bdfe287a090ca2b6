"""The data sets that are known by name, and how a data set is shown."""

from __future__ import annotations

import gzip
import hashlib
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets.made_files import MOST
from sklearn.datasets import make_circles

from anynet import datasets
from anynet.datasets import Dataset, load
from anynet.errors import UsageError

pytestmark = pytest.mark.host

MNIST = Path(datasets.__file__).parent / "mnist"


@pytest.mark.parametrize(
    ("samples", "noise", "seed", "factor"), [(1000, 0.1, 42, 0.8), (7, 0.5, 0, 0.3), (1, 0.0, MOST, 0.0)]
)
def test_circles_are_those_of_scikit_learn(samples: int, noise: float, seed: int, factor: float) -> None:
    data = datasets.circles(samples, noise, seed, factor)
    x, y = make_circles(n_samples=samples, noise=noise, random_state=seed, factor=factor)
    np.testing.assert_array_equal(data.x, x)
    np.testing.assert_array_equal(data.y, y)


def test_circles_by_name_are_1000_with_noise_a_tenth_and_seed_42() -> None:
    np.testing.assert_array_equal(load("circles").x, make_circles(n_samples=1000, noise=0.1, random_state=42)[0])


@pytest.mark.parametrize(
    "setting", [{"samples": 0}, {"samples": 2.5}, {"noise": -1}, {"noise": math.nan}, {"seed": -1}, {"factor": 1.0}]
)
def test_circles_refuse_settings_out_of_range(setting: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"^{next(iter(setting))} of circles is out of range: "):
        datasets.circles(**setting)


def test_a_data_set_is_shown_in_a_line_wherever_its_rows_lie(tmp_path: Path) -> None:
    np.save(tmp_path / "x-1.npy", np.zeros((50, 3), "f4"))
    np.save(tmp_path / "x-2.npy", np.zeros((70, 3), "f4"))
    np.save(tmp_path / "y.npy", np.zeros(120, "i4"))
    assert (
        repr(load(f"{tmp_path}/x-*.npy,{tmp_path}/y.npy"))
        == "Dataset('x', x: (120, 3) float32 on disk, y: (120,) int32)"
    )
    assert repr(load("mnist")) == (
        "Dataset('mnist', x: (60000, 28, 28) uint8, y: (60000,) uint8, "
        "x_test: (10000, 28, 28) uint8, y_test: (10000,) uint8, 10 classes)"
    )
    assert repr(Dataset("by\nhand", [[1.0]] * 100)).count("\n") == 0


def test_mnist_has_the_documented_bytes() -> None:
    documented = re.findall(r"\| (\S+-ubyte) \| (\d+) \| ([0-9a-f]{64}) \|", (MNIST / "LICENSE.md").read_text())
    assert len(documented) == 4
    for name, length, checksum in documented:
        content = gzip.decompress((MNIST / f"{name}.gz").read_bytes())
        assert (len(content), hashlib.sha256(content).hexdigest()) == (int(length), checksum)


def test_mnist_names_authors_and_licence_and_takes_at_most_12_megabytes() -> None:
    text = (MNIST / "LICENSE.md").read_text()
    assert all(words in text for words in ("Yann LeCun", "Corinna Cortes", "CC BY-SA 3.0", "creativecommons.org"))
    assert sum(file.stat().st_size for file in MNIST.iterdir()) <= 12e6


def test_mnist_is_60000_and_10000_digits_as_bytes() -> None:
    data = load("mnist")
    assert (data.x.shape, data.x_test.shape, data.x.dtype) == ((60000, 28, 28), (10000, 28, 28), np.uint8)
    assert np.bincount(data.y).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert data.classes == tuple("0123456789")
