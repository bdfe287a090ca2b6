"""Files whose bytes are damaged, and files that claim more than they should."""

from __future__ import annotations

import random


def damaged(data: bytes, generator: random.Random) -> bytes:
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
