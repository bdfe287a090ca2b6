"""The array library and device of the data, to which results are converted back."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from anynet.backends import owner_of, select


class ArrayLibrary(NamedTuple):
    """An array library and a device, as a name for `anynet.backends.select`.

    Lists, data frames and sparse matrices belong to NumPy.

    >>> ArrayLibrary.of([[1, 2]])
    ArrayLibrary(name='numpy')
    """

    name: str

    @classmethod
    def of(cls, x: Any) -> ArrayLibrary:
        return cls(owner_of(x))

    def to_host(self, x: Any) -> Any:
        """An array of this library as a NumPy array; lists, data frames and sparse matrices unchanged."""
        return x if self.name == "numpy" else select(self.name).to_numpy(x)

    def give(self, x: Any) -> Any:
        """Convert a NumPy array to this library and device; text stays in NumPy, the only library that has it."""
        if self.name == "numpy" or x.dtype.kind not in "biuf":
            return x
        backend = select(self.name, "float64" if x.dtype == np.float64 else "float32")
        return backend.asarray(np.ascontiguousarray(x))


def host(x: Any) -> Any:
    """An array of any library as a NumPy array; None, lists, data frames and sparse matrices unchanged.

    Raises
    ------
    ValueError
        When values are masked, since the masked values would be used as data.
    """
    if isinstance(x, np.ma.MaskedArray) and (masked := int(np.ma.getmaskarray(x).sum())):
        raise ValueError(f"{masked} of {x.size} values are masked; fill in or leave out what is missing")
    library = ArrayLibrary.of(x)
    return x if library.name == "numpy" else library.to_host(x)
