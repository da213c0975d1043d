"""Random bits for trace and span ids, never drawn twice after a fork."""

from __future__ import annotations

import mmap
import random
import sys
from os import getpid, urandom
from typing import Final

from spanrun.telemetry.forks import notice_fork, tell_after_fork

_WIPE_ON_FORK: Final = 18
"""Linux's MADV_WIPEONFORK, which `mmap` has no name for."""


def _wiped_on_fork() -> mmap.mmap | None:
    """A page that begins with 1, and in a forked child with 0; None: there is none.

    To look there costs a tenth of a microsecond, and to ask for the process id one.
    """
    if sys.platform != "linux":
        return None
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        page.madvise(_WIPE_ON_FORK)
    except OSError:  # a kernel before 4.14, or one that forbids it
        return None
    page[0] = 1
    return page


class _Source:
    """A generator of its own: a program that seeds `random` doesn't make ids repeat."""

    def __init__(self) -> None:
        self._random: Final = random.Random(urandom(32))  # noqa: S311 -- no secret
        self.bits: Final = self._random.getrandbits
        self.process = getpid()
        self.page = _wiped_on_fork()

    def after_fork(self) -> None:
        """Go on from another seed: with the parent's, a child draws the same ids."""
        self.process = getpid()
        if self.page is not None:
            self.page[0] = 1
        self._random.seed(urandom(32))


_source: Final = _Source()
tell_after_fork(_source)


def draw(size: int, here: _Source = _source) -> int:
    """Draw random bits; once in 2 ** 64 times they are all 0.

    In a child that nobody told of its fork, this is the first that spanrun hears of it.
    """
    page = here.page
    if here.process != getpid() if page is None else not page[0]:
        notice_fork()
        reseed()
    return here.bits(size)


def random_bits(size: int) -> int:
    """Draw ``size`` (64 or 128) random bits; never 0, and anew after a fork."""
    return draw(size) or 1


def reseed() -> None:
    """Draw from another seed from now on, as a forked child must."""
    _source.after_fork()
