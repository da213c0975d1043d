"""Trace and span ids: random, cheap, and never drawn twice after a fork."""

from __future__ import annotations

import os
import random
import weakref
from collections.abc import Callable
from typing import Final, Protocol

from opentelemetry.sdk.trace.id_generator import IdGenerator

from spanrun.telemetry.log import Log

_SPAN: Final = 64

_log: Final = Log(__name__)


class Forked(Protocol):
    """Has something to put right in a child process."""

    def after_fork(self) -> None:
        """Called in the child, before anything else runs there."""
        ...


_watched: Final[weakref.WeakSet[Forked]] = weakref.WeakSet()
_hooked: Final[list[bool]] = []


def tell_after_fork(watched: Forked) -> None:
    """Call ``watched.after_fork`` in each forked child, as long as it lives.

    The interpreter never forgets what it is to call after a fork. So it is told
    once, of a function that knows who is still alive.
    """
    _watched.add(watched)
    if not _hooked and hasattr(os, "register_at_fork"):
        _hooked.append(True)
        os.register_at_fork(after_in_child=_after_fork)


def _after_fork() -> None:
    for watched in tuple(_watched):
        try:
            watched.after_fork()
        except Exception as error:  # noqa: BLE001 -- the others have theirs to do
            _log.error("%s is not right after a fork", watched, error=error)


class RandomIds(IdGenerator):
    """Draws ids from a generator of its own, seeded by the operating system.

    A program that seeds `random` for itself doesn't make its ids repeat, and a
    forked child starts from a new seed: with the state of its parent it would
    draw the parent's next ids.

    Attributes:
        bits: Draws so many random bits, as an integer.
    """

    def __init__(self) -> None:
        self._random: Final = random.Random(os.urandom(32))  # noqa: S311 -- no secret
        self.bits: Final = self._random.getrandbits
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

    def after_fork(self) -> None:
        """Go on from another random state."""
        self._random.seed(os.urandom(32))


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
