"""What the page's server and the receiver of OTLP have in common: HTTP/1.1, quietly."""

from __future__ import annotations

import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final


class Server(ThreadingHTTPServer):
    """Answers each connection in a thread of its own, over IPv4 or IPv6.

    Args:
        host: The address to listen at.
        port: Where to listen; 0 for one that is free.
        request: Makes a `Request` of a connection.

    Raises:
        OSError: The port is taken, or the address isn't ours.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, request: Any) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), request)
        self.port: Final[int] = self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever goes away in the middle of a request or an answer is no news."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class Request(BaseHTTPRequestHandler):
    """One connection, and the requests on it."""

    protocol_version = "HTTP/1.1"
    server_version = "spanrun"
    sys_version = ""
    timeout = 60  # seconds that a connection may say nothing

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- its name
        """Nothing: requests of programs on this machine come every few seconds."""
