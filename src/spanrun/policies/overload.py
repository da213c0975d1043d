"""Which errors say that a service is down, or has more to do than it can."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final, TypeAlias, cast

from spanrun.checks import function, wrong
from spanrun.errors import ServiceError

On: TypeAlias = (
    type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool]
)
"""Which errors a policy is about: types, or a predicate."""

STATUSES: Final = frozenset({429, 502, 503, 504, *range(520, 525), 529})
"""Too many requests, unavailable or overloaded; and a gateway's words for that."""

_LOST: Final = {
    "httpx": ("TimeoutException", "NetworkError", "RemoteProtocolError"),
    "aiohttp": ("ClientConnectionError", "ClientPayloadError"),
    "requests": ("ConnectionError", "Timeout"),
}
"""What clients raise where no answer came, or not all of one."""


def overloaded(error: Exception) -> bool:
    """Whether ``error`` says that the service is down or overloaded.

    It is a timeout, a lost connection, or an answer with a status of `STATUSES`
    (looked for in ``status``, ``status_code`` and ``response.status_code``, so
    that the errors of all the usual clients are understood). What a job's own
    code got wrong is not, nor is a `ServiceError` that is final.

    Example:
        >>> overloaded(TimeoutError()), overloaded(ValueError("no vector"))
        (True, False)
    """
    if isinstance(error, ServiceError):
        if error.final:
            return False
        if error.status is None:  # no answer came: the cause says why
            cause = error.__cause__
            return cause is not None and _is_lost(cause)
    return status_of(error) in STATUSES or _is_lost(error)


def _is_lost(error: BaseException) -> bool:
    if isinstance(error, TimeoutError | ConnectionError):
        return True
    # They are no built-in ones. A library is imported if one of its was raised.
    for library, names in _LOST.items():
        found: Any = sys.modules.get(library)
        kinds = (getattr(found, name, None) for name in names)
        if any(kind is not None and isinstance(error, kind) for kind in kinds):
            return True
    return False


def status_of(error: BaseException) -> int | None:
    """The HTTP status that ``error`` carries, as the usual clients' errors do."""
    for holder in (error, getattr(error, "response", None)):
        for name in ("status", "status_code"):
            status = getattr(holder, name, None)
            if isinstance(status, int):
                return status
    return None


def check_on(where: str, on: object, name: str = "on") -> None:
    """Refuse an ``on`` that isn't an `On`.

    Raises:
        ConfigurationError: With where it stands, its name and its value in the text.
    """
    kinds = cast("tuple[object, ...]", on) if isinstance(on, tuple) else (on,)
    for kind in kinds:
        if isinstance(kind, type):
            if not issubclass(kind, Exception):
                raise wrong(
                    where,
                    name,
                    kind,  # pyright: ignore[reportUnknownArgumentType]
                    "must be an Exception type; cancellation and exit belong to the "
                    "program",
                )
        elif isinstance(on, tuple) or not callable(kind):
            raise wrong(
                where,
                name,
                on,  # pyright: ignore[reportUnknownArgumentType]
                "must be exception types, such as (ConnectionError, TimeoutError), or "
                "a predicate",
            )
        else:
            function(where, name, kind, plain=True)


def matches(on: On, error: Exception) -> bool:
    """Whether ``error`` is one that ``on`` names."""
    if isinstance(on, type | tuple):
        return isinstance(error, on)
    return on(error)
