"""The page's server: to whom it answers, and with what."""

import http.client
import json
import socket
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.waiting import until

import spanrun as sr
from spanrun import recordings
from spanrun.telemetry import setup
from spanrun.telemetry.recordings.read import Recording
from spanrun.view import live, server
from spanrun.view.data import data_of
from spanrun.view.feed import mark_of
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


class Stream:
    """The changes of a recording, as a browser hears of them."""

    def __init__(self, viewer: Viewer, since: str, name: str = "last") -> None:
        self._connection = http.client.HTTPConnection(HOST, viewer.port, timeout=60)
        cookie = f"{viewer.cookie}={viewer.token}"
        path, headers = f"/changes?name={name}", {"Cookie": cookie}
        if since.startswith("id:"):
            headers["Last-Event-ID"] = since.removeprefix("id:")
        else:
            path += f"&since={since}"
        self._connection.request("GET", path, headers=headers)
        self._answer = self._connection.getresponse()
        assert self._answer.headers["Content-Type"] == "text/event-stream"

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """The kind of each event, and its data."""
        kind = ""
        while line := self._answer.readline().decode():
            name, _, value = line.strip().partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                yield kind, json.loads(value)
                kind = ""

    def close(self) -> None:
        self._answer.close()
        self._connection.close()


def whole(viewer: Viewer, name: str = "last") -> Any:
    return json.loads(zlib.decompress(ask(viewer, f"/data?name={name}").body))


class Program:
    """Records, as often as it is told to, in one session."""

    def __init__(self, folder: Path) -> None:
        sr.configure(store=str(folder), endpoint=None)

    def run(self, jobs: int) -> None:
        sr.run(main(jobs))
        telemetry = setup.telemetry()
        assert telemetry is not None
        assert telemetry.flush(60)


@pytest.fixture
def program(own: Viewer) -> Iterator[Program]:
    yield Program(own.store)
    assert sr.shutdown()


def test_what_is_new_is_told_and_nothing_twice(own: Viewer, program: Program) -> None:
    program.run(3)
    before = whole(own)
    told = iter(Stream(own, before["at"]))
    program.run(2)
    joined = before
    while len(joined["jobs"]["run"]) < 5 or len(joined["spans"]["name"]) < 7:
        kind, delta = next(told)
        assert kind == ""
        assert len(delta["jobs"]["run"]) <= 2
        joined = join(joined, delta)
    assert joined["counts"]["jobs"] == 5
    assert rows(joined) == rows(afresh(own))


def afresh(viewer: Viewer) -> Any:
    with recordings.open(viewer.store) as recording:
        return data_of(recording)


def join(data: Any, delta: Any) -> Any:
    """As the page does it."""
    out = {**data, "texts": data["texts"] + delta["texts"], "counts": delta["counts"]}
    for table in ("jobs", "spans", "events"):
        columns = data[table].items()
        out[table] = {name: old + delta[table][name] for name, old in columns}
    out["runs"] = data["runs"] + [None] * 9
    for place, run in delta["runs"]:
        out["runs"][place] = run
    out["runs"] = [run for run in out["runs"] if run]
    fixes = delta["fixes"]
    columns = fixes["column"], fixes["row"], fixes["value"]
    for column, row, value in zip(*columns, strict=True):
        table, name = (("spans", "parent"), ("spans", "job"), ("events", "job"))[column]
        out[table][name][row] = value
    return out


def rows(data: Any) -> list[Any]:
    """What a page says of each job and span, whatever their order is."""
    texts, jobs, spans = data["texts"], data["jobs"], data["spans"]
    found: list[Any] = []
    for row, run in enumerate(jobs["run"]):
        key = data["runs"][run]["id"], jobs["index"][row], texts[jobs["trace"][row]]
        found.append((*key, jobs["start"][row], jobs["duration"][row]))
    for row, trace in enumerate(spans["trace"]):
        job, parent = spans["job"][row], spans["parent"][row]
        of = -1 if job < 0 else jobs["duration"][job]
        name = texts[spans["name"][row]]
        above = -1 if parent < 0 else spans["start"][parent]
        found.append((texts[trace], name, spans["start"][row], of, above))
    return sorted(found, key=repr)


def test_a_browser_that_comes_again_goes_on_where_it_was(
    own: Viewer, program: Program
) -> None:
    program.run(3)
    first = Stream(own, whole(own)["at"])
    program.run(2)
    for _, delta in first:
        if delta["counts"]["jobs"] == 5:
            break
    first.close()
    program.run(4)
    again = iter(Stream(own, f"id:{delta['at']}"))
    jobs = 0
    while jobs < 4:
        kind, delta = next(again)
        assert kind == ""
        jobs += len(delta["jobs"]["run"])
    assert jobs == 4


@pytest.mark.parametrize(
    "since", ["", "nonsense", "id:x-1-2-3-4-5-6", "a-b-c-d-e-f-g", "deadbeef-9", "²-²"]
)
def test_who_has_what_is_not_known_is_told_to_ask_anew(own: Viewer, since: str) -> None:
    if since.isascii():
        assert list(Stream(own, since)) == [("reset", {})]
    assert mark_of(since.removeprefix("id:")) != mark_of(whole(own)["at"])


def test_another_session_begins_anew(own: Viewer) -> None:
    told = Stream(own, whole(own)["at"])
    record(own.store, jobs=1)
    assert list(told)[-1] == ("reset", {})
    assert whole(own)["counts"]["jobs"] == 1


def test_the_stream_ends_with_the_viewer(own: Viewer) -> None:
    told = Stream(own, whole(own)["at"])
    own.closing.set()
    assert list(told) == []


def test_where_nothing_is_new_nothing_is_said(own: Viewer) -> None:
    at = mark_of(whole(own)["at"])
    settle(own)  # it was read again and again until then
    assert own.feeds.since("last", at) == {}


def test_a_stream_and_its_thread_end_when_the_browser_goes(
    own: Viewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_ALIVE", 1e9)  # it isn't found out by writing
    settle(own)
    before = threading.active_count()
    streams = [Stream(own, whole(own)["at"]) for _ in range(3)]
    until(lambda: threading.active_count() == before + 3)
    for stream in streams:
        stream.close()
    until(lambda: threading.active_count() == before)


def test_pages_share_one_reader(own: Viewer, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []

    class Counted(Recording):
        def __init__(self, path: Path) -> None:
            opened.append(path)
            super().__init__(path)

    monkeypatch.setattr(live, "Recording", Counted)
    settle(own)
    at = whole(own)["at"]
    del opened[:]
    streams = [Stream(own, at) for _ in range(5)]
    looks: list[int] = []
    look = live._Followed.look
    monkeypatch.setattr(
        live._Followed, "look", lambda its: (looks.append(1), look(its))[1]
    )
    until(lambda: len(looks) > 20)
    assert opened == []  # nothing was written, so nothing is read
    for stream in streams:
        stream.close()


def settle(viewer: Viewer) -> None:
    """Wait until it is certain that what was written is known."""
    feeds = viewer.feeds

    def is_settled() -> bool:
        feeds.since("last", None)
        return feeds._feeds["last"]._state is not None

    until(is_settled)


def test_what_can_not_be_read_is_said_and_then_all_is_told_anew(own: Viewer) -> None:
    with recordings.open(own.store) as recording:
        path = recording.path
    good = path.read_bytes()
    told = iter(Stream(own, whole(own)["at"]))
    path.write_bytes(b"nonsense " * 1_000)
    kind, what = next(told)
    assert kind == "fault"
    assert str(path) in what
    path.write_bytes(good)
    assert list(told) == [("reset", {})]


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
