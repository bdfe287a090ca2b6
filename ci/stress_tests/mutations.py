"""Files changed at random: each must be refused with an error of anynet's own, or be read and then be of use."""

from __future__ import annotations

import os
import random
import resource
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import signed
from apart import Died, each
from damage import damaged
from kinds import Kind
from report import Outcome, followed, in_words

from anynet.errors import AnynetError

# Of a processor, so that a busy machine is no failure.
SECONDS = 2.0
MEMORY = 300 << 20


class Result(NamedTuple):
    outcome: str
    seconds: float
    why: str = ""


class TooLong(BaseException):
    """Raised by the clock, and caught by nothing on the way."""


def attack(part: str, kinds: list[Kind], root: Path, times: int, seed: int, seconds: float) -> Outcome:
    """Change and look at so many files, of every kind in turn."""
    outcome = Outcome(part)
    if part in _CHANGES:
        for kind in kinds:
            _check_sound(kind, root)
    cases = Cases(part, kinds, root, seed)
    counts: Counter[str] = Counter()
    longest = 0.0
    results = each(cases.look, range(times), in_a_row=200)
    for case, result in followed(results, times, part, seconds):
        name = cases.kind(case).name
        again = f"--parts {part} --seed {seed} --case {case}"
        if isinstance(result, Died):
            outcome.lose(f"{name}: {result.how}", again)
            continue
        counts[result.outcome] += 1
        longest = max(longest, result.seconds)
        if result.outcome == "wrong":
            outcome.lose(f"{name}: {result.why}", again)
    rate = counts.total() / (time.perf_counter() - outcome.started)
    return outcome.end(
        f"{counts.total():,} files: {counts['refused']:,} refused, {counts['used']:,} used; at most {longest:.1f} s "
        f"and {MEMORY >> 20} MiB each; {rate:.0f} a second"
    )


def show(part: str, kinds: list[Kind], root: Path, case: int, seed: int, kept: Path) -> Outcome:
    """One case again, with its traceback; the file is kept."""
    outcome = Outcome(part)
    cases = Cases(part, kinds, root, seed)
    kind, path = cases.kind(case), cases.file(case)
    kept = kept / f"case-{case}{''.join(kind.path.suffixes)}"
    kept.write_bytes(path.read_bytes())
    result = _look(kind, path, tell=True)
    if result.outcome == "wrong":
        outcome.lose(f"{kind.name}: {result.why}")
    return outcome.end(f"case {case}, a {kind.name}, kept as {kept}: {result.outcome} in {result.seconds:.2f} s")


class Cases:
    """Files by number: of which kind each is, and how it is changed."""

    def __init__(self, part: str, kinds: list[Kind], root: Path, seed: int) -> None:
        self._change = _CHANGES.get(part)
        self._kinds = [kind for kind in kinds for _ in range(kind.share)]
        self._root = root
        self._seed = seed

    def kind(self, case: int) -> Kind:
        return self._kinds[case % len(self._kinds)]

    def file(self, case: int) -> Path:
        sound = self.kind(case).path
        if self._change is None:
            return sound
        path = self._root / f"changed-{os.getpid()}{''.join(sound.suffixes)}"
        self._change(sound, path, random.Random(f"{self._seed} {case}"))
        return path

    def look(self, case: int) -> Result:
        return _look(self.kind(case), self.file(case))


def _sign_other(sound: Path, path: Path, generator: random.Random) -> None:
    arrays, header = signed.read(sound)
    header = signed.mutate(arrays, header, generator)
    signed.write(path, arrays, header)


def _damage(sound: Path, path: Path, generator: random.Random) -> None:
    path.write_bytes(damaged(sound.read_bytes(), generator))


# Files of other parts are looked at as they are.
_CHANGES: dict[str, Callable[[Path, Path, random.Random], None]] = {"signed": _sign_other, "damaged": _damage}


def _check_sound(kind: Kind, root: Path) -> None:
    """A file that is signed again with nothing changed must be read, or nothing is proved by the others."""
    path = root / f"unchanged{''.join(kind.path.suffixes)}"
    if path.suffix == ".safetensors":
        signed.write(path, *signed.read(kind.path))
    else:
        path.write_bytes(kind.path.read_bytes())
    kind.read(path)()


@contextmanager
def _limited() -> Iterator[None]:
    """What asks for more memory than `MEMORY` gets MemoryError meanwhile; what computes for too long, TooLong."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    signal.signal(signal.SIGPROF, _too_long)
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, resource.RLIM_INFINITY))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _too_long(*_: Any) -> None:
    raise TooLong(f"not done after {SECONDS} s")


def _look(kind: Kind, path: Path, tell: bool = False) -> Result:
    started = time.process_time()
    with _limited():
        result = _read_and_use(kind, path, tell)
    return result._replace(seconds=time.process_time() - started)


def _read_and_use(kind: Kind, path: Path, tell: bool) -> Result:
    try:
        use = kind.read(path)
    except AnynetError as error:
        if tell:
            print(f"refused: {type(error).__name__}: {error}")
        if cause := _out_of_memory(error):
            return _wrong("refused too late", cause, tell)
        return Result("refused", 0.0)
    except BaseException as error:
        return _wrong("read", error, tell)
    try:
        use()
    except BaseException as error:
        return _wrong("used", error, tell)
    return Result("used", 0.0)


def _out_of_memory(error: BaseException) -> MemoryError | None:
    """The MemoryError that led to an error, if one did."""
    cause = error.__context__
    while cause and not isinstance(cause, MemoryError):
        cause = cause.__context__
    return cause


def _wrong(when: str, error: BaseException, tell: bool) -> Result:
    if tell:
        traceback.print_exception(error)
    return Result("wrong", 0.0, f"{when}: {in_words(error)}")
