"""The page's server: to whom it answers, and with what."""

import http.client
import json
import socket
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import spanrun as sr
from spanrun import recordings
from spanrun.view.server import HOST, Viewer


async def job(number: int) -> int:
    return number


async def main(jobs: int) -> None:
    async with sr.Runner("count") as runner:
        await runner.map(job, range(jobs))


def record(folder: Path, jobs: int = 3) -> None:
    sr.configure(store=str(folder), endpoint=None)
    sr.run(main(jobs))
    assert sr.shutdown()


@contextmanager
def serving(folder: Path) -> Iterator[Viewer]:
    record(folder)
    viewer = Viewer(folder)
    thread = threading.Thread(target=viewer.serve)
    thread.start()
    yield viewer
    viewer.close()
    thread.join()


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    with serving(tmp_path_factory.mktemp("store")) as viewer:
        yield viewer


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Viewer]:
    """One whose store is written to by the test."""
    with serving(tmp_path) as viewer:
        yield viewer


class Answer:
    def __init__(self, found: http.client.HTTPResponse) -> None:
        self.status = found.status
        self.headers = found.headers
        self.body = found.read()


def ask(
    viewer: Viewer,
    path: str,
    method: str = "GET",
    *,
    token: bool = True,
    **headers: str,
) -> Answer:
    cookie = {"Cookie": f"{viewer.cookie}={viewer.token}"} if token else {}
    connection = http.client.HTTPConnection(HOST, viewer.port, timeout=60)
    try:
        connection.request(method, path, headers={**cookie, **headers})
        return Answer(connection.getresponse())
    finally:
        connection.close()


def test_the_token_is_needed_once_and_is_a_cookie_then(viewer: Viewer) -> None:
    url = urlsplit(viewer.url)
    entered = ask(viewer, f"{url.path}?{url.query}", token=False)
    assert (entered.status, entered.headers["Location"]) == (303, "/")
    cookie = entered.headers["Set-Cookie"]
    assert cookie.endswith("; HttpOnly; SameSite=Strict; Path=/")
    given = cookie.partition(";")[0]
    page = ask(viewer, "/", token=False, Cookie=given)
    assert page.status == 200
    assert viewer.token.encode() not in page.body
    assert "connect-src 'self'" in page.headers["Content-Security-Policy"]
    assert page.headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize("path", ["/", "/data", "/sessions", "/changes", "/?token=x"])
@pytest.mark.parametrize("cookie", ["", "spanrun=x", "\xff", '"', "a=b; ;=,"])
def test_without_it_nothing_is_shown(viewer: Viewer, path: str, cookie: str) -> None:
    refused = ask(viewer, path, token=False, Cookie=cookie)
    assert refused.status == 403
    assert b"open the whole URL" in refused.body


@pytest.mark.parametrize("host", ["example.org", "127.0.0.1", "127.0.0.1.evil.org:80"])
def test_another_host_name_is_refused(viewer: Viewer, host: str) -> None:
    """A page of another site may make its own name lead here."""
    assert ask(viewer, "/data", Host=host).status == 403
    assert ask(viewer, f"/?token={viewer.token}", Host=host).status == 403


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"]
)
def test_it_is_read_only(viewer: Viewer, method: str) -> None:
    assert ask(viewer, "/data", method).status == 405


def test_it_listens_on_the_loopback_interface_alone(viewer: Viewer) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.2", viewer.port))  # free: nobody has all addresses
    assert viewer.url.startswith(f"http://127.0.0.1:{viewer.port}/?token=")


def test_the_data_of_a_session_or_a_run(viewer: Viewer) -> None:
    with recordings.open(viewer.store) as recording:
        session = recording.session()
        (run,) = recording.runs(session.id)
    for name in ("last", session.id, run.id):
        answer = ask(viewer, f"/data?name={name}")
        assert answer.headers["Content-Encoding"] == "deflate"
        data = json.loads(zlib.decompress(answer.body))
        assert data["session"]["id"] == session.id
        assert data["counts"]["jobs"] == 3
    unknown = ask(viewer, "/data?name=nonsense%1b%5b31m")
    assert unknown.status == 404
    assert b"\x1b" not in unknown.body
    assert ask(viewer, "/nowhere").status == 404
    assert ask(viewer, "/../../etc/passwd").status == 404


def test_the_sessions_the_newest_first(own: Viewer) -> None:
    record(own.store, jobs=2)
    first, second = json.loads(ask(own, "/sessions").body)
    assert first["started_ms"] > second["started_ms"]
    assert first["runners"] == second["runners"] == ["count"]


def events(viewer: Viewer) -> Iterator[list[str]]:
    connection = http.client.HTTPConnection(HOST, viewer.port, timeout=60)
    cookie = f"{viewer.cookie}={viewer.token}"
    connection.request("GET", "/changes", headers={"Cookie": cookie})
    answer = connection.getresponse()
    assert answer.headers["Content-Type"] == "text/event-stream"
    while line := answer.readline():
        if line.startswith(b"data: "):
            yield json.loads(line.removeprefix(b"data: "))
    connection.close()


def test_what_is_written_is_told_and_the_stream_ends_with_the_viewer(
    own: Viewer,
) -> None:
    told = events(own)
    before = next(told)
    record(own.store)
    after = next(told)
    assert after[0] != before[0]
    own.closing.set()
    assert list(told) == []


def test_a_store_that_can_t_be_read_is_said(own: Viewer) -> None:
    with recordings.open(own.store) as recording:
        path = recording.path
    path.write_bytes(b"nonsense " * 1_000)
    answer = ask(own, "/data?name=none")
    assert answer.status == 503
    assert str(path).encode() in answer.body


def test_a_browser_that_goes_away_is_no_news(
    own: Viewer, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_connection((HOST, own.port)) as rude:
        rude.sendall(b"GET / HT")
    assert ask(own, "/sessions").status == 200
    assert capfd.readouterr().err == ""
