"""Trace and span ids for OpenTelemetry: random, and never drawn twice after a fork."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from opentelemetry.sdk.trace.id_generator import IdGenerator

from spanrun.telemetry.span import random_bits

_SPAN: Final = 64


class RandomIds(IdGenerator):
    """Draws ids by `random_bits`.

    A program that seeds `random` for itself doesn't make its ids repeat, and a forked
    child doesn't draw its parent's next ids.
    """

    def generate_span_id(self) -> int:
        """A span id: 64 random bits, never 0."""
        return random_bits(64)

    def generate_trace_id(self) -> int:
        """A trace id: 128 random bits, never 0."""
        return random_bits(128)

    def is_trace_id_random(self) -> bool:
        """True: the flag ``random`` of W3C Trace Context, level 2, may be set."""
        return True


def bits_of(
    ids: IdGenerator, failed: Callable[[Exception], object]
) -> Callable[[int], int]:
    """Return a function that draws by ``ids`` as `random_bits` does, and never raises.

    Where ``ids`` raises or gives no integer, `random_bits` draws, and ``failed`` is
    told.
    """

    def bits(size: int) -> int:
        try:
            drawn = ids.generate_span_id() if size == _SPAN else ids.generate_trace_id()
            return drawn & ((1 << size) - 1)
        except Exception as error:  # noqa: BLE001 -- a generator breaks no program
            failed(error)
            return random_bits(size)

    return bits
