"""Random bits for trace and span ids, never drawn twice after a fork."""

from __future__ import annotations

import random
from os import getpid, urandom
from typing import Final

from spanrun.telemetry.forks import notice_fork, tell_after_fork


class _Source:
    """A generator of its own: a program that seeds `random` doesn't make ids repeat."""

    def __init__(self) -> None:
        self._random: Final = random.Random(urandom(32))  # noqa: S311 -- no secret
        self.bits: Final = self._random.getrandbits
        self.process = getpid()

    def after_fork(self) -> None:
        """Go on from another seed: with the parent's, a child draws the same ids."""
        self.process = getpid()
        self._random.seed(urandom(32))


_source: Final = _Source()
tell_after_fork(_source)


def draw(size: int, here: _Source = _source) -> int:
    """Draw random bits; once in 2 ** 64 times they are all 0.

    In a child that nobody told of its fork, this is the first that spanrun hears of it.
    """
    if here.process != getpid():
        notice_fork()
        reseed()
    return here.bits(size)


def random_bits(size: int) -> int:
    """Draw ``size`` (64 or 128) random bits; never 0, and anew after a fork."""
    return draw(size) or 1


def reseed() -> None:
    """Draw from another seed from now on, as a forked child must."""
    _source.after_fork()
