"""`proxy_for`: the proxy on the way to a URL, by ``HTTP_PROXY`` and its like."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies_environment

from spanrun.errors import ConfigurationError
from spanrun.urls import ascii_host, fault_of, is_loopback, shown

_EXCEPT: Final = ("no_grpc", "no")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, and who named it.

    Attributes:
        url: With the user and password in it.
        origin: The variable.
    """

    url: str = field(repr=False)
    origin: str

    @property
    def parts(self) -> SplitResult:
        """The parts of the URL."""
        return urlsplit(self.url)

    def __str__(self) -> str:
        return f"the proxy {shown(self.url)} ({self.origin})"


def proxy_for(
    url: str,
    *,
    kinds: Sequence[str] = (),
    schemes: Sequence[str] = ("http", "https"),
    found: Mapping[str, str] | None = None,
) -> Proxy | None:
    """The proxy on the way to ``url``; None where there is to be none.

    This machine is never called through one, and no host that ``NO_PROXY`` has: by
    its name, a domain above it, or a network such as ``10.0.0.0/8``.

    Args:
        url: An ``http`` or ``https`` URL.
        kinds: Of proxies, the first that is set counts; else that of the URL's
            scheme, then ``all``.
        schemes: Of proxies that can be used.
        found: The proxies by their kind; else those of the environment.

    Raises:
        ConfigurationError: If the proxy can't be used, with the variable.
    """
    parts = urlsplit(url)
    proxies = getproxies_environment() if found is None else found
    kinds = kinds or (parts.scheme, "all")
    kind = next((kind for kind in kinds if proxies.get(kind)), None)
    if kind is None or _is_direct(parts, proxies, kinds):
        return None
    value = proxies[kind].strip()
    proxy = Proxy(value if "://" in value else f"http://{value}", _variable(kind))
    scheme = proxy.url.partition("://")[0].lower()
    if scheme not in schemes:
        fault = f"a proxy of {scheme}:// can't be used here"
    else:
        # What is wrong with a URL of SOCKS is what would be with one of HTTP.
        fault = fault_of(f"http://{proxy.url.partition('://')[2]}") or ""
    if fault:
        host = ascii_host(parts)
        raise ConfigurationError(
            f"{proxy.origin}={shown(value)!r}: {fault}; name an HTTP proxy, as in "
            f"http://host:3128, or leave it out for this host: NO_PROXY={host}"
        )
    return proxy


def _is_direct(
    parts: SplitResult, proxies: Mapping[str, str], kinds: Sequence[str]
) -> bool:
    host = ascii_host(parts).lower()
    if is_loopback(host):
        return True
    names = _EXCEPT if "grpc" in kinds else _EXCEPT[1:]
    listed = next((proxies[name] for name in names if proxies.get(name)), "")
    entries = [entry.strip().lower() for entry in listed.split(",")]
    return any(_matches(entry, host, parts.port) for entry in entries if entry)


def _matches(entry: str, host: str, port: int | None) -> bool:
    """Whether an entry of ``NO_PROXY`` is about ``host``."""
    if "/" in entry or entry.count(":") > 1:
        try:
            network = ipaddress.ip_network(entry.strip("[]"), strict=False)
            return ipaddress.ip_address(host) in network
        except ValueError:
            return False
    name, _, number = entry.removeprefix("*").lstrip(".").partition(":")
    if number and number != str(port):
        return False
    return not name or host == name or host.endswith(f".{name}")


def _variable(kind: str) -> str:
    """The variable that names the proxy: in small letters it comes first."""
    small = f"{kind}_proxy"
    for name in (small, small.upper()):
        if os.environ.get(name):
            return name
    return f"the system's {kind} proxy"
