"""Nested tuples and dicts of arrays, such as a state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def leaves(tree: Any) -> list[Any]:
    """The arrays in nested tuples and dicts; those of a dict come in the sorted order of its keys.

    >>> leaves((1, {"b": (2, 3), "a": 4}))
    [1, 4, 2, 3]
    """
    if isinstance(tree, dict):
        tree = tuple(tree[key] for key in sorted(tree))
    return [leaf for branch in tree for leaf in leaves(branch)] if isinstance(tree, tuple) else [tree]


def rebuilt(tree: Any, new: Any) -> Any:
    """The same nested tuples and dicts, with leaves from an iterator in the order of `leaves`.

    >>> rebuilt((1, {"a": (2, 3)}), iter("xyz"))
    ('x', {'a': ('y', 'z')})
    """
    if isinstance(tree, dict):
        branches = {key: rebuilt(tree[key], new) for key in sorted(tree)}
        return {key: branches[key] for key in tree}
    if not isinstance(tree, tuple):
        return next(new)
    inner = [rebuilt(branch, new) for branch in tree]
    return type(tree)(*inner) if hasattr(tree, "_fields") else tuple(inner)


def structure(tree: Any) -> Any:
    """Nested tuples and dicts without their leaves, as a value that can be compared and hashed.

    >>> structure((1, {"b": 2})) == structure((3, {"b": 4})), structure({"b": 2}) == structure({"a": 2})
    (True, False)
    """
    if isinstance(tree, dict):
        return tuple((key, structure(tree[key])) for key in sorted(tree))
    return (type(tree), *map(structure, tree)) if isinstance(tree, tuple) else None


def over_dicts(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """The results of a function for each leaf of nested dicts and those of the others, one of which may stand for many.

    >>> over_dicts(max, {"a": 1, "b": {"c": 3}}, {"a": 0, "b": {"c": 5}}), over_dicts(max, {"a": 1}, 2)
    ({'a': 1, 'b': {'c': 5}}, {'a': 2})
    """
    if not isinstance(tree, dict):
        return function(tree, *others)
    return {
        name: over_dicts(function, branch, *(one[name] if isinstance(one, dict) else one for one in others))
        for name, branch in tree.items()
    }
