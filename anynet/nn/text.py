"""Networks as text: parsed from the names of layers and initializers, never evaluated."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any

from anynet.errors import UsageError, shortened, shown, unknown
from anynet.nn.containers import Sequential

LONGEST = 4096


def parse(text: str, known: Iterable[type]) -> Sequential:
    """The network that a text lists layer by layer, as one would write the layers in Python.

    Parameters
    ----------
    text : str
        Calls of the classes in `known`, joined by commas; their arguments are numbers, texts, True, False, None, tuples
        and lists of these, and such calls.
    known : iterable of type
        `LAYERS` and `INITIALIZERS`, for instance.

    Raises
    ------
    UsageError
        When the text holds anything else, an argument is wrong, or it has more than 4096 characters.

    >>> from anynet.nn import LAYERS
    >>> parse("Linear(8), ReLU()", LAYERS).layers
    (Linear(out_features=8, weight=HeNormal(), bias=Zeros()), ReLU())
    """
    if len(text) > LONGEST:
        raise UsageError(f"a network may take {LONGEST:,} characters, but this one has {len(text):,}")
    classes = {cls.__name__: cls for cls in known}
    try:
        tree = ast.parse(f"[{text}\n]", mode="eval").body
        layers = [_value(node, classes) for node in tree.elts] if isinstance(tree, ast.List) else []
    except UsageError:
        raise
    except (SyntaxError, ValueError) as error:
        reason = getattr(error, "msg", error)
    except (RecursionError, MemoryError):
        reason = "it is nested too deeply"
    else:
        if layers:
            return Sequential(*layers)
        reason = "write for instance Linear(64), ReLU()"
    raise UsageError(f"{shortened(text, 200)!r} lists no layers: {reason}")


def _value(node: ast.expr, classes: dict[str, type]) -> Any:
    match node:
        case ast.Call(func=ast.Name(id=name)):
            return _made(name, node, classes)
        case ast.Name(id=name) if name in classes:
            raise UsageError(f"write {name}() with parentheses, and its arguments in them")
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return tuple(_value(item, classes) for item in items)
        case ast.Constant(value=None | bool() | int() | float() | str() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
    raise UsageError(
        f"{shown(ast.unparse(node))} is neither a layer nor a number, a text, True, False, None or a tuple"
    )


def _made(name: str, call: ast.Call, classes: dict[str, type]) -> Any:
    if name not in classes:
        raise UsageError(unknown("layer", name, classes))
    given = [_value(argument, classes) for argument in call.args]
    named = {keyword.arg: _value(keyword.value, classes) for keyword in call.keywords if keyword.arg}
    if any(keyword.arg is None for keyword in call.keywords):
        raise UsageError(f"{name}: arguments are written one by one, without **")
    if len(named) < len(call.keywords):
        raise UsageError(f"{name}: an argument is given twice")
    try:
        return classes[name](*given, **named)
    except TypeError as error:
        raise UsageError(f"{name}: {str(error).replace(f'{name}.__init__() ', '')}") from None
