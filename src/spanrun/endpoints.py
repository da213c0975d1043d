"""Where OTLP goes: what an endpoint must be, and what URL is made of it.

An endpoint is a *base*, to which ``/v1/traces`` or ``/v1/metrics`` is added; a
signal's own (``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``) is *whole*, taken as it stands.
Over gRPC it is a URL without a path, ``host:port``, or a target of gRPC's own.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from spanrun.urls import fault_of

SIGNAL_PATH: Final = re.compile(r"/v1/(traces|metrics|logs|profiles)/*$")
_PREFIX: Final = "OTEL_EXPORTER_OTLP_"
_TARGETS: Final = ("dns", "ipv4", "ipv6", "unix", "unix-abstract", "vsock", "xds")


def is_grpc_target(endpoint: str) -> bool:
    """Whether it is a name for gRPC's own resolvers, as ``dns:///host:4317``."""
    return endpoint.partition(":")[0].lower() in _TARGETS and ":" in endpoint


def url_of(endpoint: str, signal: str, *, whole: bool) -> str:
    """The URL that ``signal`` is posted to over HTTP."""
    if whole:
        return endpoint
    parts = urlsplit(endpoint)
    return parts._replace(path=f"{parts.path.rstrip('/')}/v1/{signal}").geturl()


def endpoint_fault(
    endpoint: str, signal: str, *, protocol: str, whole: bool
) -> str | None:
    """Say what is wrong with ``endpoint``, and what to write; None if nothing is."""
    if protocol == "grpc":
        return _grpc_fault(endpoint)
    if not endpoint.lower().startswith(("http://", "https://")):
        return "must begin with http:// or https://, as in http://host:4318"
    if fault := fault_of(endpoint):
        return f"{fault}: must be like http://host:4318"
    path = urlsplit(endpoint).path
    found = SIGNAL_PATH.search(path)
    if not found or (whole and found[1] == signal):
        return None
    if whole:
        return f"is where {found[1]} go, not {signal}: the path is /v1/{signal}"
    named = f"{_PREFIX}{found[1].upper()}_ENDPOINT"
    return (
        f"is a base, to which /v1/{signal} is added: end it before {found[0]}, or "
        f"give the whole URL of one signal in {named}"
    )


def _grpc_fault(endpoint: str) -> str | None:
    if is_grpc_target(endpoint):
        if any(each.isspace() or not each.isprintable() for each in endpoint):
            return "has a space or a control character in it: take it out"
        scheme, _, rest = endpoint.partition(":")
        if scheme.lower() != "dns":
            return None
        endpoint = rest.rpartition("/")[2]  # dns://server/host:port
    url = endpoint if "://" in endpoint else f"http://{endpoint}"
    if fault := fault_of(url):
        return f"{fault}: must be like http://host:4317"
    parts = urlsplit(url)
    if parts.path.strip("/") or parts.query:
        return (
            "gRPC takes no path: write host and port alone, as in "
            "http://localhost:4317, or set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
        )
    return None
