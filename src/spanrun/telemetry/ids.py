"""Trace and span ids: random, cheap, and never drawn twice after a fork."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from opentelemetry.sdk.trace.id_generator import IdGenerator

from spanrun.speed import RandomBits
from spanrun.telemetry.forks import notice_fork, tell_after_fork

_SPAN: Final = 64


class RandomIds(IdGenerator):
    """Draws ids from a generator of its own, seeded by the operating system.

    A program that seeds `random` for itself doesn't make its ids repeat, and a
    forked child starts from a new seed: with the state of its parent it would
    draw the parent's next ids.

    Attributes:
        bits: Draws 64 or 128 random bits, as an integer.
    """

    def __init__(self) -> None:
        source = RandomBits(_seed)
        self.bits: Final = source.draw
        self.after_fork: Final = source.renew
        tell_after_fork(self)

    def generate_span_id(self) -> int:
        """A span id: 64 random bits, never 0."""
        return self.bits(64) or 1

    def generate_trace_id(self) -> int:
        """A trace id: 128 random bits, never 0."""
        return self.bits(128) or 1

    def is_trace_id_random(self) -> bool:
        """True: the flag ``random`` of W3C Trace Context, level 2, may be set."""
        return True


def _seed() -> bytes:
    """In a child that nobody told of its fork, this is the first that it hears of."""
    notice_fork()
    return os.urandom(32)


def bits_of(
    ids: IdGenerator, failed: Callable[[Exception], object]
) -> Callable[[int], int]:
    """What draws a span id for 64 and a trace id for 128, with as few calls as can be.

    One of ours in 2 ** 64 is 0, which is no id: write ``bits(64) or 1``. Where
    another's generator raises, ``failed`` is told, and ours draws.
    """
    if type(ids) is RandomIds:
        return ids.bits
    ours = RandomIds()

    def bits(size: int) -> int:
        try:
            drawn = ids.generate_span_id() if size == _SPAN else ids.generate_trace_id()
            return drawn & ((1 << size) - 1)
        except Exception as error:  # noqa: BLE001 -- a generator breaks no program
            failed(error)
            return ours.bits(size)

    return bits
