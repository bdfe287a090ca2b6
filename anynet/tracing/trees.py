"""Arrays in nested tuples and dicts, as a state holds them."""

from __future__ import annotations

from typing import Any


def leaves(tree: Any) -> list[Any]:
    """The arrays in nested tuples and dicts.

    >>> leaves((1, {"a": (2, 3)}))
    [1, 2, 3]
    """
    if isinstance(tree, dict):
        tree = tuple(tree.values())
    return [leaf for branch in tree for leaf in leaves(branch)] if isinstance(tree, tuple) else [tree]


def rebuilt(tree: Any, new: Any) -> Any:
    """The same nested tuples and dicts with the leaves that come next from an iterator.

    >>> rebuilt((1, {"a": (2, 3)}), iter("xyz"))
    ('x', {'a': ('y', 'z')})
    """
    if isinstance(tree, dict):
        return {key: rebuilt(branch, new) for key, branch in tree.items()}
    if not isinstance(tree, tuple):
        return next(new)
    branches = [rebuilt(branch, new) for branch in tree]
    return type(tree)(*branches) if hasattr(tree, "_fields") else tuple(branches)
