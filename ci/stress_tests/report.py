"""What an attack came to, and the table of all of them."""

from __future__ import annotations

import re
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import anynet

_PACKAGE = Path(anynet.__file__).parent
MOST_SHOWN = 60
T = TypeVar("T")


@dataclass
class Outcome:
    """One attack: what was done, and what went wrong, each with how often and how to see it again.

    Parameters
    ----------
    part : str
    done : str
    """

    part: str
    done: str = ""
    lost: Counter[str] = field(default_factory=Counter)
    again: dict[str, str] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)
    seconds: float = 0.0

    def lose(self, what: str, again: str = "", times: int = 1) -> None:
        """Count something that went wrong."""
        self.lost[what] += times
        self.again.setdefault(what, again)

    def end(self, done: str) -> Outcome:
        self.done, self.seconds = done, time.perf_counter() - self.started
        return self


def in_words(error: BaseException) -> str:
    """What was raised and where in anynet, in words that are the same for the same defect."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(_PACKAGE)]
    where = f" at {Path(frames[-1].filename).relative_to(_PACKAGE)}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}: {without_numbers(str(error.args[0] if error.args else error))}"


def without_numbers(text: str) -> str:
    """A line without the numbers, names and paths that are others each time."""
    text = re.sub(r"'[^']*'", "'...'", re.sub(r"/[^\s:]*/", "", text))
    return re.sub(r"\d[\d.]*(e[+-]\d+)?", "#", " ".join(text.split()))[:100]


def show_lost(outcome: Outcome) -> None:
    """Say on stderr what went wrong, most frequent first."""
    for what, times in outcome.lost.most_common(MOST_SHOWN):
        hint = f"\n      again: ci/stress {outcome.again[what]}" if outcome.again[what] else ""
        print(f"{outcome.part}: {times} x {what}{hint}", file=sys.stderr)
    if len(outcome.lost) > MOST_SHOWN:
        print(f"{outcome.part}: and {len(outcome.lost) - MOST_SHOWN} other kinds", file=sys.stderr)


def table(outcomes: list[Outcome]) -> str:
    """One line for each attack."""
    rows = [("part", "lost", "seconds", "what was done")]
    rows += [(o.part, f"{o.lost.total():,}", f"{o.seconds:.0f}", o.done) for o in outcomes]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for part, lost, seconds, done in rows:
        lines.append(f"{part:{widths[0]}}  {lost:>{widths[1]}}  {seconds:>{widths[2]}}  {done}")
    return "\n".join(lines)


def followed(items: Iterable[T], total: int, part: str, seconds: float) -> Iterator[T]:
    """The same items until time is up, with a progress bar on a terminal."""
    from tqdm import tqdm

    ends = time.monotonic() + seconds
    bar: Any = tqdm(items, total=total, desc=part, leave=False, disable=not sys.stderr.isatty())
    for item in bar:
        yield item
        if time.monotonic() > ends:
            break
    bar.close()
