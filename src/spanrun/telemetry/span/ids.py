"""Random bits for trace and span ids, never drawn twice after a fork."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Final

from spanrun.telemetry.forks import tell_after_fork


class _Source:
    """A generator of its own: a program that seeds `random` doesn't make ids repeat."""

    def __init__(self) -> None:
        self._random: Final = random.Random(os.urandom(32))  # noqa: S311 -- no secret
        self.draw: Final = self._random.getrandbits

    def after_fork(self) -> None:
        """Go on from another seed: with the parent's, a child draws the same ids."""
        self._random.seed(os.urandom(32))


_source: Final = _Source()
tell_after_fork(_source)


draw: Final[Callable[[int], int]] = _source.draw
"""Draws random bits; once in 2 ** 64 times they are all 0."""


def random_bits(size: int) -> int:
    """Draw ``size`` (64 or 128) random bits; never 0, and anew after a fork."""
    return draw(size) or 1


def reseed() -> None:
    """Draw from another seed from now on, as a forked child must."""
    _source.after_fork()
