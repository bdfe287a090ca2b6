"""Data that comes with anynet."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from anynet.datasets.dataset import Dataset
from anynet.datasets.idx import read_idx
from anynet.errors import UsageError

_MNIST = Path(__file__).parent / "mnist"


def mnist() -> Dataset:
    """MNIST: 60,000 + 10,000 handwritten digits of 28 x 28 bytes (Yann LeCun and Corinna Cortes, CC BY-SA 3.0).

    >>> data = mnist()
    >>> data.x.shape, data.x.dtype, data.y_test.shape
    ((60000, 28, 28), dtype('uint8'), (10000,))
    """
    x, y, x_test, y_test = (
        read_idx(_MNIST / f"{part}-ubyte.gz")
        for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    )
    return Dataset("mnist", x, y, x_test, y_test, classes=tuple("0123456789"))


def circles(samples: int = 1000, noise: float = 0.1, seed: int = 42, factor: float = 0.8) -> Dataset:
    """Two noisy circles, one inside the other: the numbers of scikit-learn's ``make_circles``.

    Parameters
    ----------
    samples : int
        How many points, half of them on each circle.
    noise : float
        Standard deviation of the noise on each coordinate; the outer circle has radius 1.
    seed : int
        Seed of all random numbers, 0 to 4294967295.
    factor : float
        Radius of the inner circle, which is class 1.

    Raises
    ------
    UsageError
        When a number is out of its range.

    >>> circles().x.shape
    (1000, 2)
    """
    for name, value, fits in (
        ("samples", samples, isinstance(samples, int) and samples > 0),
        ("noise", noise, 0 <= noise < float("inf")),
        ("seed", seed, isinstance(seed, int) and 0 <= seed < 1 << 32),
        ("factor", factor, 0 <= factor < 1),
    ):
        if not fits:
            raise UsageError(f"{name} of circles is out of range: {value!r}")
    # scikit-learn draws with NumPy's older generator, so the same numbers need it too.
    generator = np.random.RandomState(seed)
    outer = samples // 2
    inner = samples - outer
    angles = [np.linspace(0, 2 * np.pi, count, endpoint=False) for count in (outer, inner)]
    radii = np.repeat([1.0, factor], [outer, inner])
    x = np.stack([np.cos(np.concatenate(angles)), np.sin(np.concatenate(angles))], axis=1) * radii[:, None]
    y = np.repeat([0, 1], [outer, inner])
    order = np.arange(samples)
    generator.shuffle(order)
    x = x[order] + generator.normal(scale=noise, size=x.shape)
    return Dataset("circles", x, y[order], classes=("outer", "inner"), features=("x", "y"))
