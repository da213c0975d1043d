"""`Outcome`: what became of a request over OTLP.

What an answer means, HTTP status or gRPC code:

=================  ==========================================================
delivered          2xx, OK; with the items that a partial success rejected
retry              429, 502, 503, 504; 408, 425, 507; CANCELLED,
                   DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE,
                   DATA_LOSS; RESOURCE_EXHAUSTED with RetryInfo; no connection, no
                   answer, or one that isn't whole
split              413; RESOURCE_EXHAUSTED without RetryInfo
misconfigured      3xx; 401, 402, 403, 404, 405, 406, 407, 410, 411, 414, 415, 417,
                   421, 426, 428, 431, 451, 501, 505, 511; UNAUTHENTICATED,
                   PERMISSION_DENIED, UNIMPLEMENTED; a certificate that fails; a
                   success that is a web page
refused            all else: 400, 409, 422, 500, …; INVALID_ARGUMENT, INTERNAL, …
=================  ==========================================================

The rows *retry* and *refused* are the protocol's own, but for three: a proxy sends
408 when it saw no whole request, 425 asks for another time, and with 507 the disk of
the receiver is full. *misconfigured* is not about the data: a wrong path, a missing
token, a header that is too long, an endpoint that moved. So the data is kept, and one
request a minute asks whether that was put right. A redirect is never followed, as it
could carry the headers to a stranger, and is never a success. A status that isn't
known counts as 400 or 500 do (RFC 9110, 15).

An answer in protobuf that can't be decoded is not a whole one, also if its length is
what it says: nothing in it says that the data was taken. It comes again, then, rather
than being lost.

Sources: https://opentelemetry.io/docs/specs/otlp/ (OTLP/HTTP Response, Failures;
OTLP/gRPC Response), RFC 9110 §10.2.3 (Retry-After).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

from spanrun.retry_after import retry_after as seconds_asked
from spanrun.telemetry.export.destination import Destination

Verdict: TypeAlias = Literal["delivered", "retry", "split", "misconfigured", "refused"]

_RETRY: Final = frozenset((408, 425, 429, 502, 503, 504, 507))
_MISCONFIGURED: Final = frozenset(
    (
        *(401, 402, 403, 404, 405, 406, 407, 410, 411, 414, 415, 417, 421, 426, 428),
        *(431, 451, 501, 505, 511),
    )
)
_TOO_LARGE: Final = 413
_REDIRECT: Final = range(300, 400)
_SUCCESS: Final = range(200, 300)

_MAX_RETRY_AFTER: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request.

    Attributes:
        verdict: See the table of the module.
        code: Of the answer, or the name of the error: ``"503"``, ``"UNAVAILABLE"``,
            ``"ConnectionRefusedError"``.
        detail: What else was said, without secrets.
        rejected: Items that a partial success left out.
        after: Seconds that the server asked to wait for.
    """

    verdict: Verdict
    code: str
    detail: str = ""
    rejected: int = 0
    after: float | None = None


class Exporter(Protocol):
    """Sends requests to one `Destination`, one at a time."""

    @property
    def destination(self) -> Destination:
        """Where they go."""
        ...

    def send(self, payload: bytes) -> Outcome:
        """Deliver an encoded export request. Never raises for what can go wrong."""
        ...

    def abort(self) -> None:
        """End a `send` that runs in another thread, if there is one."""
        ...

    def close(self) -> None:
        """Close the connection; another `send` opens a new one."""
        ...

    def after_fork(self) -> None:
        """In the child: leave the connection to the parent."""
        ...


def verdict_of(status: int) -> Verdict:
    """What an HTTP status means for the data."""
    if status in _SUCCESS:
        return "delivered"
    if status in _RETRY:
        return "retry"
    if status == _TOO_LARGE:
        return "split"
    if status in _MISCONFIGURED or status in _REDIRECT:
        return "misconfigured"
    return "refused"


def retry_after(value: str | None, now: float | None = None) -> float | None:
    """As `spanrun.retry_after`, at most an hour."""
    seconds = seconds_asked(value, now)
    return None if seconds is None else capped(seconds)


def capped(seconds: float) -> float:
    """What a server may ask for: at most an hour."""
    return min(max(0.0, seconds), _MAX_RETRY_AFTER)
