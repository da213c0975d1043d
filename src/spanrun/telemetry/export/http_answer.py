"""`read_answer`: an HTTP/1.1 answer that is whole, or an error.

An answer counts when all of it is there: a head up to its empty line, and a body as
long as it says, with its last chunk, unpacked to its end. `http.client`, which reads
it, takes a head that ends amid a line, and a body that is too short, for answers.
Interim answers (1xx) are passed over.
"""

from __future__ import annotations

import http.client
import io
import socket
import zlib
from dataclasses import dataclass
from email.message import Message
from types import SimpleNamespace
from typing import Any, Final

from spanrun.telemetry.export.deadlines import bound, left

MAX_ANSWER: Final = 4 * 1024 * 1024
"""Bytes of a body, packed and unpacked: what gRPC takes as well."""

_INTERIM: Final = range(100, 200)
_SWITCHING: Final = 101
_GZIP: Final = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer.

    Attributes:
        status: Its code, 200 or more.
        reason: Its words.
        headers: As they came.
        body: Unpacked; cut at `MAX_ANSWER`.
        too_large: It was cut.
        keeps: Another request may go over the connection.
    """

    status: int
    reason: str
    headers: Message
    body: bytes
    too_large: bool
    keeps: bool


class Incoming(io.RawIOBase):
    """What comes from a socket, until a deadline.

    Attributes:
        began: Something has come.
        ended: The other side has said that nothing more comes.
    """

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock: Final = sock
        self._deadline: Final = deadline
        self.began = self.ended = False

    def readable(self) -> bool:
        """Say that it is for reading."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Wait for something to come, until the deadline."""
        bound(self._sock, left(self._deadline))
        size = self._sock.recv_into(buffer)
        if size:
            self.began = True
        else:
            self.ended = True
        return size


def read_answer(incoming: Incoming) -> Answer:
    """The answer to a POST.

    Raises:
        OSError: If the connection breaks, or no time is left.
        http.client.HTTPException: If what comes isn't a whole answer.
    """
    with read_head(incoming, "POST") as found:
        body, too_large = _body(found, incoming)
        keeps = not (found.will_close or too_large)
        reason, headers = found.reason, found.headers
        return Answer(found.status, reason, headers, body, too_large, keeps)


def read_head(incoming: Incoming, method: str) -> http.client.HTTPResponse:
    """The final answer up to its body.

    Raises:
        OSError: As above.
        http.client.HTTPException: As above.
    """
    buffered = io.BufferedReader(incoming)
    source: Any = SimpleNamespace(makefile={"rb": buffered}.get)
    while True:
        found = http.client.HTTPResponse(source, method=method)
        found.begin()
        if incoming.ended:  # no line was asked for behind the empty one
            raise http.client.IncompleteRead(b"")
        if found.status not in _INTERIM:
            break
        if found.status == _SWITCHING:
            raise http.client.BadStatusLine("101, which wasn't asked for")
        unowned: Any = found
        unowned.fp = None  # or it closes what the next one comes from
    _check_framing(found)
    return found


def _check_framing(answer: http.client.HTTPResponse) -> None:
    """Refuse what leaves open where the answer ends: see RFC 9112, 6.3."""
    coding = answer.headers.get("transfer-encoding")
    if coding is not None:
        if not answer.chunked:
            raise http.client.UnknownTransferEncoding(str(coding))
        return
    sizes = {str(size).strip() for size in answer.headers.get_all("content-length", ())}
    size = next(iter(sizes), "0")
    if len(sizes) > 1 or not size.isdecimal() or (sizes and answer.length is None):
        raise http.client.HTTPException("a content-length that isn't one")


def _body(answer: http.client.HTTPResponse, incoming: Incoming) -> tuple[bytes, bool]:
    """The body unpacked, and whether it had to be cut."""
    parts: list[bytes] = []
    size = 0
    while size < MAX_ANSWER and (part := answer.read1(MAX_ANSWER - size)):
        parts.append(part)
        size += len(part)
    body = b"".join(parts)
    if size >= MAX_ANSWER:
        return body, True
    if answer.chunked and incoming.ended:
        raise http.client.IncompleteRead(body)  # within its last line
    if not answer.chunked and answer.length:
        raise http.client.IncompleteRead(body, answer.length)
    return _unpacked(answer, body)


def _unpacked(answer: http.client.HTTPResponse, body: bytes) -> tuple[bytes, bool]:
    coding = str(answer.headers.get("content-encoding", "identity")).strip().lower()
    if not body or coding in ("", "identity"):
        return body, False
    if coding not in ("gzip", "x-gzip"):
        raise http.client.HTTPException(f"a body in {coding}, which wasn't asked for")
    unpacker = zlib.decompressobj(_GZIP)
    try:
        plain = unpacker.decompress(body, MAX_ANSWER)
    except zlib.error as error:
        raise http.client.HTTPException(f"a body that isn't gzip: {error}") from error
    if unpacker.unconsumed_tail:
        return plain, True
    if not unpacker.eof:
        raise http.client.IncompleteRead(plain)
    return plain, False
