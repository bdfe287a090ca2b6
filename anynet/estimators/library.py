"""The array library that data come in, and results go back to."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from anynet.backends import owner_of, select


class Library(NamedTuple):
    """Whose arrays, and on which device: the name of a backend, as `anynet.backends.select` takes it.

    Lists, data frames, sparse matrices and NumPy's own arrays are NumPy's.

    >>> Library.of([[1, 2]])
    Library(name='numpy')
    """

    name: str

    @classmethod
    def of(cls, x: Any) -> Library:
        return cls(owner_of(x))

    def to_host(self, x: Any) -> Any:
        """An array of this library as NumPy's; anything else as it is."""
        return x if self.name == "numpy" else select(self.name).to_numpy(x)

    def give(self, x: Any) -> Any:
        """A NumPy array as one of this library on this device; text stays NumPy's, which alone has it."""
        if self.name == "numpy" or x.dtype.kind not in "biuf":
            return x
        backend = select(self.name, "float64" if x.dtype == np.float64 else "float32")
        return backend.asarray(np.ascontiguousarray(x))


def host(x: Any) -> Any:
    """An array of any library as NumPy's; None, lists and data frames as they are.

    Raises
    ------
    ValueError
        When some of it is masked: what is behind the mask would be taken for data.
    """
    if isinstance(x, np.ma.MaskedArray) and (masked := int(np.ma.getmaskarray(x).sum())):
        raise ValueError(f"{masked} of {x.size} values are masked; fill in or leave out what is missing")
    library = Library.of(x)
    return x if library.name == "numpy" else library.to_host(x)
