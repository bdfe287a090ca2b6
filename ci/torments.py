"""Training that is killed, and files that are damaged: what is lost, counted. Exit code 1 if anything is."""

from __future__ import annotations

import argparse
import gzip
import io
import json
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

import anynet
from anynet import datasets, nn
from anynet.cli.config import TrainConfig, resolve, to_toml
from anynet.errors import AnynetError
from anynet.training import Checkpoints, Model, course, model_file
from anynet.training import checkpoints as checkpoint_files

TRAIN = ["circles", "--backend", "numpy", "--epochs", "300", "--hidden", "32,16", "--batch-size", "16"]
FAST = ["--checkpoint-seconds", "0"]
SECONDS_TO_LOOK_AT_A_FILE = 5


def main() -> int:
    parser = argparse.ArgumentParser(prog="ci/torture", description=__doc__)
    parser.add_argument("--kills", type=int, default=300, help="with SIGKILL (default %(default)s)")
    parser.add_argument("--interrupts", type=int, default=100, help="with SIGINT (default %(default)s)")
    parser.add_argument("--mutations", type=int, default=20_000, help="of files (default %(default)s)")
    parser.add_argument("--turns", type=int, default=9, help="of measuring what checkpoints cost (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if options.kills or options.interrupts:
            wrong += kill(root, {signal.SIGKILL: options.kills, signal.SIGINT: options.interrupts}, options.seed)
        if options.mutations:
            wrong += mutate(root, options.mutations, options.seed)
        if options.turns:
            wrong += memory(10_000)
            cost(root, options.turns)
    return int(wrong > 0)


def kill(root: Path, wanted: dict[signal.Signals, int], seed: int) -> int:
    """Kill and resume until it is over, again and again; what was refused, and what ended otherwise."""
    started = time.perf_counter()
    subprocess.run(_command(*TRAIN, "--out", str(root / "undisturbed")), check=True, capture_output=True)
    longest = time.perf_counter() - started
    expected = _weights(root / "undisturbed")
    counts: Counter[str] = Counter()
    left = [number for number, times in wanted.items() for _ in range(times)]
    random.Random(seed).shuffle(left)
    with ThreadPoolExecutor(2) as pool:
        halves = (left[::2], left[1::2])
        jobs = [
            pool.submit(_kill_in_turn, root / f"half-{i}", half, longest, expected, i) for i, half in enumerate(halves)
        ]
        for job in jobs:
            counts += job.result()
    print(
        f"{counts['SIGKILL']} kills and {counts['SIGINT']} interrupts over {counts['runs']} runs: "
        f"{counts['refused']} folders refused, {counts['other bytes']} runs ended with other bytes"
    )
    return counts["refused"] + counts["other bytes"]


def _kill_in_turn(
    folder: Path, signals: list[signal.Signals], longest: float, expected: dict[str, bytes], seed: int
) -> Counter[str]:
    generator = random.Random(seed)
    counts: Counter[str] = Counter()
    while signals:
        run = folder / str(counts["runs"])
        command = _command(*TRAIN, *FAST, "--out", str(run))
        while True:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            try:
                _, said = process.communicate(timeout=generator.uniform(0.1, longest) if signals else None)
            except subprocess.TimeoutExpired:
                number = signals.pop()
                process.send_signal(number)
                _, said = process.communicate()
                if process.returncode:
                    counts[number.name] += 1
            # A signal may come when all is done.
            over = (run / "model.safetensors").is_file() and not (run / "checkpoints").is_dir()
            if process.returncode == 0 or over:
                break
            if process.returncode not in (-signal.SIGKILL, 130, -signal.SIGINT):
                counts["refused"] += 1
                print(f"exit code {process.returncode}: {said}", file=sys.stderr)
                break
            # Before it has a config, nothing has been asked of it.
            if (run / "config.toml").is_file():
                command = _command("--resume", str(run), *FAST)
        counts["runs"] += 1
        if (process.returncode == 0 or over) and _weights(run) != expected:
            counts["other bytes"] += 1
    return counts


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


def mutate(root: Path, times: int, seed: int) -> int:
    """Damage files of every kind; each must be read as it was, or refused with an error of anynet's own."""
    kinds = _files(root)
    counts: Counter[str] = Counter()
    generator = random.Random(seed)
    signal.signal(signal.SIGALRM, _too_long)
    for i in range(times):
        name, (path, look, honest) = list(kinds.items())[i % len(kinds)]
        damaged = root / f"damaged{''.join(path.suffixes)}"
        if path.suffix == ".safetensors" and generator.random() < 0.5:
            _rewrite(path, damaged, generator)
        else:
            damaged.write_bytes(_damaged(path.read_bytes(), generator))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        signal.alarm(SECONDS_TO_LOOK_AT_A_FILE)
        try:
            with redirect_stderr(io.StringIO()):
                look(damaged)
            outcome = "read"
        except AnynetError:
            outcome = "refused"
        except BaseException as error:
            outcome = f"wrong: {type(error).__name__}: {error}"
            print(f"{name}: {outcome}", file=sys.stderr)
        finally:
            signal.alarm(0)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        if grown > honest:
            counts["memory"] += 1
            print(f"{name}: {grown >> 20} MiB more memory", file=sys.stderr)
        counts[outcome.split(":")[0]] += 1
    print(
        f"{times} damaged files: {counts['refused']} refused, {counts['read']} read, {counts['wrong']} other errors, "
        f"{counts['memory']} took much memory"
    )
    return counts["wrong"] + counts["memory"]


def _files(root: Path) -> dict[str, tuple[Path, Callable[[Path], Any], int]]:
    """A sound file of each kind, what reads it, and how much memory that may take."""
    x, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
    model = Model(
        nn.Sequential(nn.Linear(8), nn.BatchNorm(), nn.ReLU(), nn.Linear(3)), nn.CrossEntropyLoss(), nn.Adam()
    )
    model.fit(x, y, epochs=2, checkpoints=Checkpoints(root / "checkpoints", every_seconds=0))
    model.save(root / "model.safetensors")
    np.savez(root / "data.npz", x=x, y=y)
    np.save(root / "x.npy", x)
    np.save(root / "y.npy", y)
    rows = "".join(f"{a:.3f},{b:.3f},{kind}\n" for (a, b, *_), kind in zip(x, y, strict=True))
    (root / "table.csv").write_text("height,width,kind\n" + rows)
    (root / "config.toml").write_text(to_toml(TrainConfig("mnist"), anynet.__version__))
    idx = bytes([0, 0, 8, 3, 0, 0, 0, 60, 0, 0, 0, 4, 0, 0, 0, 4]) + bytes(range(240)) * 4
    (root / "images.idx").write_bytes(idx)
    (root / "labels.idx").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 60]) + bytes(60))
    (root / "images.gz").write_bytes(gzip.compress(idx, mtime=0))

    def resumed(path: Path) -> None:
        parts = nn.Sequential(nn.Linear(8), nn.BatchNorm(), nn.ReLU(), nn.Linear(3)), nn.CrossEntropyLoss(), nn.Adam()
        Model(*parts).fit(x, y, epochs=2, resume=path)

    enough = 64 << 20
    return {
        "model": (root / "model.safetensors", Model.load, enough),
        "checkpoint": (checkpoint_files.latest(root / "checkpoints"), resumed, enough),
        "npz": (root / "data.npz", lambda path: datasets.load(str(path)), enough),
        "npy": (root / "x.npy", lambda path: datasets.load(f"{path},{root / 'y.npy'}"), enough),
        "csv": (root / "table.csv", lambda path: datasets.load(str(path), "kind"), enough),
        "toml": (root / "config.toml", lambda path: resolve({"config": str(path)}), enough),
        "idx": (root / "images.idx", lambda path: datasets.load(f"{path},{root / 'labels.idx'}"), enough),
        "idx, gzipped": (root / "images.gz", lambda path: datasets.load(f"{path},{root / 'labels.idx'}"), enough),
    }


