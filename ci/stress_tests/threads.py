"""Threads that read, save and pickle a model while it trains: each must see a finished stretch, and change nothing.

What a training passes through when nobody disturbs it is noted down first; then the same training is disturbed.
"""

from __future__ import annotations

import hashlib
import pickle
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from apart import Died, each
from report import Outcome, followed, in_words

from anynet import nn
from anynet.errors import BackendError, UsageError
from anynet.model import Model
from anynet.training import Callback

# Two longer batches and a shorter one.
ROWS, BATCH = 40, 16
X = np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32)
Y = np.arange(ROWS) % 3
PROBE = X[:7]
# A rival tries to train, and to put weights, in one of so many fits.
FITS_TO_A_RIVAL = 10
WAIT = 20.0


def attack(backend: str, fits: int, root: Path, seconds: float) -> Outcome:
    """Disturb so many fits on a backend, in a process of its own."""
    outcome = Outcome(f"threads, {backend}")
    results = each(lambda name: _disturb(name, fits, root, seconds), [backend], patience=3 * seconds + 60)
    for _, result in followed(results, 1, outcome.part, 4 * seconds + 60):
        if isinstance(result, Died):
            outcome.lose(result.how)
            return outcome.end("")
        done, lost = result
        for what, times in lost.items():
            outcome.lose(what, times=times)
    return outcome.end(done)


@dataclass
class Known:
    """What an undisturbed training passes through: after each stretch, and after each fit."""

    weights: set[str] = field(default_factory=set)
    wholes: set[str] = field(default_factory=set)
    predictions: set[str] = field(default_factory=set)
    measures: set[str] = field(default_factory=set)
    ends: list[str] = field(default_factory=list)


@dataclass
class Seen:
    """What the threads see, and what goes wrong."""

    counts: Counter[str] = field(default_factory=Counter)
    results: dict[str, set[str]] = field(default_factory=dict)
    lost: Counter[str] = field(default_factory=Counter)
    lock: Any = field(default_factory=threading.Lock)

    def see(self, what: str, *results: str) -> None:
        with self.lock:
            self.counts[what] += 1
            self.results.setdefault(what, set()).update(results)

    def lose(self, what: str) -> None:
        with self.lock:
            self.lost[what] += 1

    def raised(self, what: str, error: BaseException) -> None:
        self.lose(f"{what}: {in_words(error)}")


def _disturb(backend: str, fits: int, root: Path, seconds: float) -> tuple[str, Counter[str]]:
    seen = Seen()
    try:
        known = _undisturbed(backend, fits)
    except BackendError as error:
        return f"not tried: {error.reason}", seen.lost
    _compare_with_another_thread(backend, min(fits, 20), known, seen)
    model = _new(backend)
    stop, rival = threading.Event(), Rival(seen)
    root.mkdir(parents=True, exist_ok=True)
    model.save(root / "one.safetensors")
    kinds = [_predict, _predict, _evaluate, _save_one, _save_one, _load_one, _save_several, _pickle, _look]
    jobs: list[Callable[[], None]] = [partial(kind, model, root / f"thread-{i}", seen) for i, kind in enumerate(kinds)]
    jobs.append(partial(rival.attack, model))
    threads = [threading.Thread(target=_again_and_again, args=(job, stop, seen), daemon=True) for job in jobs]
    # Threads take turns more often than they would.
    sys.setswitchinterval(1e-4)
    for thread in threads:
        thread.start()
    done, ends = 0, time.monotonic() + seconds
    while done < fits and time.monotonic() < ends:
        try:
            _fit(model, done, [rival])
        except Exception as error:
            seen.raised("fit", error)
        done += 1
    stop.set()
    for thread in threads:
        thread.join(WAIT)
        if thread.is_alive():
            seen.lose("a thread does not end")
    if _whole(model) != known.ends[done - 1]:
        seen.lose("training ended with other bytes")
    _judge(seen, known)
    said = ", ".join(f"{times:,} {what}" for what, times in seen.counts.items())
    return f"{done:,} fits beside {len(threads)} threads: {said}", seen.lost


def _judge(seen: Seen, known: Known) -> None:
    """Whatever was seen must be of a finished stretch."""
    expected = {
        "predicted": known.predictions,
        "evaluated": known.measures,
        "saved and loaded": known.weights,
        "pickled": known.wholes,
        "looked at": known.weights,
    }
    for what, results in seen.results.items():
        if what in expected and (others := len(results - expected[what])):
            seen.lost[f"{what} what is of no finished stretch"] += others


class Stretches(Callback):
    """Notes down what a model is after each stretch of batches."""

    def __init__(self, known: Known) -> None:
        self.known = known
        self.weights: list[dict[str, Any]] = []

    def on_batches_end(self, model: Model, samples: int) -> None:
        self.note(model)

    def note(self, model: Model) -> None:
        weights = model.parameters
        self.weights.append(weights)
        self.known.weights.add(_digest(weights))
        self.known.wholes.add(_whole(model))


