"""The body of an HTTP answer: its content codings undone, and never beyond a bound.

A kilobyte may unpack to gigabytes. So each step of the decompression is bounded in
what it takes and in what it gives, and the event loop has its turn between the steps.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from typing import Any, Final

ACCEPTED: Final = "gzip, deflate"
"""What to ask for in ``Accept-Encoding``: zlib alone can stop at a size."""

_GZIP: Final = frozenset({"gzip", "x-gzip"})
_MOST_CODINGS: Final = 3
_TAKEN: Final = 4 * 1024
"""Bytes that a step takes: as blocks of deflate that give nothing, 0.7 ms."""
_GIVEN: Final = 64 * 1024
"""Bytes that a step gives at most."""
_STEP: Final = 16 * 1024
"""Bytes that a step counts as, if it gives fewer."""
_TURN: Final = 128 * 1024
"""Bytes after which the event loop has its turn: 0.5 ms, 6 at the worst."""


class BodyTooLargeError(Exception):
    """A body is larger than it may be, packed or unpacked."""


class BadCodingError(Exception):
    """A body can't be decompressed. ``str()`` says why, in one line."""


async def read_body(parts: AsyncIterable[bytes], codings: str, max_bytes: int) -> bytes:
    """The whole body that comes in ``parts``. See `Body`."""
    if codings:
        return b"".join([part async for part in unpacked(parts, codings, max_bytes)])
    body: list[bytes] = []
    size = work = 0
    async for part in parts:
        size += len(part)
        if size > max_bytes:
            raise BodyTooLargeError
        body.append(part)
        work += max(len(part), _STEP)
        if work >= _TURN:
            work = 0
            await asyncio.sleep(0)
    return b"".join(body)


async def unpacked(
    parts: AsyncIterable[bytes], codings: str, max_bytes: int
) -> AsyncIterator[bytes]:
    """The body that comes in ``parts``, as it comes. See `Body`."""
    body = Body(codings, max_bytes)
    work = 0
    async for part in parts:
        for given in body.add(part):
            work += max(given, _STEP)
            if work >= _TURN:
                work = 0
                await asyncio.sleep(0)
        yield body.taken()
    yield body.end()


class Body:
    """A body that grows by the parts which are added to it.

    Args:
        codings: The ``Content-Encoding``; empty for none.
        max_bytes: Of the body, unpacked.

    Raises:
        BadCodingError: There is a coding that wasn't asked for, or too many.
    """

    def __init__(self, codings: str, max_bytes: int) -> None:
        self._max_bytes: Final = max_bytes
        self._content: Final = bytearray()
        self._size = 0
        named = [coding.strip().lower() for coding in codings.split(",")]
        applied = [coding for coding in named if coding not in ("", "identity")]
        if len(applied) > _MOST_CODINGS:
            raise BadCodingError(f"it is packed {len(applied)} times")
        # The last one was applied last: it is undone first.
        self._codings: Final = [_Coding(name, max_bytes) for name in reversed(applied)]

    def add(self, part: bytes) -> Iterator[int]:
        """Add a part, step by step: gives how many bytes each step has added.

        Raises:
            BodyTooLargeError: There are more than ``max_bytes`` now.
            BadCodingError: It can't be decompressed.
        """
        for piece in self._decoded(part, 0):
            self._size += len(piece)
            if self._size > self._max_bytes:
                raise BodyTooLargeError
            self._content.extend(piece)
            yield len(piece)

    def taken(self) -> bytes:
        """What was added and not taken yet."""
        content = bytes(self._content)
        self._content.clear()
        return content

    def end(self) -> bytes:
        """What wasn't taken yet, when all parts were added.

        Raises:
            BadCodingError: It broke off.
        """
        for coding in self._codings:
            coding.end()
        return self.taken()

    def _decoded(self, data: bytes, done: int) -> Iterator[bytes]:
        if done == len(self._codings):
            yield data
            return
        for piece in self._codings[done].decode(data):
            yield from self._decoded(piece, done + 1)


class _Coding:
    """Undoes one content coding."""

    def __init__(self, name: str, max_bytes: int) -> None:
        if name not in _GZIP and name != "deflate":
            raise BadCodingError(f"it is packed as {name[:40]!r}, not as {ACCEPTED}")
        self._name: Final = name
        # What can't be made smaller grows a little. And there are packed bodies of
        # any size that unpack to nothing.
        self._left = max_bytes + max_bytes // 64 + 1024
        self._inflating: Any = None  # a zlib.decompressobj
        self._over = False

    def decode(self, data: bytes) -> Iterator[bytes]:
        """What ``data`` unpacks to, in pieces, one for each step; some are empty."""
        self._left -= len(data)
        if self._left < 0:
            raise BodyTooLargeError
        if not data:
            yield data
        for at in range(0, len(data), _TAKEN):
            yield from self._inflated(data[at : at + _TAKEN])

    def end(self) -> None:
        """Nothing more comes."""
        if self._inflating is not None:
            raise BadCodingError("it breaks off in the middle")

    def _inflated(self, data: bytes) -> Iterator[bytes]:
        more = False
        while data or more:
            if self._inflating is None:
                self._inflating = self._begin(data)
            inflating = self._inflating
            try:
                piece = inflating.decompress(data, _GIVEN)
            except zlib.error as why:
                raise BadCodingError(str(why)) from None
            data = inflating.unconsumed_tail
            more = len(piece) == _GIVEN  # it may hold some back
            if inflating.eof:
                data, more = inflating.unused_data, False
                self._inflating, self._over = None, True
            yield piece

    def _begin(self, data: bytes) -> Any:
        if self._name in _GZIP:  # which may have several members
            return zlib.decompressobj(zlib.MAX_WBITS | 16)
        if self._over:
            raise BadCodingError("there is more behind its end")
        # RFC 9110 means zlib's format by "deflate"; some servers leave its head out.
        headed = data[0] & 0x0F == zlib.DEFLATED
        return zlib.decompressobj(zlib.MAX_WBITS if headed else -zlib.MAX_WBITS)
