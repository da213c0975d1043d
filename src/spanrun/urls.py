"""What a URL of the user's must be, how an error shows it, and what is loopback.

And how a user and password from one are sent.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from base64 import b64encode
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

_HOST: Final = re.compile(r"[A-Za-z0-9_.-]+")
_MAX_HOST: Final = 253
_BEFORE_HOST: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:/+)?(.*@)?", re.DOTALL)


def shown(url: str) -> str:
    """``url`` for an error message: without user, password, query and fragment.

    It may be one that can't be read as a URL, so all before the last ``@`` goes.
    """
    scheme = _BEFORE_HOST.match(url)
    assert scheme is not None  # noqa: S101 -- both parts of the pattern may be empty
    rest = re.split("[?#]", url[scheme.end() :], maxsplit=1)[0]
    return f"{scheme[1] or ''}{rest}"


def basic_auth(user: str, password: str) -> str:
    """The value of an ``Authorization`` header: RFC 7617, in UTF-8."""
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


def fault_of(url: str) -> str | None:
    """Say what is wrong with an ``http`` or ``https`` URL; None if nothing is."""
    for character in url:
        if character.isspace() or not character.isprintable():
            return f"has {character!r} in it, which must be percent-encoded"
    if "#" in url:
        return "has '#' in it, which must be percent-encoded (%23)"
    try:
        parts = urlsplit(url)
    except ValueError:
        return "can't be read as a URL"
    if fault := _host_fault(parts):
        return fault
    if not (parts.path + parts.query).isascii():
        return "has a path that isn't ASCII, and must be percent-encoded"
    return None


def _host_fault(parts: SplitResult) -> str | None:
    try:
        host = ascii_host(parts)
    except UnicodeError:
        return "the name of its host can't be looked up: a label is empty or too long"
    if parts.scheme not in ("http", "https") or not host:
        return "isn't a URL of http or https, with a host"
    if not _has_good_port(parts):
        return "its port isn't a number from 1 to 65535"
    if ":" not in host and not (_HOST.fullmatch(host) and len(host) <= _MAX_HOST):
        return f"{host[:80]!r} can't be the name of a host"
    return None


def _has_good_port(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False


def ascii_host(parts: SplitResult) -> str:
    """The host as it is looked up: IDNA for what isn't ASCII; empty for none.

    Raises:
        UnicodeError: If a label is empty or over 63 characters, or IDNA hasn't it.
    """
    host = parts.hostname or ""
    return host if ":" in host else host.encode("idna").decode("ascii")


def login_of(parts: SplitResult) -> str | None:
    """`basic_auth` by the user and password in a URL, if it has them."""
    if parts.username is None:
        return None
    return basic_auth(unquote(parts.username), unquote(parts.password or ""))


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine: 127.0.0.0/8, ::1, localhost, *.localhost."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        found = ipaddress.ip_address(name)
    except ValueError:
        return _is_short_loopback(name)
    mapped = getattr(found, "ipv4_mapped", None) or found
    return bool(mapped.is_loopback or mapped.is_unspecified)


def _is_short_loopback(name: str) -> bool:
    """Whether it is one such as ``127.1``, which the system reads as an address."""
    if not re.fullmatch("[0-9a-fx.]+", name):
        return False
    try:
        return socket.inet_aton(name)[0] == 127  # noqa: PLR2004 -- 127.0.0.0/8
    except OSError:
        return False
