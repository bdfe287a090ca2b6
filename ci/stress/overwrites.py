"""Runs replaced with --overwrite, and killed meanwhile, or by two at once: a whole run must be there always."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
import tomllib
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from apart import Died, each
from report import Outcome, followed, without_numbers

from anynet import cli
from anynet.training import Model

_CHANGES = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "shutil.rmtree")
_METRICS = "metrics.jsonl"
_SEEDS = (1, 2, 3)


class Trial(NamedTuple):
    number: int
    lane: int


class Run(NamedTuple):
    """What tells one run from another."""

    config: str
    losses: tuple[float, ...]
    weights: tuple[tuple[str, bytes], ...]


def attack(root: Path, times: int, seed: int, seconds: float) -> Outcome:
    """Kill so many runs that replace another, most of them while they take its place."""
    outcome = Outcome("overwrites")
    sound = {n: _sound(root / f"sound-{n}", n) for n in _SEEDS}
    for lane in (0, 1):
        _anew(root / f"lane-{lane}" / "run")
    last_changes = _last_changes(root / "counted" / "run")
    counts: Counter[str] = Counter()

    def work(trial: Trial) -> tuple[str, list[str]]:
        generator = random.Random(f"{seed} {trial.number}")
        folder = root / f"lane-{trial.lane}" / "run"
        kind = _KINDS[generator.choices((0, 1, 2), (8, 1, 1))[0]]
        wrong = kind(folder, last_changes, generator)
        wrong += _wrong_with(folder, sound)
        if wrong:
            _anew(folder)
        return kind.__name__, wrong

    trials = [Trial(i, lane) for lane in (0, 1) for i in range(lane, times, 2)]
    results = each(work, trials, in_a_row=-(-times // 2), patience=120)
    for trial, result in followed(results, times, outcome.part, seconds):
        if isinstance(result, Died):
            outcome.lose(result.how)
            continue
        name, wrong = result
        counts[name] += 1
        for what in wrong:
            outcome.lose(f"{name}: {what}", f"--parts overwrites --seed {seed} (trial {trial.number})")
    for lane in (0, 1):
        for left in _left_after_another(root / f"lane-{lane}" / "run"):
            outcome.lose(f"left behind, after another run: {left}")
    return outcome.end(
        f"{counts['killed']} kills of runs that replace another, {counts['two_at_once']} times two at once, "
        f"{counts['while_one_goes_on']} times while one goes on"
    )


def killed_at(arguments: list[str], text: str, number: int) -> None:
    """Run a command, killed just before it changes a file whose path holds `text` for the so-manyth time."""
    code, _ = _wait(_begin(arguments, _signal_self(signal.SIGKILL, text, number)))
    if code != -signal.SIGKILL:
        raise AssertionError(f"anynet {' '.join(arguments)} was not killed, but ended with {code}")


def killed(folder: Path, last_changes: int, generator: random.Random) -> list[str]:
    """Kill before a change of a file, mostly one of those that follow the last epoch; or at any moment."""
    seed = generator.choice(_SEEDS)
    arguments = _arguments(seed, folder, "--overwrite")
    how = generator.random()
    if how < 0.15:
        process = _begin(arguments)
        time.sleep(generator.uniform(0.02, 0.6))
        os.kill(process.pid, signal.SIGKILL)
    elif how < 0.3:
        process = _begin(arguments, _signal_self(signal.SIGKILL, "", generator.randint(1, 30)))
    else:
        after = generator.randint(1, last_changes)
        process = _begin(arguments, _signal_self(signal.SIGKILL, _METRICS, _epochs(seed) + 1, after))
    code, said = _wait(process)
    return [] if code in (0, -signal.SIGKILL) else [f"not killed, but exit code {code}: {_last_line(said)}"]


def two_at_once(folder: Path, last_changes: int, generator: random.Random) -> list[str]:
    """Both may succeed, one after the other, or one is refused."""
    processes = [_begin(_arguments(seed, folder, "--overwrite")) for seed in generator.sample(_SEEDS, 2)]
    ended = [_wait(process) for process in processes]
    codes = sorted(code for code, _ in ended)
    if codes not in ([0, 0], [0, cli.USAGE_ERROR]):
        return [f"they end with {codes}: {' '.join(_last_line(said) for _, said in ended)}"]
    return [f"refused with {_last_line(said)}" for code, said in ended if code and not _is_refusal(said)]


def while_one_goes_on(folder: Path, last_changes: int, generator: random.Random) -> list[str]:
    """One is halted in the middle of training, anew or in place of another; the other must be refused meanwhile."""
    if generator.random() < 0.5:
        shutil.rmtree(folder)
    one, other = generator.sample(_SEEDS, 2)
    halt = _signal_self(signal.SIGSTOP, _METRICS, generator.randint(2, _epochs(one) + 1))
    process = _begin(_arguments(one, folder, "--overwrite"), halt)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        return [f"the first ended by itself: {_last_line(process.said.read_text())}"]
    code, said = _wait(_begin(_arguments(other, folder, "--overwrite")))
    os.kill(process.pid, signal.SIGCONT)
    wrong = [] if code == cli.USAGE_ERROR and _is_refusal(said) else [f"another was let in, exit code {code}"]
    code, said = _wait(process)
    return wrong + ([f"the first then failed, exit code {code}: {_last_line(said)}"] if code else [])


_KINDS: tuple[Callable[[Path, int, random.Random], list[str]], ...] = (killed, two_at_once, while_one_goes_on)


class _Process(NamedTuple):
    pid: int
    said: Path


def _begin(arguments: list[str], on_change: Callable[[str], None] | None = None) -> _Process:
    """A command in a forked process, all its modules imported; `on_change` hears of each file it is about to change."""
    said = Path(arguments[arguments.index("--out") + 1]).parent.parent / f"said-{os.getpid()}-{time.monotonic_ns()}"
    said.parent.mkdir(parents=True, exist_ok=True)
    pid = os.fork()
    if pid:
        return _Process(pid, said)
    code = 1
    try:
        with open(said, "w", buffering=1) as err, redirect_stderr(err), redirect_stdout(StringIO()):
            folder = str(Path(arguments[arguments.index("--out") + 1]).parent)
            if on_change:
                sys.addaudithook(partial(_heard, folder, on_change))
            try:
                code = cli.main(arguments)
            except BaseException:
                traceback.print_exc(file=err)
    finally:
        os._exit(code)


def _heard(folder: str, on_change: Callable[[str], None], event: str, arguments: tuple[Any, ...]) -> None:
    if event in _CHANGES and not (event == "open" and _only_reads(arguments)):
        paths = [os.fspath(path) for path in arguments[:2] if isinstance(path, (str, os.PathLike))]
        if any(path.startswith(folder) for path in paths):
            on_change(" ".join(paths))


def _only_reads(arguments: tuple[Any, ...]) -> bool:
    flags = arguments[2] if len(arguments) > 2 else 0
    return not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)


def _wait(process: _Process) -> tuple[int, str]:
    _, status = os.waitpid(process.pid, 0)
    said = process.said.read_text() if process.said.exists() else ""
    process.said.unlink(missing_ok=True)
    return os.waitstatus_to_exitcode(status), said


def _is_refusal(said: str) -> bool:
    return "Traceback" not in said and said.splitlines()[-1].startswith("anynet train: ")


def _last_line(said: str) -> str:
    return without_numbers(said.strip().rpartition("\n")[2])


def _signal_self(which: signal.Signals, text: str, number: int, after: int = 0) -> Callable[[str], None]:
    """What signals its own process at the so-manyth change of a path with `text`, or so many changes after."""
    matches, later = 0, 0

    def count(path: str) -> None:
        nonlocal matches, later
        later += matches == number
        matches += matches < number and text in path
        if matches == number and later == after:
            later += 1
            os.kill(os.getpid(), which)

    return count


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
    code, said = _wait(_begin(_arguments(_SEEDS[0], folder)))
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

    code, said = _wait(_begin(_arguments(_SEEDS[1], folder, "--overwrite"), note))
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
    code, said = _wait(_begin(_arguments(_SEEDS[1], folder, "--overwrite")))
    if code:
        return [f"another run is refused: {said[-200:]}"]
    _anew_beside = folder.parent.parent / "clean" / "run"
    _anew(_anew_beside)
    usual = {path.name for path in _anew_beside.iterdir()}
    beside = [path.name for path in folder.parent.iterdir() if path != folder]
    return sorted({without_numbers(n) for n in (*beside, *({path.name for path in folder.iterdir()} - usual))})
