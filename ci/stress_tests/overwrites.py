"""Runs replaced with --overwrite, and killed meanwhile, or by two at once: a whole run must be there always."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
import tomllib
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from apart import Died, each
from commands import begin, is_refusal, last_line, signal_self, wait
from report import Outcome, followed, without_numbers

from anynet import cli
from anynet.model import Model

_METRICS = "metrics.jsonl"
_SEEDS = (1, 2, 3)


class Trial(NamedTuple):
    number: int
    kind: str
    lane: int


class Run(NamedTuple):
    """What tells one run from another."""

    config: str
    losses: tuple[float, ...]
    weights: tuple[tuple[str, bytes], ...]


def attack(root: Path, kills: int, seed: int, seconds: float) -> Outcome:
    """So many kills of runs that replace another, and a tenth as many trials of each other kind."""
    outcome = Outcome("overwrites")
    sound = {n: _sound(root / f"sound-{n}", n) for n in _SEEDS}
    folders = [root / f"lane-{lane}" / "run" for lane in (0, 1)]
    for folder in folders:
        _anew(folder)
    last_changes = _last_changes(root / "counted" / "run")
    kinds = ["killed"] * kills + ["two at once", "while one goes on"] * (kills // 10)
    random.Random(seed).shuffle(kinds)
    half = -(-len(kinds) // 2) or 1
    trials = [Trial(i, kind, i // half) for i, kind in enumerate(kinds)]

    def work(trial: Trial) -> list[str]:
        folder = folders[trial.lane]
        wrong = _KINDS[trial.kind](folder, last_changes, random.Random(f"{seed} {trial.number}"))
        wrong += _wrong_with(folder, sound)
        if wrong:
            _anew(folder)
        return wrong

    counts: Counter[str] = Counter()
    results = each(work, trials, in_a_row=half, patience=120)
    for trial, wrong in followed(results, len(trials), outcome.part, seconds):
        if isinstance(wrong, Died):
            outcome.lose(wrong.how)
            continue
        counts[trial.kind] += 1
        for what in wrong:
            outcome.lose(f"{trial.kind}: {what}", f"--parts overwrites --seed {seed} (trial {trial.number})")
    for folder in folders:
        for left in _left_after_another(folder):
            outcome.lose(f"left behind, after another run: {left}")
    return outcome.end("runs replaced: " + ", ".join(f"{times} {kind}" for kind, times in sorted(counts.items())))


def _killed(folder: Path, last_changes: int, generator: random.Random) -> list[str]:
    """Killed before it changes a file, mostly one of those that follow the last epoch; or at any moment."""
    code = 0
    while code != -signal.SIGKILL:
        seed, how = generator.choice(_SEEDS), generator.random()
        arguments = _arguments(seed, folder, "--overwrite")
        if how < 0.15:
            process = begin(arguments)
            time.sleep(generator.uniform(0.02, 0.6))
            os.kill(process.pid, signal.SIGKILL)
        elif how < 0.3:
            process = begin(arguments, signal_self(signal.SIGKILL, "", generator.randint(1, 30)))
        else:
            after = generator.randint(1, last_changes)
            process = begin(arguments, signal_self(signal.SIGKILL, _METRICS, _epochs(seed) + 1, after))
        code, said = wait(process)
        # It may be done before it is killed.
        if code not in (0, -signal.SIGKILL):
            return [f"not killed, but exit code {code}: {last_line(said)}"]
    return []


def _two_at_once(folder: Path, last_changes: int, generator: random.Random) -> list[str]:
    """Both may succeed, one after the other, or one is refused."""
    processes = [begin(_arguments(seed, folder, "--overwrite")) for seed in generator.sample(_SEEDS, 2)]
    ended = [wait(process) for process in processes]
    codes = sorted(code for code, _ in ended)
    if codes not in ([0, 0], [0, cli.USAGE_ERROR]):
        return [f"they end with {codes}: {' '.join(last_line(said) for _, said in ended)}"]
    return [f"refused with {last_line(said)}" for code, said in ended if code and not is_refusal(said)]


def _while_one_goes_on(folder: Path, last_changes: int, generator: random.Random) -> list[str]:
    """One is halted in the middle of training, anew or in place of another; the other must be refused meanwhile."""
    if generator.random() < 0.5:
        shutil.rmtree(folder)
    one, other = generator.sample(_SEEDS, 2)
    halt = signal_self(signal.SIGSTOP, _METRICS, generator.randint(2, _epochs(one) + 1))
    process = begin(_arguments(one, folder, "--overwrite"), halt)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        return [f"the first ended by itself: {last_line(process.said.read_text())}"]
    code, said = wait(begin(_arguments(other, folder, "--overwrite")))
    os.kill(process.pid, signal.SIGCONT)
    wrong = [] if code == cli.USAGE_ERROR and is_refusal(said) else [f"another was let in, exit code {code}"]
    code, said = wait(process)
    return wrong + ([f"the first then failed, exit code {code}: {last_line(said)}"] if code else [])


_KINDS: dict[str, Callable[[Path, int, random.Random], list[str]]] = {
    "killed": _killed,
    "two at once": _two_at_once,
    "while one goes on": _while_one_goes_on,
}


def _epochs(seed: int) -> int:
    return seed + 1


def _arguments(seed: int, folder: Path, *more: str) -> list[str]:
    sizes = {"--epochs": _epochs(seed), "--hidden": 3 + seed, "--seed": seed, "--checkpoint-seconds": 0}
    options = [str(part) for pair in sizes.items() for part in pair]
    return ["train", "circles", "--backend", "numpy", *options, "--out", str(folder), *more]


def _anew(folder: Path) -> None:
    """A sound run, and nothing beside it."""
    shutil.rmtree(folder.parent, ignore_errors=True)
    folder.parent.mkdir(parents=True)
    code, said = wait(begin(_arguments(_SEEDS[0], folder)))
    if code:
        raise AssertionError(said)


def _sound(folder: Path, seed: int) -> Run:
    """A run as it is when nothing disturbs it; here, and so all that it imports is there for those forked later."""
    with redirect_stderr(StringIO()), redirect_stdout(StringIO()):
        cli.main(_arguments(seed, folder))
    return _read(folder)


def _last_changes(folder: Path) -> int:
    """How many changes of files follow the last epoch of a run that replaces another."""
    _anew(folder)
    listed = folder.parent.parent / "changes"

    def note(path: str) -> None:
        with open(listed, "a") as file:
            file.write(path + "\n")

    code, said = wait(begin(_arguments(_SEEDS[1], folder, "--overwrite"), note))
    if code:
        raise AssertionError(said)
    paths = listed.read_text().splitlines()
    return len(paths) - [i for i, path in enumerate(paths) if _METRICS in path][_epochs(_SEEDS[1])]


def _read(folder: Path) -> Run:
    lines = (folder / _METRICS).read_text().splitlines()
    model = Model.load(folder / "model.safetensors")
    json.loads((folder / "env.json").read_text())
    config = (folder / "config.toml").read_text()
    if tomllib.loads(config)["seed"] != model.seed:
        raise ValueError("the config of one run beside the model of another")
    losses = tuple(json.loads(line)["loss"] for line in lines)
    return Run(config, losses, tuple((name, array.tobytes()) for name, array in sorted(model.parameters.items())))


def _wrong_with(folder: Path, sound: dict[int, Run]) -> list[str]:
    try:
        if _read(folder) not in sound.values():
            return ["the run that is there is none of those that were trained"]
        with redirect_stderr(StringIO()) as err, redirect_stdout(StringIO()):
            code = cli.main(["evaluate", str(folder), "circles", "--backend", "numpy", "--json"])
        return [f"anynet evaluate: {err.getvalue()}"] if code else []
    except Exception as error:
        there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else "nothing"
        return [f"no whole run is there: {type(error).__name__}; there is {there}"]


def _left_after_another(folder: Path) -> list[str]:
    """What lies about beside a run, and in it, once another has run there undisturbed."""
    code, said = wait(begin(_arguments(_SEEDS[1], folder, "--overwrite")))
    if code:
        return [f"another run is refused: {said[-200:]}"]
    _anew_beside = folder.parent.parent / "clean" / "run"
    _anew(_anew_beside)
    usual = {path.name for path in _anew_beside.iterdir()}
    beside = [path.name for path in folder.parent.iterdir() if path != folder]
    return sorted({without_numbers(n) for n in (*beside, *({path.name for path in folder.iterdir()} - usual))})
