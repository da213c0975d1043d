"""Keep what clients send in confidence out of the logs of the libraries they use.

At DEBUG hpack logs each header, httpcore the headers of answers and aiosolr parameters
and headers; at INFO httpx logs the URL of each request, with its query. h11 and h2 log
none.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar, Token
from typing import Final

from spanrun.text import Confidential, excerpt

_DROPPED: Final = ("aiosolr", "hpack.hpack", "hpack.table", "httpx")
_HTTPCORE: Final = tuple(
    f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")
)
_current: Final[ContextVar[Confidential | None]] = ContextVar(
    "spanrun_confidential", default=None
)


class Discreet:
    """A block in which such records are without secrets.

    hpack's are dropped there, as they have all headers once more in compressed form,
    and httpx's and aiosolr's lines for each request, as there is a span for it.
    Records that the application's own requests make are left alone.

    Args:
        confidential: Hides what is sent.
    """

    __slots__ = ("_confidential", "_token")

    def __init__(self, confidential: Confidential) -> None:
        self._confidential: Final = confidential
        self._token: Token[Confidential | None] | None = None

    def __enter__(self) -> None:
        self._token = _current.set(self._confidential)

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _current.reset(self._token)


def filter_logs() -> None:
    """Have the libraries' loggers heed `Discreet`. A second call does nothing."""
    for name in (*_DROPPED, *_HTTPCORE):
        logging.getLogger(name).addFilter(_filtered)


def _filtered(record: logging.LogRecord) -> bool:
    confidential = _current.get()
    if confidential is None:
        return True
    if record.name in _DROPPED:
        return False
    record.msg = excerpt(confidential.hide(record.getMessage()), 0)
    record.args = ()
    return True
