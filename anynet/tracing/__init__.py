"""What a function of arrays does, followed once and noted down as a program of the standard's operations."""

from anynet.tracing.program import NotTraceable, Program, Value
from anynet.tracing.trace import trace

__all__ = ["NotTraceable", "Program", "Value", "trace"]


def __dir__() -> list[str]:
    return __all__