def _undisturbed(backend: str, fits: int) -> Known:
    known = Known()
    noted = Stretches(known)
    model = _new(backend)
    noted.note(model)
    for i in range(fits):
        _fit(model, i, [noted])
        known.ends.append(_whole(model))
    other = _new(backend)
    for weights in noted.weights:
        other.put(weights)
        known.predictions.add(_digest(other.predict(PROBE)))
        known.measures.add(repr(other.evaluate(X, Y)))
    return known


def _compare_with_another_thread(backend: str, fits: int, known: Known, seen: Seen) -> None:
    """The same fits, outside the main thread and without callbacks, come to the same bytes."""
    model = _new(backend)

    def train() -> None:
        for i in range(fits):
            _fit(model, i, [])

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    if _whole(model) != known.ends[fits - 1]:
        seen.lose("training in another thread, alone, ends with other bytes")


def _new(backend: str) -> Model:
    network = nn.Sequential(nn.Linear(8), nn.BatchNorm(), nn.ReLU(), nn.Dropout(0.2), nn.Linear(3))
    return Model(network, nn.CrossEntropyLoss(), nn.Adam(0.01), backend=backend).build(X.shape[1:])


def _fit(model: Model, number: int, callbacks: list[Callback]) -> None:
    # By turns in stretches of many steps, and of one.
    model.fit(X, Y, batch_size=BATCH, callbacks=callbacks, debug=bool(number % 2))


class Rival(Callback):
    """Another thread that would train the same model; let in while a fit is under way, and only then."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen
        self.may, self.done = threading.Event(), threading.Event()
        self.fits = 0

    def on_fit_begin(self, model: Model, epochs: int, samples: int) -> None:
        self.fits += 1

    def on_batches_end(self, model: Model, samples: int) -> None:
        if self.fits % FITS_TO_A_RIVAL:
            return
        self.fits += 1
        self._must_be_refused("fit in a callback", lambda: model.fit(X, Y))
        # To put what is there changes nothing.
        model.put(model.parameters)
        self.done.clear()
        self.may.set()
        if not self.done.wait(WAIT):
            self.seen.lose(f"a second fit is not refused within {WAIT:.0f} s")

    def attack(self, model: Model) -> None:
        if self.may.wait(0.1):
            self.may.clear()
            self._must_be_refused("a second fit", lambda: model.fit(X, Y))
            self._must_be_refused("put from another thread", lambda: model.put(model.parameters))
            self.done.set()

    def _must_be_refused(self, what: str, act: Callable[[], Any]) -> None:
        try:
            act()
        except UsageError:
            self.seen.see("refused")
        except Exception as error:
            self.seen.raised(what, error)
        else:
            self.seen.lose(f"{what} is not refused")


def _again_and_again(act: Callable[[], None], stop: threading.Event, seen: Seen) -> None:
    while not stop.is_set():
        try:
            act()
        except Exception as error:
            seen.raised(getattr(act, "func", act).__name__.strip("_"), error)
        time.sleep(0.001)


def _predict(model: Model, path: Path, seen: Seen) -> None:
    seen.see("predicted", _digest(model.predict(PROBE)))


def _evaluate(model: Model, path: Path, seen: Seen) -> None:
    seen.see("evaluated", repr(model.evaluate(X, Y)))


def _save_one(model: Model, path: Path, seen: Seen) -> None:
    model.save(path.with_name("one.safetensors"))
    seen.see("saved")


def _load_one(model: Model, path: Path, seen: Seen) -> None:
    _load(path.with_name("one.safetensors"), seen)


def _save_several(model: Model, path: Path, seen: Seen) -> None:
    path = path.with_suffix(f".{seen.counts['saved and loaded'] % 3}.safetensors")
    model.save(path)
    _load(path, seen)


def _load(path: Path, seen: Seen) -> None:
    seen.see("saved and loaded", _digest(Model.load(path).parameters))


def _pickle(model: Model, path: Path, seen: Seen) -> None:
    seen.see("pickled", _whole(pickle.loads(pickle.dumps(model))))


def _look(model: Model, path: Path, seen: Seen) -> None:
    seen.see("looked at", _digest(model.parameters))
    repr(model)
    if hasattr(model, "summary"):
        str(model.summary())


def _whole(model: Model) -> str:
    """All arrays that a pickle holds, moments and counters among them."""
    return _digest(model.__getstate__())


def _digest(values: Any) -> str:
    """Of the arrays in nested dicts and lists, by their places."""
    digest = hashlib.sha256()

    def add(place: str, value: Any) -> None:
        if isinstance(value, dict):
            for key in sorted(value, key=str):
                add(f"{place}/{key}", value[key])
        elif isinstance(value, (list, tuple)):
            for i, item in enumerate(value):
                add(f"{place}/{i}", item)
        elif isinstance(value, np.ndarray):
            digest.update(f"{place} {value.dtype} {value.shape}".encode() + value.tobytes())

    add("", values)
    return digest.hexdigest()
