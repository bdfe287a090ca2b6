"""A small transformer learns to add: it reads 034+127=.... and writes 0161 over the dots, all four digits at once.

Nobody tells it what a digit is worth, nor what a carry is; it sees 20,000 of the million sums. Each place of the text
becomes a vector; in attention, a place asks all others and mixes what they answer. That is all that goes from place to
place, so the picture of it shows which digits each digit of the answer comes from.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import anynet
from anynet.nn import (
    Adam,
    Embedding,
    Lambda,
    LayerNorm,
    LearnedPositions,
    Linear,
    LogSoftmax,
    MultiHeadAttention,
    Normal,
    OneCycle,
    ReLU,
    Residual,
    Sequential,
)
from anynet.training import Progress

SYMBOLS = "0123456789+=."
PLACES = ("thousands", "hundreds", "tens", "ones")
WIDTH, HEADS, ANSWER = 32, 4, len(PLACES)

# A residual part adds to the vectors what it has found out. Two rounds, since a carry needs a second look; each has
# weights of its own, for layers are descriptions.
ROUND = (
    Residual(Sequential(LayerNorm(), MultiHeadAttention(HEADS))),
    Residual(Sequential(LayerNorm(), Linear(4 * WIDTH), ReLU(), Linear(WIDTH))),
)
NETWORK = Sequential(
    Embedding(len(SYMBOLS), WIDTH),  # a vector for each symbol
    LearnedPositions(Normal(1.0)),  # and one for each place, or 034 would be the same as 430
    *ROUND,
    *ROUND,
    LayerNorm(),
    Lambda(lambda xp, x: x[:, -ANSWER:, :]),  # only at the dots is anything read off
    Linear(10),
    LogSoftmax(),  # log of the probability of each digit, in each of the four places
)


@dataclass(frozen=True)
class EachDigit:
    """Cross-entropy of each digit of the answer, from logarithms of probabilities and targets that are 0 or 1."""

    target_kind = "value"

    def __call__(self, xp: Any, prediction: Any, target: Any, weight: Any) -> Any:
        return -xp.sum(weight[:, None, None] * target * prediction) / ANSWER


def texts(sums: np.ndarray) -> np.ndarray:
    """The number of each symbol of a text like 034+127=...., for each pair of numbers."""
    return np.asarray([[SYMBOLS.index(symbol) for symbol in f"{a:03}+{b:03}=" + ANSWER * "."] for a, b in sums])


def answers(sums: np.ndarray) -> np.ndarray:
    return np.asarray([[int(digit) for digit in f"{a + b:0{ANSWER}}"] for a, b in sums])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    backends = "array library to compute with: numpy, cupy, torch, jax or auto (default: %(default)s)"
    parser.add_argument("--backend", default="numpy", help=backends)
    parser.add_argument("--epochs", type=int, default=5, help="passes over the sums (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=20_000, help="sums to learn from (default: %(default)s)")
    parser.add_argument(
        "--out", default="transformer_adds_numbers.png", help="file of the picture (default: %(default)s)"
    )
    options = parser.parse_args(arguments)

    # Pairs as numbers from 0 to 999,999, none twice, so that no sum of the test was seen in training.
    drawn = np.random.default_rng(0).choice(1_000_000, options.samples + 2000, replace=False)
    train, test = np.split(np.stack(np.divmod(drawn, 1000), axis=1), [options.samples])
    optimizer = Adam(OneCycle(0.01, steps=options.epochs * -(-len(train) // 128)))
    model = anynet.Model(NETWORK, EachDigit(), optimizer, backend=options.backend, dtype="float32")
    targets = np.eye(10, dtype=np.float32)[answers(train)]
    model.fit(texts(train), targets, epochs=options.epochs, batch_size=128, callbacks=[Progress()])

    read = model.predict(texts(test)).argmax(axis=-1)
    right = read == answers(test)
    all_right = right.all(axis=1)
    print(f"right sums, of {len(test)} never seen: {all_right.mean():.4f}")
    places = zip(PLACES, right.mean(axis=0), strict=True)
    print("right digits: " + ", ".join(f"{place} {share:.4f}" for place, share in places))
    for i in [*np.flatnonzero(all_right)[:3], *np.flatnonzero(~all_right)[:3]]:
        a, b = test[i]
        said = "".join(map(str, read[i]))
        print(f"  {a:03}+{b:03}={said}" + ("" if int(said) == a + b else f", but should be {a + b:04}"))
    draw(options.out, model, texts(test[:500]))


def attention(model: anynet.Model, block: int, x: np.ndarray) -> np.ndarray:
    """How much of its mixture each place takes from each other: softmax(q k^T / sqrt(d)), (texts, heads, to, from)."""
    normed, p = model.activations(x)[f"{block}.layer.0"], model.parameters
    packed = normed @ p[f"{block}.layer.1.in_proj_weight"] + p[f"{block}.layer.1.in_proj_bias"]
    q, k, _ = packed.reshape(*x.shape, 3, HEADS, -1).transpose(2, 0, 3, 1, 4)
    scores = np.exp(q @ k.swapaxes(-1, -2) / np.sqrt(WIDTH / HEADS))
    return scores / scores.sum(axis=-1, keepdims=True)


def draw(path: str, model: anynet.Model, x: np.ndarray) -> None:
    try:
        import matplotlib
    except ImportError:
        print("The picture needs matplotlib: pip install matplotlib")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(2, HEADS, figsize=(14, 4.2), layout="constrained", sharey=True)
    figure.suptitle(f"Where each digit of the answer looks: attention, mean over {len(x)} sums", weight="bold")
    figure.supxlabel("the text: hundreds, tens and ones of both numbers, and four dots for the answer")
    for row, (name, block) in zip(panels, {"first": 2, "second": 4}.items(), strict=True):
        for head, weights in enumerate(attention(model, block, x).mean(axis=0)):
            image = row[head].imshow(weights[-ANSWER:], cmap="Blues", vmin=0, vmax=1)
            row[head].set(title=f"{name} round, head {head + 1}", yticks=range(ANSWER), yticklabels=PLACES)
            row[head].set(xticks=range(x.shape[1]), xticklabels="hto+hto=....")
    figure.colorbar(image, ax=panels, label="share of the attention")
    figure.savefig(path, dpi=120)
    plt.close(figure)
    print(f"Picture: {path}")


if __name__ == "__main__":
    main()
