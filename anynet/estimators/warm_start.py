"""Carries weights from one network over to a similar one, when an estimator is trained further."""

from __future__ import annotations

from typing import Any

from anynet.nn import Layer, Layout


def transferred(arrays: dict[str, Any], network: Layer, shape: tuple[int, ...]) -> dict[str, Any]:
    """Weights for a network that may have other layers in between: the n-th array of a kind goes to the n-th.

    Raises
    ------
    ValueError
        When the arrays of a kind differ in number or shape.
    """
    layout = Layout(network, shape)
    needed = {entry.name: entry.parameter.shape for entry in (*layout.parameters, *layout.buffers)}
    there = {name: array.shape for name, array in arrays.items()}
    kinds_there = _by_kind(there)
    given: dict[str, Any] = {}
    for kind, names in _by_kind(needed).items():
        found = kinds_there.get(kind, [])
        if found and [there[name] for name in found] != [needed[name] for name in names]:
            raise ValueError(
                f"the network now needs a {kind[0]} of each of the shapes {[needed[name] for name in names]}, but has "
                f"learned those of {[there[name] for name in found]}; fit it anew, with warm_start=False"
            )
        given |= dict(zip(names, (arrays[name] for name in found), strict=False))
    return given


def _by_kind(shapes: dict[str, tuple[int, ...]]) -> dict[tuple[str, int], list[str]]:
    """Names of parameters by kind: the last part of the name, and the number of axes of that layer's weight."""
    kinds: dict[tuple[str, int], list[str]] = {}
    for name in shapes:
        layer, _, last = name.rpartition(".")
        kinds.setdefault((last, len(shapes.get(f"{layer}.weight", ()))), []).append(name)
    return kinds
