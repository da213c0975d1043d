"""Just enough HTTP/1.1 for a server that misbehaves on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Literal, TypeAlias

Delivery: TypeAlias = Literal["whole", "drip", "hang", "reset", "truncate"]

MAX_BODY = 16 * 2**20


class BadRequestError(Exception):
    """What came isn't HTTP that is understood here. The connection ends."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """A request; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    keep_alive: bool


@dataclass(slots=True)
class Answer:
    """A response, and what happens to it on its way."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    content_type: str = "application/json"
    delivery: Delivery = "whole"

    def head(self, *, keep_alive: bool) -> bytes:
        """The status line and the header, with the length of the whole body."""
        lines = [
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}",
            f"content-type: {self.content_type}",
            f"content-length: {len(self.body)}",
            f"connection: {'keep-alive' if keep_alive else 'close'}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        return "\r\n".join((*lines, "", "")).encode("latin-1")


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The connection's next request, or None at its end.

    Raises:
        BadRequestError: It can't be understood.
        OSError: The connection broke.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial.strip():
            raise BadRequestError(400, "the request ends in its header") from None
        return None
    except asyncio.LimitOverrunError:
        raise BadRequestError(431, "the header is too large") from None
    first, *lines = head.decode("latin-1").lstrip("\r\n").split("\r\n")
    try:
        method, target, version = first.split(" ")
        pairs = (line.split(":", 1) for line in lines if line)
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
        length = int(headers.get("content-length", "0"))
    except ValueError:
        raise BadRequestError(400, "that is not HTTP") from None
    if not version.startswith("HTTP/1.") or length < 0:
        raise BadRequestError(400, "that is not HTTP/1.1")
    if "transfer-encoding" in headers:
        raise BadRequestError(411, "a Content-Length is needed")
    if length > MAX_BODY:
        raise BadRequestError(413, f"the body is larger than {MAX_BODY} bytes")
    try:
        body = await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        raise BadRequestError(400, "the request ends in its body") from None
    connection = headers.get("connection", "").lower()
    keep_alive = connection != "close" and (
        version != "HTTP/1.0" or connection == "keep-alive"
    )
    return Request(method, target.partition("?")[0], headers, body, keep_alive)