def _rewrite(path: Path, damaged: Path, generator: random.Random) -> None:
    """A file with a right checksum and other content: tensors swapped, renamed, doubled, cast, or another header."""
    arrays, header = model_file.read(path)
    names = sorted(arrays)
    one, other = generator.choice(names), generator.choice(names)
    how = generator.randrange(6)
    if how == 0:
        arrays[one], arrays[other] = arrays[other], arrays[one]
    elif how == 1:
        arrays[generator.choice(["", "0.weight", "x" * 1000, f"{one}/{other}", f" {one}"])] = arrays.pop(one)
    elif how == 2:
        arrays[one] = np.concatenate([np.atleast_1d(arrays[one])] * 2)
    elif how == 3:
        arrays[one] = arrays[one].astype(generator.choice(["int8", "float64", "float16", "bool"]))
    else:
        _change(header, generator)
    header = {"format": model_file.FORMAT, "sha256": model_file._checksum(arrays, header), **header}
    damaged.write_bytes(save(arrays, metadata={"anynet": json.dumps(header, sort_keys=True)}))


def _change(tree: Any, generator: random.Random) -> None:
    """Something in nested dicts and lists becomes something else."""
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
    if not keys:
        return
    key = generator.choice(keys)
    if isinstance(tree[key], (dict, list)) and generator.random() < 0.7:
        _change(tree[key], generator)
    elif isinstance(tree, dict) and generator.random() < 0.3:
        tree[generator.choice(["is", "layers", "other", "epoch"])] = tree.pop(key)
    else:
        tree[key] = generator.choice([None, -1, 0, 1e308, 2**70, "", "Linear", [], {}, [[]], True, {"is": "Linear"}])


