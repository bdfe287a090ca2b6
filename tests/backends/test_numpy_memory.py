"""The workspace of a step lends no byte twice, and puts together again what it has cut."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from anynet.backends.numpy.memory import LARGE, Memory

pytestmark = pytest.mark.host


def span(room: np.ndarray) -> tuple[int, int]:
    return room.ctypes.data, room.ctypes.data + len(room)


def test_no_two_hold_the_same_memory() -> None:
    generator, memory = np.random.default_rng(0), Memory()
    lent: list[np.ndarray] = []
    for _ in range(500):
        if lent and generator.random() < 0.5:
            memory.give_back(lent.pop(generator.integers(len(lent))))
        size = int(generator.integers(0, 20_000))
        lent.append(memory.take(size))
        assert len(lent[-1]) >= size
    spans = sorted(map(span, lent))
    assert all(stop <= start for (_, stop), (start, _) in pairwise(spans))


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2)])
def test_what_lies_side_by_side_is_one_again_when_it_is_free(order: tuple[int, ...]) -> None:
    memory = Memory()
    rooms = [memory.take(LARGE // 4) for _ in range(4)]
    for i in order:
        memory.give_back(rooms[i])
    assert span(memory.take(LARGE)) == (span(rooms[0])[0], span(rooms[3])[1])
