"""Numbers as a person reads them: three digits, in the unit that suits them."""

from __future__ import annotations

import math


def seconds(value: float) -> str:
    """Seconds: ``0``, ``842 µs``, ``12.3 ms`` or ``1.31 s``."""
    if not value:
        return "0"
    unit, scale = next(
        (each for each in (("s", 1), ("ms", 1e3)) if value * each[1] >= 1), ("µs", 1e6)
    )
    digits = max(0, 2 - int(math.log10(max(value * scale, 1))))
    return f"{value * scale:.{digits}f} {unit}"


def share(value: float) -> str:
    """A part of a whole, from 0 to 1: ``73 %``, ``<1 %`` or ``>99 %``."""
    percent = round(value * 100)
    if value > 0 and not percent:
        return "<1 %"
    if value < 1 and percent == 100:  # noqa: PLR2004 -- all of it
        return ">99 %"
    return f"{percent} %"
