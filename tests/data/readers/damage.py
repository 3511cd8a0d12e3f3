"""Damaged files: bytes of a whole one flipped, overwritten, cut, doubled and mixed with others."""

import random
from collections.abc import Sequence

PIECES = (b"\0", b"\xff", b"\x7f", b"\x80", b"NaN", b"-1", b"1e999", b"\xff\xfe", b"\n", b'"', b"{", b"[", b":",
          b"\0\0\0\x80", b"\xff\xff\xff\x7f")  # fmt: skip
"""What parsers stumble over."""
NOISE = 0.05
"""Share of the inputs that are nothing but random bytes."""


def damage(rng: random.Random, whole: Sequence[bytes], pieces: Sequence[bytes] = PIECES) -> bytes:
    """One of several whole files, damaged in 1 to 8 places, or noise.

    pieces: what is put in or overwritten with, beside random bytes.
    """
    if rng.random() < NOISE:
        return rng.randbytes(rng.randrange(64))
    data = bytearray(rng.choice(whole))
    for _ in range(rng.choice((1, 1, 1, 2, 2, 4, 8))):
        at = rng.randint(0, len(data))
        end = rng.randint(at, len(data)) if rng.random() < 0.3 else min(len(data), at + rng.randint(1, 16))
        kind = rng.randrange(7)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(data):
            data[at] = rng.randrange(256)
        elif kind == 2:
            data[at:at] = rng.choice(pieces) * rng.choice((1, 1, 1, 50))
        elif kind == 3:
            piece = rng.choice(pieces)
            data[at : at + len(piece)] = piece
        elif kind == 4:
            del data[at:end]
        elif kind == 5:
            data[at:at] = data[at:end]
        else:
            other = rng.choice(whole)
            data[at:at] = other[: rng.randint(0, len(other))]
    return bytes(data)
