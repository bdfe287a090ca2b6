"""Reading data into NumPy arrays."""

from anynet.datasets.builtin import circles, mnist
from anynet.datasets.dataset import Dataset
from anynet.datasets.files import load
from anynet.datasets.idx import read_idx
from anynet.datasets.images import read_images
from anynet.datasets.tables import read_csv

__all__ = ["Dataset", "circles", "load", "mnist", "read_csv", "read_idx", "read_images"]


def __dir__() -> list[str]:
    return __all__