def _damaged(data: bytes, generator: random.Random) -> bytes:
    """Bytes flipped, cut, grown, zeroed, swapped or doubled; mostly near the start, where headers are."""
    changed = bytearray(data)
    for _ in range(generator.choice([1, 1, 2, 5])):
        size = len(changed)
        if not size:
            break
        place = int(size * generator.random() ** generator.choice([1, 4]))
        length = min(generator.choice([1, 4, 8, 64]), size - place)
        how = generator.randrange(7)
        if how == 0:
            changed[place] ^= generator.randrange(1, 256)
        elif how == 1:
            del changed[place:]
        elif how == 2:
            changed[place:place] = generator.randbytes(length)
        elif how == 3:
            changed[place : place + length] = bytes(length)
        elif how == 4:
            changed[place : place + length] = b"\xff" * length
        elif how == 5:
            other = generator.randrange(size)
            changed[place : place + length] = changed[other : other + length]
        else:
            changed += changed[place : place + 64]
    return bytes(changed)


def _too_long(*_: Any) -> None:
    raise TimeoutError(f"not done after {SECONDS_TO_LOOK_AT_A_FILE} seconds")


def cost(root: Path, turns: int) -> None:
    """What a checkpoint every second adds to training on MNIST, turn by turn."""
    data = datasets.mnist()
    models = []
    for _ in range(2):
        layers = nn.Rescale(1 / 255), nn.Flatten(), nn.Linear(128), nn.ReLU(), nn.Linear(64), nn.ReLU(), nn.Linear(10)
        models.append(Model(nn.Sequential(*layers), nn.CrossEntropyLoss(), nn.SGD(0.1, momentum=0.9)))
    options = [{}, {"checkpoints": Checkpoints(root / "mnist", every_seconds=1)}]
    ratios = []
    for turn in range(turns + 1):
        seconds = [0.0, 0.0]
        for i in (0, 1) if turn % 2 else (1, 0):
            started = time.perf_counter()
            models[i].fit(data.x, data.y, epochs=3, batch_size=64, **options[i])
            seconds[i] = time.perf_counter() - started
        ratios.append(seconds[1] / seconds[0])
    print(f"a checkpoint every second: training takes {statistics.median(ratios[1:]):.3f} of the time without")
    started = time.perf_counter()
    for _ in range(100):
        course._not_finite(models[0])
    looked = (time.perf_counter() - started) / 100
    losses = np.zeros(64, np.float32)
    started = time.perf_counter()
    for _ in range(1000):
        np.isfinite(losses).all()
    looked += (time.perf_counter() - started) / 1000 * len(data.x) / 64 / 64
    epoch = models[0].fit(data.x, data.y, batch_size=64)[0]["seconds"]
    print(f"looking for what is not finite takes {looked / epoch:.5f} of an epoch")


def memory(steps: int) -> int:
    """Train on and on; whether memory grows."""
    x, y = np.random.default_rng(0).normal(size=(1600, 20)), np.arange(1600) % 3
    model = Model(nn.Sequential(nn.Linear(64), nn.ReLU(), nn.Linear(3)), nn.CrossEntropyLoss(), nn.Adam())
    used = []
    for epochs in (1, steps // 100 - 1):
        model.fit(x, y, batch_size=16, epochs=epochs)
        used.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize())
    grown = used[1] - used[0]
    print(f"{steps} steps leave {grown / 2**20:.1f} MiB more memory in use than 100")
    return int(grown > 4 << 20)


if __name__ == "__main__":
    sys.exit(main())
