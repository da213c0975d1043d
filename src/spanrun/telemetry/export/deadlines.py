"""Calls of a socket that end by a deadline."""

from __future__ import annotations

import socket
import ssl
import struct
import sys
import time
from typing import Final

_TIMEOUTS: Final[tuple[int, ...]] = (
    () if sys.platform == "win32" else (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO)
)


def bound(sock: socket.socket, seconds: float) -> None:
    """Let no call to the system take longer.

    By the system's own timeouts, where they can be had: with Python's a socket takes
    a large request in many small calls, and beside a busy event loop each of them
    waits 5 ms for the interpreter's lock.
    """
    if isinstance(sock, ssl.SSLSocket) or not _TIMEOUTS:
        sock.settimeout(seconds)
        return
    if sock.gettimeout() is not None:
        sock.settimeout(None)
    microseconds = max(1, int(seconds * 1e6))
    timeout = struct.pack("@ll", *divmod(microseconds, 1_000_000))
    for option in _TIMEOUTS:
        sock.setsockopt(socket.SOL_SOCKET, option, timeout)


def left(deadline: float) -> float:
    """Seconds until ``deadline``.

    Raises:
        TimeoutError: When there are none.
    """
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("timed out")
    return seconds
