"""What an HTTP answer says: its body within bounds, and the reason of a refusal."""

from __future__ import annotations

import datetime
import email.utils
import json
from collections.abc import AsyncIterable, Iterable
from typing import Any, Final, cast

import httpx

from spanrun.clients._body import BadCodingError, BodyTooLargeError, read_body
from spanrun.clients._parse import parsed
from spanrun.errors import ServiceError
from spanrun.text import Confidential, excerpt

_HEAD: Final = 300
_LOOKED_AT: Final = 64 * _HEAD  # half a secret at its end is far from what is shown
_REASON: Final = 64 * 1024  # bytes: a longer page says it nowhere


def retry_after(value: str | None) -> float | None:
    """Seconds from a ``Retry-After`` header: a number or a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = email.utils.parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        if when.tzinfo is None:
            when = when.replace(tzinfo=datetime.UTC)
        seconds = (when - datetime.datetime.now(datetime.UTC)).total_seconds()
    return max(0.0, seconds) if seconds < float("inf") else None


class Answers:
    """Reads the answers of one server, and makes errors of the bad ones.

    Args:
        where: The server's name in the errors.
        error: The class of the errors.
        max_bytes: Of a body, unpacked.
        confidential: Texts with words that a server may repeat and an error may not.

    Attributes:
        confidential: What hides these.
    """

    def __init__(
        self,
        where: str,
        error: type[ServiceError],
        max_bytes: int,
        confidential: Iterable[str],
    ) -> None:
        self._where: Final = where
        self._error: Final = error
        self._max_bytes: Final = max_bytes
        self.confidential: Final = Confidential(confidential)

    async def read(self, response: httpx.Response) -> bytes:
        """The whole body, unpacked.

        Raises:
            ServiceError: It is too large, or can't be unpacked. One that is too large
                when it is unpacked is `final`: fewer texts would not make it smaller.
        """
        coding = response.headers.get("Content-Encoding", "")
        # httpx would unpack each part whole, whatever its size becomes.
        parts = cast("AsyncIterable[bytes]", response.stream)
        try:
            return await read_body(parts, coding, self._max_bytes)
        except BodyTooLargeError:
            raise self._error(
                f"the answer of {self._where} is larger than {self._max_bytes} bytes",
                final=bool(coding),  # a plain one has as many on the wire
            ) from None
        except BadCodingError as why:
            raise self._error(
                f"the answer of {self._where} can't be decompressed: {why}",
                status=response.status_code,
            ) from None

    async def decoded(self, response: httpx.Response, text: bytes) -> Any:
        """The JSON in ``text``, the body of ``response``.

        Raises:
            ServiceError: The status isn't 2xx, or that is no JSON.
        """
        if not response.is_success:
            raise self._refused(response, text)
        try:
            return await parsed(text, self._max_bytes)
        except (ValueError, RecursionError) as why:
            head = self._head(text)
            raise self._error(
                f"the answer of {self._where} is no JSON: {why}: {head}",
                status=response.status_code,
                body=head,
            ) from None

    def _refused(self, response: httpx.Response, text: bytes) -> ServiceError:
        status, head = response.status_code, self._head(_reason(text))
        reason = self._head(response.reason_phrase.encode())
        what = f"{self._where} answered {status} {reason}".rstrip()
        if location := response.headers.get("Location"):
            what += f": moved to {self._head(location.encode())}, which isn't followed"
        elif head:
            what += f": {head}"
        return self._error(
            what,
            status=status,
            retry_after=retry_after(response.headers.get("Retry-After")),
            body=head,
        )

    def _head(self, text: bytes) -> str:
        """How the answer begins, inert and without what was sent in confidence."""
        head = text[:_LOOKED_AT].decode("utf-8", "replace")
        return excerpt(self.confidential.hide(head), _HEAD)


def _reason(text: bytes) -> bytes:
    """What an error's body says, where it says it in one of the usual ways."""
    if len(text) > _REASON:
        return text
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for key in ("error", "message", "detail"):
        fields = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
        found = fields.get(key, found)
    return found.encode("utf-8", "replace") if isinstance(found, str) else text
