"""`suppressed`: OpenTelemetry's instrumentations leave our own I/O alone.

The export of spans would make spans of its own otherwise, which are exported in turn,
without end.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from opentelemetry.context import (
    _SUPPRESS_HTTP_INSTRUMENTATION_KEY,  # pyright: ignore[reportPrivateUsage] -- they
    _SUPPRESS_INSTRUMENTATION_KEY,  # pyright: ignore[reportPrivateUsage] -- have no others
    Context,
    attach,
    detach,
    get_current,
)

_SUPPRESSED: Final = Context(
    {
        _SUPPRESS_INSTRUMENTATION_KEY: True,
        _SUPPRESS_HTTP_INSTRUMENTATION_KEY: True,
        "suppress_instrumentation": True,  # what older instrumentations look for
    }
)


@contextmanager
def suppressed() -> Generator[None]:
    """Run what is inside without a current span, and untraced by other libraries.

    The context is a new one: a thread that lives in it keeps nobody's span alive.
    """
    token = attach(_SUPPRESSED)
    try:
        yield
    finally:
        detach(token)


def is_suppressed() -> bool:
    """Whether this code is part of sending telemetry, ours or another library's."""
    return get_current().get(_SUPPRESS_INSTRUMENTATION_KEY) is True
