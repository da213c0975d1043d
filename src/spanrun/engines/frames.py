"""Messages on a stream of bytes: eight bytes that tell the length, then the message."""

from __future__ import annotations

import struct
from typing import BinaryIO, Final, Protocol

HEAD: Final = struct.Struct(">Q")


class _Sends(Protocol):
    def sendall(self, data: bytes, /) -> object: ...


def write_frame(link: _Sends, message: bytes) -> None:
    """Write ``message``; waits while the reader is behind."""
    link.sendall(HEAD.pack(len(message)))
    if message:
        link.sendall(message)


def read_frame(stream: BinaryIO) -> bytes | None:
    """Read a message; None at the end, also in the middle of one."""
    try:
        head = stream.read(HEAD.size)
        if len(head) < HEAD.size:
            return None
        (size,) = HEAD.unpack(head)
        message = stream.read(size)
    except OSError:
        return None
    return message if len(message) == size else None
