"""Tracing: record what a function does with arrays, as a program of Array API operations."""

from anynet.tracing.evaluation import evaluate
from anynet.tracing.loops import scan
from anynet.tracing.program import NotTraceable, Program, StepProgram, Value
from anynet.tracing.stand_ins import Namespace
from anynet.tracing.trace import trace, trace_step

__all__ = ["Namespace", "NotTraceable", "Program", "StepProgram", "Value", "evaluate", "scan", "trace", "trace_step"]


def __dir__() -> list[str]:
    return __all__
