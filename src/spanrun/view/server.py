"""`Viewer`: the page and the recordings of one store, on the loopback interface."""

from __future__ import annotations

import hmac
import json
import secrets
import select
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs, urlsplit

from spanrun.errors import StoreError
from spanrun.slo import Slo
from spanrun.telemetry.recordings.read import LAST, Recording
from spanrun.text import inert, redact
from spanrun.view.comparison import comparison_of
from spanrun.view.feed import mark_of
from spanrun.view.http_server import Request, Server
from spanrun.view.live import PAUSE, Feeds
from spanrun.view.page import served

HOST: Final = "127.0.0.1"
_ALIVE: Final = 15.0
"""Seconds of silence after which a stream says that it is alive."""
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


_RESET: Final = "event: reset\ndata: {}\n\n"
Asked: TypeAlias = Mapping[str, str]
"""The query of a URL."""


class Viewer:
    """Serves the page of recordings, read-only, to whoever has its URL.

    The token in the URL is needed once; then the browser has it as a cookie. A
    request under another host name than this one's is refused, so that no page of
    another site reaches it by a name that leads here.

    Args:
        store: The folder or the file of the recordings.
        port: Where to listen; 0 for one that is free.
        slos: Objectives that each session is judged by.

    Raises:
        OSError: The port is taken, or isn't ours to take.
    """

    def __init__(self, store: Path, port: int = 0, slos: Sequence[Slo] = ()) -> None:
        self.store: Final = store
        self.token: Final = secrets.token_urlsafe(24)
        self.closing: Final = threading.Event()
        self._server: Final = Server(HOST, port, partial(_Request, self))
        self.port: Final = self._server.port
        self.hosts: Final = (f"{HOST}:{self.port}", f"localhost:{self.port}")
        self.cookie: Final = f"spanrun-{self.port}"
        self.feeds: Final = Feeds(store, slos=slos)

    @property
    def url(self) -> str:
        """Where the page is, with its token."""
        return f"http://{HOST}:{self.port}/?token={self.token}"

    def serve(self) -> None:
        """Answer requests until `close`, which another thread or a signal calls."""
        self._server.serve_forever(poll_interval=PAUSE)

    def close(self) -> None:
        """Stop listening, and end the streams that are open."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def may(self, given: str) -> bool:
        """Whether ``given`` is the token."""
        return hmac.compare_digest(given.encode(), self.token.encode())


class _Request(Request):
    def __init__(self, viewer: Viewer, *given: Any) -> None:
        self._viewer: Final = viewer
        super().__init__(*given)

    def do_HEAD(self) -> None:  # noqa: N802 -- its name
        """Nothing but GET is answered: there is nothing to change here."""
        self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "only GET is answered here")

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_HEAD  # noqa: N815 -- its names

    def do_GET(self) -> None:  # noqa: N802 -- its name
        """Answer with the page, its data, or what changes."""
        try:
            self._answer()
        except LookupError as error:
            self._refuse(HTTPStatus.NOT_FOUND, str(error.args[0]))
        except StoreError as error:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, str(error))

    def _answer(self) -> None:
        url = urlsplit(self.path)
        asked = {name: values[-1] for name, values in parse_qs(url.query).items()}
        if self.headers.get("Host", "") not in self._viewer.hosts:
            self._refuse(HTTPStatus.FORBIDDEN, "this host name isn't known here")
        elif url.path == "/" and self._viewer.may(asked.get("token", "")):
            self._enter()
        elif not self._viewer.may(self._cookie()):
            why = "open the whole URL that spanrun view has printed"
            self._refuse(HTTPStatus.FORBIDDEN, why)
        elif url.path not in ANSWERS:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")
        else:
            ANSWERS[url.path](self, asked)

    def page(self, _: Asked) -> None:
        """The page itself, without data."""
        text, policy = served()
        headers = {"Content-Security-Policy": policy}
        self._send("text/html; charset=utf-8", text.encode(), headers)

    def data(self, asked: Asked) -> None:
        """The data of a session or a run."""
        body = self._viewer.feeds.data(asked.get("name", LAST))
        self._send("application/json", body, {"Content-Encoding": "deflate"})

    def compare(self, asked: Asked) -> None:
        """What changed from one session or run to another: ``A/B``."""
        a, _, b = asked.get("name", "").partition("/")
        with Recording(self._viewer.store) as recording:
            told = comparison_of(recording, a, b)
        self._send("application/json", json.dumps(told).encode(), {})

    def sessions(self, _: Asked) -> None:
        """All sessions, the newest first."""
        with Recording(self._viewer.store) as recording:
            runners: dict[str, list[str]] = {}
            for run in recording.runs():
                names = runners.setdefault(run.session, [])
                if run.runner not in names:
                    names.append(run.runner)
            told = [
                {
                    "id": each.id,
                    "command": redact(each.command),
                    "started_ms": each.started_ns / 1e6,
                    "written_ms": each.written_ns / 1e6,
                    "runners": runners.get(each.id, []),
                }
                for each in recording.sessions()
            ]
        self._send("application/json", json.dumps(told).encode(), {})

    def changes(self, asked: Asked) -> None:
        """A server-sent event each time that something was written of it.

        Each has what is new since the one before, whose id a browser gives when it
        comes again; the first, what is new since the data that it has. ``reset`` says
        that all is to be asked for anew, ``fault`` that nothing can be read now. The
        stream ends when the browser or the viewer goes.
        """
        name = asked.get("name", LAST)
        self._head(HTTPStatus.OK, {"Content-Type": "text/event-stream"}, close=True)
        at = self.headers.get("Last-Event-ID") or asked.get("since", "")
        said, silent = "", 0.0
        while not self._viewer.closing.is_set() and not self._is_gone():
            event, at = self._news(name, at)
            if event and event != said:
                self._say(event)
                silent = 0.0
            elif silent >= _ALIVE:
                self._say(": alive\n\n")
                silent = 0.0
            said = event
            if event == _RESET:
                return
            silent += PAUSE
            self._viewer.closing.wait(PAUSE)

    def _news(self, name: str, at: str) -> tuple[str, str]:
        """The next event, if there is one, and its id."""
        try:
            new = self._viewer.feeds.since(name, mark_of(at))
        except (LookupError, StoreError) as error:
            return f"event: fault\ndata: {json.dumps(str(error.args[0]))}\n\n", at
        if new is None:
            return _RESET, at
        if not new:
            return "", at
        told = json.dumps(new, separators=(",", ":"), allow_nan=False)
        return f"id: {new['at']}\ndata: {told}\n\n", new["at"]

    def _is_gone(self) -> bool:
        """Whether the browser has closed its end; it says nothing else any more."""
        ready, _, _ = select.select([self.connection], [], [], 0)
        return bool(ready) and not self.connection.recv(1, socket.MSG_PEEK)

    def _say(self, text: str) -> None:
        self.wfile.write(text.encode())
        self.wfile.flush()

    def _enter(self) -> None:
        value = f"{self._viewer.cookie}={self._viewer.token}"
        cookie = f"{value}; HttpOnly; SameSite=Strict; Path=/"
        headers = {"Location": "/", "Set-Cookie": cookie, "Content-Length": "0"}
        self._head(HTTPStatus.SEE_OTHER, headers)

    def _cookie(self) -> str:
        with suppress(CookieError):
            found = SimpleCookie(self.headers.get("Cookie", ""))
            if self._viewer.cookie in found:
                return found[self._viewer.cookie].value
        return ""

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        kind = {"Content-Type": "text/plain; charset=utf-8"}
        body = f"{inert(why)}\n".encode()
        self._head(status, {**kind, "Content-Length": str(len(body))}, close=True)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send(self, kind: str, body: bytes, headers: dict[str, str]) -> None:
        length = {"Content-Type": kind, "Content-Length": str(len(body))}
        self._head(HTTPStatus.OK, {**length, **headers})
        self.wfile.write(body)

    def _head(
        self, status: HTTPStatus, headers: dict[str, str], *, close: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, **headers}.items():
            self.send_header(name, value)
        if close:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()


ANSWERS: Final[dict[str, Callable[[_Request, Asked], None]]] = {
    "/": _Request.page,
    "/compare": _Request.compare,
    "/data": _Request.data,
    "/sessions": _Request.sessions,
    "/changes": _Request.changes,
}
