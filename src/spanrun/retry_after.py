"""How long a service asks to wait, from the headers of its answer."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

_RESET: Final = re.compile(r"(?:x-)?ratelimit-reset(-.*)?")
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|us|µs|ns|h|m|s|d))+")
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s|d)")
_UNITS: Final = {
    "d": 86_400.0,
    "h": 3_600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
    "ns": 1e-9,
}
_LONGEST: Final = 60  # characters
_EPOCH: Final = 1e9
"""A number from here on is a time, in seconds since 1970; a year is 3.2e7."""
_EPOCH_MS: Final = 1e11


def retry_after(value: str | None, now: float | None = None) -> float | None:
    """Seconds from a ``Retry-After``: a number or a date (RFC 9110, 10.2.3).

    Args:
        value: Of the header. What is none of the two is nothing.
        now: Seconds since the epoch; the system's clock if not given.
    """
    if value is None:
        return None
    seconds = _number(value)
    if seconds is None:
        moment = _moment(value)
        return None if moment is None else _until(moment, now)
    return seconds


def wait_asked(
    headers: Mapping[str, str], *, limited: bool, now: float | None = None
) -> float | None:
    """Seconds that an answer with ``headers`` asks to wait.

    ``retry-after-ms`` counts before ``Retry-After``. Where neither is there, the
    resets of a rate limit do (``x-ratelimit-reset-requests: 6m0s``; also seconds, or
    a time): the last one of those of which nothing remains, else the first of all.

    Args:
        headers: With names in lower case, or of whatever case with httpx's.
        limited: The answer is a 429; others have resets too, which ask for nothing.
        now: As for `retry_after`.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1_000
    asked = retry_after(headers.get("retry-after"), now)
    if asked is not None or not limited:
        return asked
    resets: dict[bool, list[float]] = {True: [], False: []}
    for name, value in headers.items():
        lowered = name.lower()
        seconds = _reset(value, now) if _RESET.fullmatch(lowered) else None
        if seconds is not None:
            left = headers.get(lowered.replace("reset", "remaining", 1), "0")
            resets[_number(left) == 0].append(seconds)
    return max(resets[True], default=min(resets[False], default=None))


def _reset(value: str, now: float | None) -> float | None:
    """Seconds until a limit is reset: a duration, seconds, or a time."""
    text = value.strip()
    if len(text) > _LONGEST:
        return None
    number = _number(text)
    if number is not None:
        if number < _EPOCH:
            return number
        return _until(number / 1_000 if number >= _EPOCH_MS else number, now)
    if _DURATION.fullmatch(text):
        return sum(float(many) * _UNITS[unit] for many, unit in _PART.findall(text))
    moment = _moment(text)
    return None if moment is None else _until(moment, now)


def _number(text: str) -> float | None:
    """A finite number ≥ 0, if that is one."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def _moment(text: str) -> float | None:
    """Seconds since the epoch of a date of HTTP's or of ISO 8601."""
    try:
        try:
            when = parsedate_to_datetime(text)
        except ValueError:
            when = datetime.fromisoformat(text)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, OSError):
        return None


def _until(moment: float, now: float | None) -> float:
    return max(0.0, moment - (time.time() if now is None else now))
