"""A recurrent network forecasts a series of two seasons and noise: the power that a town takes, say, made up here.

An LSTM reads the last five days, one number after the other, and keeps in mind what matters; from that, a linear layer
tells the next two days at once. Weekends have another curve than working days, so it must find out what day it is. A
formula that is linear in the numbers seen cannot choose between curves, and the picture shows where that fails.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

import anynet
from anynet.nn import LSTM, Adam, Linear, MSELoss, OneCycle, Sequential
from anynet.training import Progress

DAY = 8  # one number for every three hours
WEEK = 7 * DAY
SEEN, AHEAD = 5 * DAY, 2 * DAY
NOISE = 0.1


def series(weeks: int) -> np.ndarray:
    t = np.arange(weeks * WEEK)
    hour = 2 * np.pi * t / DAY
    working_day, weekend = np.sin(hour) + 0.5 * np.sin(2 * hour), 0.5 * np.sin(hour - 1) - 0.5
    noise = np.random.default_rng(0).normal(0, NOISE, len(t))
    return np.where(t % WEEK < 5 * DAY, working_day, weekend) + noise


def windows(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every piece of the series: what is seen, of shape (pieces, time, 1), and what comes after it."""
    pieces = np.lib.stride_tricks.sliding_window_view(values, SEEN + AHEAD)
    return pieces[:, :SEEN, None], pieces[:, SEEN:]


def with_one(x: np.ndarray) -> np.ndarray:
    """Each piece as a row of numbers, the first of them 1, for the constant of a linear formula."""
    return np.insert(x[..., 0], 0, 1.0, axis=1)


def error(forecast: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The root of the mean square, for each time ahead."""
    return np.sqrt(((forecast - truth) ** 2).mean(axis=0))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    backends = "array library to compute with: numpy, cupy, torch, jax or auto (default: %(default)s)"
    parser.add_argument("--backend", default="numpy", help=backends)
    parser.add_argument("--epochs", type=int, default=10, help="passes over the pieces (default: %(default)s)")
    parser.add_argument("--weeks", type=int, default=150, help="of the series, to learn from (default: %(default)s)")
    parser.add_argument("--out", default="forecast.png", help="file of the picture (default: %(default)s)")
    options = parser.parse_args(arguments)

    past, future = np.split(series(options.weeks + 10), [options.weeks * WEEK])
    x, y = windows(past)
    network = Sequential(LSTM(32), Linear(AHEAD))
    optimizer = Adam(OneCycle(0.01, steps=options.epochs * -(-len(x) // 64)))
    model = anynet.Model(network, MSELoss(), optimizer, backend=options.backend, dtype="float32")
    model.fit(x, y, epochs=options.epochs, batch_size=64, callbacks=[Progress()])
    linear = np.linalg.lstsq(with_one(x), y)[0]

    x, y = windows(future)
    forecasts = {"LSTM": model.predict(x), "least squares": with_one(x) @ linear, "as two days ago": x[:, -AHEAD:, 0]}
    print(f"error of {len(x)} forecasts in later weeks; the noise alone, which nobody can foresee, is {NOISE}:")
    for name, forecast in forecasts.items():
        print(f"  {name:16} {error(forecast, y).mean():.3f}")
    draw(options.out, y, forecasts)


def draw(path: str, truth: np.ndarray, forecasts: dict[str, np.ndarray]) -> None:
    try:
        import matplotlib
    except ImportError:
        print("The picture needs matplotlib: pip install matplotlib")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (curves, errors) = plt.subplots(2, 1, figsize=(12, 7), layout="constrained", height_ratios=(3, 2))
    # Each forecast begins where the one before it ends, so that there is one for each time.
    chained = np.arange(0, 3 * WEEK + 1, AHEAD)
    days = np.arange(len(chained) * AHEAD) / DAY
    curves.plot(days, truth[chained].ravel(), "o", color="black", markersize=3, label="truth, with its noise")
    for name, forecast in list(forecasts.items())[:2]:
        curves.plot(days, forecast[chained].ravel(), label=name)
    for start in days[::AHEAD]:
        curves.axvline(start, color="lightgray", linewidth=0.8, zorder=0)
    curves.set(title="Three later weeks; each forecast is made at a gray line, for two days", xlabel="day")
    for name, forecast in forecasts.items():
        errors.plot(np.arange(1, AHEAD + 1) * 24 / DAY, error(forecast, truth), ".-", label=name)
    errors.axhline(NOISE, color="black", linestyle=":", label="the noise alone")
    errors.set(
        title="Error of the forecasts", xlabel="hours ahead", xticks=range(0, 49, 6), ylabel="root of the mean square"
    )
    errors.set_ylim(bottom=0)
    for axes in (curves, errors):
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path, dpi=120)
    plt.close(figure)
    print(f"Picture: {path}")


if __name__ == "__main__":
    main()
