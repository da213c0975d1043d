"""`Target`: what an HTTP exporter's requests go to, and by which way."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Target:
    """What requests go to, and how.

    Attributes:
        scheme: ``"http"`` or ``"https"``.
        host: In brackets if it is an address of IPv6.
        port: None for the scheme's own.
        path: With the query.
        tls: For a server over TLS.
        proxy: The URL of the proxy on the way, without user and password.
        proxy_tls: For a proxy over TLS.
        proxy_headers: That are for the proxy.
    """

    scheme: str
    host: str
    port: int | None
    path: str
    tls: ssl.SSLContext | None = None
    proxy: str = ""
    proxy_tls: ssl.SSLContext | None = None
    proxy_headers: Mapping[str, str] = field(default_factory=dict[str, str])
