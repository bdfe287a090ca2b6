"""The errors and warnings that anynet raises, and helpers that keep their messages short and readable."""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Iterable
from itertools import islice

_MOST_COMPARED = 1000
_MOST_LISTED = 20
_LONGEST = 500
# Whose code may run between a caller's line and ours.
_NOT_THE_CALLER = frozenset(("anynet", "contextlib", "numpy"))


class AnynetError(Exception):
    """Base of every error that anynet raises on purpose."""


class UsageError(AnynetError, ValueError):
    """An invalid setting: an unknown name, or a value outside its range."""


class BackendError(UsageError):
    """A backend that is unknown, or that cannot be used on this machine.

    Attributes
    ----------
    reason : str
        What is wrong; the message may also say how to solve it.
    """

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(f"{reason}; {remedy}" if remedy else reason)
        self.reason = reason


class DataError(AnynetError, ValueError):
    """Data that cannot be trained on: missing, damaged, or not numbers."""


class ShapeError(DataError):
    """Shapes that do not fit each other."""


class ModelFileError(DataError):
    """A model file that is missing, damaged, or of another network."""


class CheckpointError(DataError):
    """A checkpoint that is missing, damaged, or of another training."""


class WriteError(AnynetError, OSError):
    """A file or folder that cannot be written."""


class TrainingDiverged(AnynetError, ArithmeticError):
    """A loss or a weight that is no longer a finite number."""


class RankError(AnynetError, RuntimeError):
    """Another of the processes that train together has failed."""


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """Say that `name` is not one of `known`, and which one was probably meant.

    >>> unknown("backend", "cuppy", ["numpy", "cupy"])
    "unknown backend 'cuppy': did you mean 'cupy'? (known: numpy, cupy)"
    """
    known = list(known)
    return f"unknown {kind} {shortened(str(name))!r}{did_you_mean(name, known)} (known: {listed(known)})"


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The end of a message, which suggests the closest of `known`; empty if none is close.

    >>> did_you_mean("--epocs", ["--epochs", "--seed"])
    ": did you mean '--epochs'?"
    """
    # The search is slow for a long name.
    if len(str(name)) >= _LONGEST:
        return ""
    close = difflib.get_close_matches(str(name), list(islice(known, _MOST_COMPARED)), n=1)
    return f": did you mean {close[0]!r}?" if close else ""


def listed(names: Iterable[str]) -> str:
    """Names as one short line; a long list is cut.

    >>> listed(["x", "y"])
    'x, y'
    """
    first = list(islice(names, _MOST_LISTED + 1))
    line = shortened(", ".join(" ".join(name.split()) for name in first[:_MOST_LISTED]))
    return f"{line}, ..." if len(first) > _MOST_LISTED else line


def shortened(text: str, longest: int = _LONGEST) -> str:
    """A one-line text for a message, cut after `longest` characters."""
    return text if len(text) <= longest else f"{text[:longest]}..."


def shown(value: object, longest: int = 100) -> str:
    """A value for a message, as one line of at most `longest` characters.

    >>> shown([1] * 10, longest=12)
    '[1, 1, 1,...'
    >>> shown(int)
    'the class int'
    """
    try:
        text = f"the class {value.__name__}" if isinstance(value, type) else " ".join(repr(value).split())
    # Not everything has a repr: a whole number of 5,000 digits has none.
    except Exception:
        text = f"an object of the class {type(value).__name__}"
    return text if len(text) <= longest else text[: longest - 3] + "..."


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn with the line that called anynet, however deep in it the reason is found."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and str(frame.f_globals.get("__name__")).partition(".")[0] in _NOT_THE_CALLER:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
