"""`limits_of`: OpenTelemetry's limits on what a log record holds.

The SDK has them in ``opentelemetry.sdk._logs``, which runs the detectors of resources
when it is imported: what one of them raises would break `configure`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from spanrun.errors import ConfigurationError

_COUNT: Final = "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT"
_LENGTH: Final = "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT"
_EACH_COUNT: Final = "OTEL_ATTRIBUTE_COUNT_LIMIT"
_EACH_LENGTH: Final = "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"
_MOST: Final = 128


def limits_of(environ: Mapping[str, str]) -> tuple[int | None, int | None]:
    """How many attributes a record has, and how long a text of one is; None: any.

    Raises:
        ConfigurationError: A variable is no number.
    """
    count = _limit(environ, _EACH_COUNT, _MOST)
    most = _limit(environ, _COUNT, _MOST if count is None else count)
    return most, _limit(environ, _LENGTH, _limit(environ, _EACH_LENGTH, None))


def _limit(
    environ: Mapping[str, str], variable: str, default: int | None
) -> int | None:
    value = environ.get(variable)
    if value is None:
        return default
    told = value.strip().lower()
    if not told:
        return None
    try:
        number = int(told)
    except ValueError:
        number = -1
    if number < 0:
        raise ConfigurationError(
            f"{variable} must be a non-negative integer but got {told}: correct the "
            "variable, or unset it"
        )
    return number
