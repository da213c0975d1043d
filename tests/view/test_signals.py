"""The logs and the metrics of a page, in a browser."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from tests.view.conftest import Browser

from spanrun import recordings
from spanrun.telemetry.recordings.otlp_store import OtlpStore
from spanrun.view import received, server
from spanrun.view.data import data_of
from spanrun.view.server import Viewer

SECOND = 10**9
NOW = 1_800_000_000 * SECOND
TRACE, SPAN = bytes(range(16)), bytes(range(8))
HOSTILE = "<script>alert('x')</script> \x1b[31m \u202e " + 'x"y' * 400
COUNT = "document.querySelectorAll('.record').length"
TITLE = "document.querySelector('h1').innerText"
DRAWER = "document.querySelector('.drawer').innerText"
STATUS = "document.querySelector('[role=status]')"


def named(resource: Any) -> Any:
    resource.resource.attributes.add(key="service.name").value.string_value = "shop"
    return resource


def log(text: str, level: int = 9, at: int = 0, *, here: bool = False) -> Any:
    """A record; ``here``: of the one span."""
    request = ExportLogsServiceRequest()
    scope = named(request.resource_logs.add()).scope_logs.add()
    scope.scope.name = "shop.cart"
    record = scope.log_records.add(
        time_unix_nano=NOW + at * SECOND, severity_number=level
    )
    record.body.string_value = text
    record.attributes.add(key="cart").value.string_value = f"{HOSTILE[:40]} {at}"
    if here:
        record.trace_id, record.span_id = TRACE, SPAN
    return request


def span() -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    named(request.resource_spans.add()).scope_spans.add().spans.add(
        trace_id=TRACE,
        span_id=SPAN,
        name="checkout",
        start_time_unix_nano=NOW,
        end_time_unix_nano=NOW + SECOND,
    )
    return request


def points(*values: float, name: str = "shop.open", at: int = 0) -> Any:
    request = ExportMetricsServiceRequest()
    metric = named(request.resource_metrics.add()).scope_metrics.add().metrics.add()
    metric.name = name
    for place, value in enumerate(values, at):
        metric.gauge.data_points.add(
            time_unix_nano=NOW + place * SECOND, as_double=value
        )
    return request


@pytest.fixture
def store(tmp_path: Path) -> Iterator[OtlpStore]:
    store = OtlpStore(tmp_path / "received")
    for place in range(300):
        level = 17 if place % 10 == 0 else 9
        store.keep(log(f"cart {place} {HOSTILE}", level, place))
    store.keep(log("at its span", 13, 1, here=True))
    store.keep(points(1, 2, 3))
    store.keep(points(0, 0, name=HOSTILE[:60]))
    store.keep(points(5, 7, name=f"{HOSTILE[:60]}2"))
    store.add(span())
    store.flush()
    yield store
    store.close()


@pytest.mark.parametrize("width", [1440, 400])
@pytest.mark.parametrize("dark", [False, True])
def test_both_views_are_accessible_and_hostile_texts_inert(
    store: OtlpStore,
    browse: Browser,
    page_of: Callable[[Path], Path],
    width: int,
    *,
    dark: bool,
) -> None:
    wide = ("eval", "document.documentElement.scrollWidth - innerWidth")
    code = ("eval", "document.scripts.length")
    told = browse(
        page_of(store.path),
        *(("press", "5"), ("axe", None), wide, code, ("eval", TITLE)),
        *(("press", "6"), ("axe", None), wide, code, ("eval", TITLE)),
        width=width,
        dark=dark,
    )
    assert told[1::5] == [[], []]
    assert max(told[2], told[7]) <= 0
    assert (told[3], told[8]) == (2, 2)
    assert told[4].replace("\xa0", " ").startswith("3 metrics in 2 panels, from 7 ")
    title = told[9].replace("\xa0", " ")
    assert title.startswith(
        "30 of 301 log records, 10 %, are errors, most often: cart # "
    )
    assert "<script>alert('x')</script> \\x1b[#m \\u202e x" in title


def test_records_are_searched_filtered_and_lead_to_their_span(
    store: OtlpStore, browse: Browser, page_of: Callable[[Path], Path]
) -> None:
    told = browse(
        page_of(store.path),
        ("press", "6"),
        ("eval", COUNT),
        ("press", "o"),
        ("eval", STATUS + ".innerText"),
        ("press", "Escape"),
        ("press", "/"),
        ("type", "ITS SPAN"),
        ("press", "Escape"),
        ("eval", COUNT),
        ("eval", DRAWER),
        ("press", "Enter"),
        ("eval", "location.hash"),
        ("eval", DRAWER),
        ("reload", None),
        ("eval", DRAWER),
    )
    few, errors, one, drawer, link, trace, again = (
        told[n] for n in (1, 3, 8, 9, 11, 12, 14)
    )
    assert few <= 80
    assert errors.replace("\xa0", " ") == "30 of 301 records"
    assert one == 1
    assert "▲ warn at 1.00" in drawer.replace("\xa0", " ")
    assert "checkout" in drawer
    assert f"/trace/{TRACE.hex()}?" in link
    assert "Logs\n+1.00 s ▲ warn\nat its span" in trace.replace("\xa0", " ")
    assert trace == again


def test_a_panel_tells_its_numbers_and_those_under_the_pointer(
    store: OtlpStore, browse: Browser, page_of: Callable[[Path], Path]
) -> None:
    rows = (
        "eval",
        "[...document.querySelectorAll('.metric')].map((each) => each.innerText)",
    )
    move = (
        "eval",
        """{ const canvas = document.querySelector('.metric canvas');
        canvas.dispatchEvent(new PointerEvent('pointermove', { bubbles: true,
          clientX: canvas.getBoundingClientRect().left + 60 })); }""",
    )
    told = browse(page_of(store.path), ("press", "5"), rows, move, rows)
    cards, at = told[1], told[3]
    assert any("all\t3\t3" in card for card in cards)
    assert len(cards) == 2  # the one that is always 0 is named alone
    assert any("at 500\xa0ms\thighest\nall\t2\t3" in card for card in at)


def test_what_is_too_much_for_a_page_is_said(
    store: OtlpStore,
    browse: Browser,
    page_of: Callable[[Path], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(received, "MOST_LOGS", 50)
    monkeypatch.setattr(received, "MOST_POINTS", 5)
    note = ("eval", "document.querySelector('main > .note').innerText")
    (said,) = browse(page_of(store.path), note)
    assert "Of 301 log records, 50 are in this page: the newest." in said
    assert "Of 7 points of metrics, 4 are in this page: the newest." in said


def test_a_page_without_them_has_no_such_views(
    sizes: Path, browse: Browser, page_of: Callable[[Path], Path]
) -> None:
    nav = ("eval", "document.querySelector('nav').innerText")
    told = browse(
        page_of(sizes), nav, ("press", "5"), ("eval", TITLE), ("press", "6"),
        ("eval", TITLE),
    )  # fmt: skip
    assert "Logs" not in told[0]
    assert "Metrics" not in told[0]
    assert told[2] == "No metrics were received."
    assert told[4].startswith("There are no log records: sr.configure(logs=")


def test_a_run_alone_has_none_of_its_session(store: OtlpStore) -> None:
    with recordings.open(store.path) as recording:
        (run,) = recording.runs()
        data = data_of(recording, run.id)
    assert (data["metrics"], data["counts"]["logs"]) == (None, 0)


@pytest.fixture
def viewer(store: OtlpStore) -> Iterator[Viewer]:
    viewer = Viewer(store.path)
    thread = threading.Thread(target=viewer.serve)
    thread.start()
    yield viewer
    viewer.close()
    thread.join()


def test_records_and_points_come_as_they_are_received(
    store: OtlpStore, viewer: Viewer, browse: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that is ahead of its span, too; those in sight don't move."""

    def more(request: Any, _: Any) -> None:
        for place in range(5):
            store.keep(log(f"later {place}", at=400))
        store.keep(points(40, at=10))
        request.sessions({})

    monkeypatch.setitem(server.ANSWERS, "/more", more)
    carts = "[...document.querySelectorAll('.metric')].at(-1)?.innerText"
    told = browse(
        viewer.url,
        ("wait", "document.querySelector('nav')?.innerText.includes('Logs')"),
        ("press", "6"),
        ("eval", "fetch('/more').then(() => 0)"),
        ("wait", f"{STATUS}.querySelector('button')?.textContent === '5 new'"),
        ("eval", TITLE),
        ("click", "[role=status] button"),
        ("wait", f"{TITLE}.includes('306')"),
        ("press", "5"),
        ("wait", f"{carts}.includes('all\\t40\\t40')"),
    )
    assert "301" in told[4]
