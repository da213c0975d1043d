"""What an HTTP answer says: its body within bounds, and the reason of a refusal."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any, Final, cast

import httpx

from spanrun.clients._body import BadCodingError, BodyTooLargeError, read_body
from spanrun.clients._json import at, of_error, text_at
from spanrun.clients._parse import parsed
from spanrun.errors import ServiceError
from spanrun.retry_after import wait_asked
from spanrun.text import Confidential, excerpt

_HEAD: Final = 300
_LOOKED_AT: Final = 64 * _HEAD  # half a secret at its end is far from what is shown
_LIMITED: Final = 429
_QUOTA: Final = frozenset(
    {
        *("insufficient_quota", "credit_balance_exhausted"),  # OpenAI, Azure, Qwen
        *("billing_hard_limit_reached", "billing_not_active"),  # OpenAI
        "exceeded_current_quota_error",  # Moonshot: the account is empty
        *("insufficient_user_quota", "budget_exceeded"),  # gateways
    }
)
"""Codes and types of a 429 by which waiting doesn't help. Texts don't tell: Gemini and
Azure write of a quota where a minute's rate is meant."""


class Answers:
    """Reads the answers of one server, and makes errors of the bad ones.

    Args:
        error: The class of the errors.
        max_bytes: Of a body, unpacked.
        confidential: Texts with words that a server may repeat and an error may not.

    Attributes:
        confidential: What hides these.
    """

    def __init__(
        self,
        error: type[ServiceError],
        max_bytes: int,
        confidential: Iterable[str],
    ) -> None:
        self._error: Final = error
        self._max_bytes: Final = max_bytes
        self.confidential: Final = Confidential(confidential)

    async def read(self, response: httpx.Response, where: str) -> bytes:
        """The whole body of what ``where`` answered, unpacked.

        Raises:
            ServiceError: It is too large, or can't be unpacked. One that is too large
                when it is unpacked is `final`: fewer texts would not make it smaller.
        """
        coding = response.headers.get("Content-Encoding", "")
        # httpx would unpack each part whole, whatever its size becomes.
        parts = cast("AsyncIterable[bytes]", response.stream)
        if response.is_closed:  # a hook of the user's client has read it
            parts, coding = _once(response.content), ""
        try:
            return await read_body(parts, coding, self._max_bytes)
        except BodyTooLargeError:
            raise self._error(
                f"the answer of {where} is larger than {self._max_bytes} bytes: "
                "ask for less at once",
                final=bool(coding),  # a plain one has as many on the wire
            ) from None
        except BadCodingError as why:
            raise self._error(
                f"the answer of {where} can't be decompressed: {why}",
                status=response.status_code,
            ) from None

    async def decoded(self, response: httpx.Response, text: bytes, where: str) -> Any:
        """The JSON in ``text``, the body of what ``where`` answered.

        Raises:
            ServiceError: The status isn't 2xx, or that is no JSON.
        """
        if not response.is_success:
            raise self._refused(response, text, where)
        try:
            return await parsed(text, self._max_bytes)
        except (ValueError, RecursionError) as why:
            head = self._head(text)
            raise self._error(
                f"the answer of {where} is no JSON: {why}: {head}",
                status=response.status_code,
                body=head,
            ) from None

    def _refused(
        self, response: httpx.Response, text: bytes, where: str
    ) -> ServiceError:
        status = response.status_code
        body = of_error(text)
        head = self._head(_reason(body, text))
        reason = self._head(response.reason_phrase.encode())
        what = f"{where} answered {status} {reason}".rstrip()
        if location := response.headers.get("Location"):
            what += f": moved to {self._head(location.encode())}, which isn't followed"
        elif head:
            what += f": {head}"
        return self._error(
            what,
            status=status,
            retry_after=wait_asked(response.headers, limited=status == _LIMITED),
            body=head,
            final=status == _LIMITED and _is_quota(body),
        )

    def unanswered(self, error: httpx.RequestError, where: str) -> ServiceError:
        """That no answer came from ``where``, or not all of it."""
        unreached = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
        what = "can't be reached" if unreached else "gave no whole answer"
        why = self._head((str(error) or type(error).__name__).encode())
        return self._error(f"{where} {what}: {why}")

    def _head(self, text: bytes) -> str:
        """How the answer begins, inert and without what was sent in confidence."""
        head = text[:_LOOKED_AT].decode("utf-8", "replace")
        return excerpt(self.confidential.hide(head), _HEAD)


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


def _reason(body: Any, text: bytes) -> bytes:
    """What an error's body says, where it says it in one of the usual ways."""
    found = body
    for key in ("error", "message", "detail", "msg", "trace"):
        found = at(found, key, found)
    return found.encode("utf-8", "replace") if isinstance(found, str) else text


def _is_quota(body: Any) -> bool:
    """Whether it says that what was paid for is used up."""
    fields = at(body, "error", body)
    return any(text_at(fields, key) in _QUOTA for key in ("code", "type"))
