"""Training that is killed and resumed, again and again: it must end with the bytes of one that nobody stopped."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from apart import Died, each
from report import Outcome, followed, without_numbers

from anynet.model import Model

TRAIN = ["circles", "--backend", "numpy", "--epochs", "300", "--hidden", "32,16", "--batch-size", "16"]
FAST = ["--checkpoint-seconds", "0"]
SIGNALS_AT_ONCE = 10


class Ended(NamedTuple):
    """So many runs, the signals that they left, and what is lost."""

    runs: int
    unsent: int
    lost: list[str]


def attack(root: Path, kills: int, interrupts: int, seed: int, seconds: float) -> Outcome:
    """Send so many SIGKILLs and SIGINTs to trainings that write checkpoints as fast as they can."""
    outcome = Outcome("kills")
    started = time.perf_counter()
    subprocess.run(_command(*TRAIN, "--out", str(root / "undisturbed")), check=True, capture_output=True)
    longest = time.perf_counter() - started
    expected = _weights(root / "undisturbed")
    left = [signal.SIGKILL] * kills + [signal.SIGINT] * interrupts
    random.Random(seed).shuffle(left)
    shares = [left[i : i + SIGNALS_AT_ONCE] for i in range(0, len(left), SIGNALS_AT_ONCE)]

    def work(number: int) -> Ended:
        generator = random.Random(f"{seed} {number}")
        waiting, runs = list(shares[number]), 0
        lost: list[str] = []
        while waiting and not lost:
            lost += _run(root / f"{number}-{runs}", waiting, longest, expected, generator)
            runs += 1
        return Ended(runs, len(waiting), lost)

    runs, sent = 0, Counter[str]()
    results = each(work, range(len(shares)), patience=1800)
    for number, ended in followed(results, len(shares), outcome.part, seconds):
        if isinstance(ended, Died):
            outcome.lose(ended.how)
            continue
        runs += ended.runs
        sent.update(which.name for which in shares[number][ended.unsent :])
        for what in ended.lost:
            outcome.lose(what, f"--parts kills --seed {seed}")
    return outcome.end(f"{sent['SIGKILL']} kills and {sent['SIGINT']} interrupts over {runs} runs")


def _run(
    run: Path,
    waiting: list[signal.Signals],
    longest: float,
    expected: dict[str, bytes],
    generator: random.Random,
) -> list[str]:
    """Train to the end, stopped by signals at random moments and resumed; what is wrong then."""
    command = _command(*TRAIN, *FAST, "--out", str(run))
    while True:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            _, said = process.communicate(timeout=generator.uniform(0.1, longest) if waiting else None)
        except subprocess.TimeoutExpired:
            process.send_signal(waiting[-1])
            _, said = process.communicate()
            # A signal may come when all is done.
            if process.returncode:
                waiting.pop()
        is_over = (run / "model.safetensors").is_file() and not (run / "checkpoints").is_dir()
        if process.returncode == 0 or is_over:
            return [] if _weights(run) == expected else ["a run ended with other bytes"]
        if process.returncode not in (-signal.SIGKILL, 130, -signal.SIGINT):
            return [f"exit code {process.returncode}: {without_numbers(said)}"]
        # Before it has a config, nothing has been asked of it.
        if (run / "config.toml").is_file():
            command = _command("--resume", str(run), *FAST)


def _command(*arguments: str) -> list[str]:
    # A program that runs in the background may have been told to ignore SIGINT.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from anynet.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    return [sys.executable, "-c", code, "train", *arguments]


def _weights(run: Path) -> dict[str, bytes]:
    model = Model.load(run / "model.safetensors")
    return {name: array.tobytes() for name, array in model.parameters.items()}
