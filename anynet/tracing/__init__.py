"""Tracing: record what a function does with arrays, as a program of Array API operations."""

from anynet.tracing.program import NotTraceable, Program, Value
from anynet.tracing.stand_ins import Namespace
from anynet.tracing.trace import trace

__all__ = ["Namespace", "NotTraceable", "Program", "Value", "trace"]


def __dir__() -> list[str]:
    return __all__
