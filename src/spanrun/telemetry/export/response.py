"""`Response`: a whole answer over HTTP, with a body that is bounded and unpacked."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

MAX_BODY: Final = 4 * 1024 * 1024
"""Bytes of a body, packed and unpacked: what gRPC takes as well."""

_GZIP: Final = 16 + zlib.MAX_WBITS


class InvalidResponse(Exception):  # noqa: N818 -- it says what came
    """What came isn't a whole answer."""


class ProxyRefusal(Exception):  # noqa: N818 -- it says whose answer it is
    """A proxy doesn't connect us.

    Attributes:
        status: What it answered.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer.

    Attributes:
        status: Its code, 200 or more.
        reason: Its words.
        headers: With names in lower case.
        body: Unpacked; cut at `MAX_BODY`.
        too_large: It was cut.
    """

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes
    too_large: bool

    @property
    def is_success(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300  # noqa: PLR2004 -- any success

    @property
    def media_type(self) -> str:
        """Of the body, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


def read_body(parts: Iterable[bytes], coding: str) -> tuple[bytes, bool]:
    """The body in ``parts``, unpacked, and whether it had to be cut.

    Args:
        parts: As they come. No more of them are read than `MAX_BODY`.
        coding: The header ``Content-Encoding``.

    Raises:
        InvalidResponse: If it can't be unpacked to its end.
    """
    read: list[bytes] = []
    size = 0
    for part in parts:
        read.append(part)
        size += len(part)
        if size >= MAX_BODY:
            return b"".join(read)[:MAX_BODY], True
    body, coding = b"".join(read), coding.strip().lower()
    if not body or coding in ("", "identity"):
        return body, False
    if coding not in ("gzip", "x-gzip"):
        raise InvalidResponse(f"a body in {coding}, which wasn't asked for")
    unpacker = zlib.decompressobj(_GZIP)
    try:
        plain = unpacker.decompress(body, MAX_BODY)
    except zlib.error as error:
        raise InvalidResponse(f"a body that isn't gzip: {error}") from error
    if unpacker.unconsumed_tail:
        return plain, True
    if not unpacker.eof:
        raise InvalidResponse("a body whose end is missing")
    return plain, False
