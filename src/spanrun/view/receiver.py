"""`Receiver`: takes OTLP over HTTP from programs of any language, and keeps it.

Whoever reaches the port may send: there is no token, as SDKs have none. A browser's
page may not, whatever its site is.
"""

from __future__ import annotations

import json
import socket
import threading
import zlib
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from google.protobuf import json_format  # type: ignore[import-untyped]  # no stubs
from google.protobuf.message import Message  # type: ignore[import-untyped]

from spanrun.telemetry.otlp_json import message_of
from spanrun.telemetry.recordings.otlp_store import OtlpStore
from spanrun.telemetry.span.wire import text as text_field
from spanrun.text import inert
from spanrun.view.http_server import Request, Server
from spanrun.view.intake import AT_ONCE, KINDS, MAX_BODY, Intake, decoded

_GZIP: Final = 31
_PROTOBUF: Final = "application/x-protobuf"
_JSON: Final = "application/json"
_LENGTH: Final = 16  # digits of a chunk's length
_LINES: Final = 64  # trailers behind the chunks


class Receiver(Intake):
    """Listens for OTLP over HTTP: protobuf and JSON, plain and compressed by gzip.

    Args:
        store: Where all of it goes.
        host: The address to listen at.
        port: Where to listen; 0 for one that is free.

    Raises:
        OSError: The port is taken, or the address isn't ours.
    """

    def __init__(self, store: OtlpStore, host: str, port: int) -> None:
        super().__init__(store)
        self.room: Final = threading.BoundedSemaphore(AT_ONCE)
        self._server: Final = Server(host, port, partial(_Request, self))
        self.host: Final = host
        self.port: Final = self._server.port

    @property
    def url(self) -> str:
        """What to set as ``OTEL_EXPORTER_OTLP_ENDPOINT``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def start(self) -> None:
        """Answer requests, in a thread of its own, until `close`."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


class _Refused(Exception):  # noqa: N818 -- a request is
    """A request that isn't taken.

    Args:
        status: Of the answer.
        why: A sentence for whoever sent it.
    """

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status: Final = status


class _Request(Request):
    def __init__(self, receiver: Receiver, *given: Any) -> None:
        self._receiver: Final = receiver
        self._is_json = False
        super().__init__(*given)

    def do_POST(self) -> None:  # noqa: N802 -- its name
        """Take a request, and say so in its own form."""
        self._is_json = False
        try:
            with self._receiver.room:
                answer = self._receiver.take(self._read())
        except _Refused as refused:
            self._refuse(refused.status, str(refused))
        else:
            self._answer(answer)

    def do_GET(self) -> None:  # noqa: N802 -- its name
        """Nothing but POST is answered."""
        self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "OTLP is sent by POST")

    do_HEAD = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_GET  # noqa: N815 -- its names

    def _read(self) -> Any:
        """The request that was sent.

        Raises:
            _Refused: It is none.
        """
        if self.headers.get("Origin"):
            why = "a page in a browser may not send telemetry here"
            raise _Refused(HTTPStatus.FORBIDDEN, why)
        kind = KINDS.get(self.path.partition("?")[0])
        if kind is None:
            raise _Refused(HTTPStatus.NOT_FOUND, f"send to {', '.join(KINDS)}")
        content = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        self._is_json = content == _JSON
        if content not in (_PROTOBUF, _JSON):
            why = f"Content-Type is neither {_PROTOBUF} nor {_JSON}"
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, why)
        body = self._unpacked(self._body())
        try:
            if self._is_json:
                return message_of(kind, json.loads(body))
            return decoded(kind, body)
        except (TypeError, ValueError, RecursionError) as error:
            why = f"the body is no {kind.DESCRIPTOR.name}: {error}"
            raise _Refused(HTTPStatus.BAD_REQUEST, why) from error

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self._chunks()
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            why = "there is no Content-Length"
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, why)
        if len(length) > _LENGTH or int(length) > MAX_BODY:
            raise _too_large()
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise _Refused(HTTPStatus.BAD_REQUEST, "the body is cut off")
        return body

    def _chunks(self) -> bytes:
        body = bytearray()
        while True:
            digits = self.rfile.readline(_LENGTH + 256).partition(b";")[0].strip()
            try:
                size = int(digits, 16)
            except ValueError as error:
                why = "a chunk has no length"
                raise _Refused(HTTPStatus.BAD_REQUEST, why) from error
            if size == 0:
                break
            if size < 0 or len(body) + size > MAX_BODY:
                raise _too_large()
            piece = self.rfile.read(size)
            if len(piece) < size or self.rfile.readline(3).strip():
                raise _Refused(HTTPStatus.BAD_REQUEST, "a chunk is cut off")
            body += piece
        for _ in range(_LINES):
            if not self.rfile.readline(1024).strip():
                break
        return bytes(body)

    def _unpacked(self, body: bytes) -> bytes:
        coding = self.headers.get("Content-Encoding", "identity").strip().lower()
        if coding in ("identity", ""):
            return body
        if coding not in ("gzip", "x-gzip"):
            why = "Content-Encoding is neither gzip nor identity"
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, why)
        unpacker = zlib.decompressobj(_GZIP)
        try:
            plain = unpacker.decompress(body, MAX_BODY + 1)
        except zlib.error as error:
            why = f"the body isn't gzip: {error}"
            raise _Refused(HTTPStatus.BAD_REQUEST, why) from error
        if len(plain) > MAX_BODY:
            raise _too_large()
        if not unpacker.eof:
            raise _Refused(HTTPStatus.BAD_REQUEST, "the body is cut off")
        return plain

    def _answer(self, answer: Message) -> None:
        if self._is_json:
            body = json.dumps(json_format.MessageToDict(answer)).encode()
        else:
            body = answer.SerializeToString()
        self._send(HTTPStatus.OK, body)

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        """Say why, as a ``google.rpc.Status``. What was sent may not be read."""
        self.close_connection = True
        message = inert(why)[:1000]
        if self._is_json:
            body = json.dumps({"message": message}).encode()
        else:
            body = text_field(b"\x12", message)
        self._send(status, body)

    def _send(self, status: HTTPStatus, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", _JSON if self._is_json else _PROTOBUF)
        self.send_header("Content-Length", str(len(body)))
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "POST")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        if self.close_connection:
            self._drain()

    def _drain(self) -> None:
        """Read a little of what was sent, or its sender may not see the answer."""
        with suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(1)
            for _ in range(64):
                if not self.connection.recv(65536):
                    return


def _too_large() -> _Refused:
    why = f"the body has more than {MAX_BODY >> 20} MiB"
    return _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, why)
