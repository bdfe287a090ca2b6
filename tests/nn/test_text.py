"""Networks as text: what they may hold, and what is said of the rest."""

from __future__ import annotations

import pytest

from anynet import nn
from anynet.checks import cases
from anynet.errors import UsageError
from anynet.nn.text import parse

pytestmark = pytest.mark.host
KNOWN = (*nn.LAYERS, *nn.INITIALIZERS)


@pytest.mark.parametrize("case", cases.LAYERS, ids=lambda case: case.name)
def test_the_repr_of_every_layer_of_the_catalogue_is_a_text_of_it(case: cases.LayerCase) -> None:
    if isinstance(case.layer, nn.LAYERS) and "layers=" not in repr(case.layer):
        assert parse(repr(case.layer), KNOWN) == nn.Sequential(case.layer)


def test_layers_are_written_as_in_python() -> None:
    text = """Conv2d(16, 3, padding="same"), ReLU(),  # a comment
              Residual(Sequential(Linear(16, weight=GlorotNormal(), bias=Zeros()), Rescale(-0.5))),
           """
    assert parse(text, KNOWN) == nn.Sequential(
        nn.Conv2d(16, 3, padding="same"),
        nn.ReLU(),
        nn.Residual(nn.Sequential(nn.Linear(16, weight=nn.GlorotNormal(), bias=nn.Zeros()), nn.Rescale(-0.5))),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lists no layers"),
        ("ReLU", "write ReLU() with parentheses"),
        ("Residual(Linear(8), ReLU)", "write ReLU() with parentheses"),
        ("Liner(8)", "unknown layer 'Liner': did you mean 'Linear'"),
        ("Linear(8, biass=Zeros())", "Linear: got an unexpected keyword argument 'biass'"),
        ("Linear()", "Linear: missing 1 required positional argument: 'out_features'"),
        ("Linear(-3)", "out_features must be a whole number, 1 or more, but is -3"),
        ("Linear(8", "lists no layers"),
        ("Linear(8)] + [Linear(2)", "lists no layers"),
        ("8", "layer 0 of Sequential is 8, which is no layer"),
        ("Linear(4 + 4)", "'4 + 4' is neither a layer nor a number"),
        ("Linear(**{'out_features': 8})", "without **"),
        ("__import__('os').system('false')", "is neither a layer nor a number"),
        ("Lambda(print)", "unknown layer 'Lambda'"),
        ("nn.Linear(8)", "is neither a layer nor a number"),
        ("[Linear(8) for _ in (1,)][0]", "is neither a layer nor a number"),
        ("Linear(8) if 1 else 2", "is neither a layer nor a number"),
        ("x := Linear(8)", "lists no layers|is neither a layer nor a number"),
        ("Linear(b'8')", "is neither a layer nor a number"),
        ("Linear(8j)", "is neither a layer nor a number"),
        ("(" * 1000, "lists no layers"),
        ("-" * 4000 + "1", "lists no layers"),
        ("Linear(1" + "0" * 5000 + ")", "a network may take 4,096 characters, but this one has 5,009"),
    ],
)
def test_anything_else_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(text, KNOWN)
    assert any(either in str(error.value) for either in words.split("|")), error.value
    assert len(str(error.value)) < 1000
