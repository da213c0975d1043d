"""Received logs and metrics in their file: what is kept, what goes, what is counted."""

import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from spanrun import recordings
from spanrun.errors import StoreError
from spanrun.telemetry.account import Account
from spanrun.telemetry.recordings import signals
from spanrun.telemetry.recordings.otlp_store import OtlpStore
from spanrun.telemetry.recordings.signals import SignalStore, parts_of, read


@pytest.fixture
def store(tmp_path: Path) -> SignalStore:
    return SignalStore(tmp_path, Account())


def logs(*texts: str, at: int = 5, service: str = "shop") -> Any:
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    resource.resource.attributes.add(key="service.name").value.string_value = service
    for text in texts:
        record = resource.scope_logs.add().log_records.add(time_unix_nano=at)
        record.body.string_value = text
    return request


def test_what_is_new_is_read_in_its_order(tmp_path: Path, store: SignalStore) -> None:
    store.add("a", "logs", 2, b"first")
    store.add("b", "logs", 1, b"another")
    store.add("a", "metrics", 9, b"points")
    store.add("a", "logs", 3, b"second")
    found = read(tmp_path, "a", "logs", 0, 100)
    assert (found.bodies, found.items) == ([b"first", b"second"], 5)
    assert (found.left_out, found.forgotten) == (0, 0)
    store.add("a", "logs", 1, b"third")
    again = read(tmp_path, "a", "logs", found.last, 100)
    assert (again.bodies, again.items) == ([b"third"], 1)
    assert read(tmp_path, "a", "logs", again.last, 100) == ([], again.last, 0, 0, 0)
    assert read(tmp_path, "c", "logs", 0, 100) == ([], 0, 0, 0, 0)


def test_of_too_much_the_newest_is_read_and_the_rest_counted(
    tmp_path: Path, store: SignalStore
) -> None:
    for number in range(10):
        store.add("a", "logs", 10, str(number).encode())
    found = read(tmp_path, "a", "logs", 0, 35)
    assert (found.bodies, found.items, found.left_out) == ([b"7", b"8", b"9"], 100, 70)
    alone = read(tmp_path, "a", "logs", 0, 1)  # a batch that is too large by itself
    assert (alone.bodies, alone.left_out) == ([b"9"], 90)


def test_beyond_its_bytes_the_oldest_go_and_are_counted(
    tmp_path: Path, store: SignalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "MAX_BYTES", 256 * 1024)
    noise = [bytes([number]) + random_bytes(number) for number in range(64)]
    for number, body in enumerate(noise):
        store.add("a" if number % 2 else "b", "logs", 1, body)
        assert (tmp_path / signals.FILE).stat().st_size <= 300 * 1024
    kept = {name: read(tmp_path, name, "logs", 0, 10**6) for name in "ab"}
    for name, found in kept.items():
        assert found.bodies == noise[name == "a" :: 2][-len(found.bodies) :]
        assert found.items + found.forgotten == 32
        assert 0 < found.items < 32


def random_bytes(seed: int) -> bytes:
    return random.Random(seed).randbytes(10_000)


def test_what_is_older_than_a_month_goes(
    tmp_path: Path, store: SignalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    then = time.time_ns() - 31 * 24 * 3600 * 10**9
    with monkeypatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: then)
        store.add("a", "logs", 4, b"old")
    SignalStore(tmp_path, Account()).add("a", "logs", 1, b"new")
    found = read(tmp_path, "a", "logs", 0, 100)
    assert (found.bodies, found.forgotten) == ([b"new"], 4)


def test_a_damaged_file_is_said(tmp_path: Path, store: SignalStore) -> None:
    store.add("a", "logs", 1, b"x")
    with closing(sqlite3.connect(tmp_path / signals.FILE)) as db, db:
        db.execute("UPDATE batches SET body = x'00'")
    with pytest.raises(StoreError, match=r"signals\.db can't be read"):
        read(tmp_path, "a", "logs", 0, 100)


def test_a_folder_without_the_file_has_none(tmp_path: Path) -> None:
    assert read(tmp_path, "a", "logs", 0, 100) == ([], 0, 0, 0, 0)
    assert not list(tmp_path.iterdir())


def test_a_request_is_taken_apart_by_resource() -> None:
    request = logs("one", "two", at=7)
    request.MergeFrom(logs("three", at=3, service="bank"))
    request.resource_logs.add()  # there is nothing in it
    first, second = parts_of(request)
    assert (first.kind, first.items, first.started) == ("logs", 2, 7)
    assert (second.items, second.started) == (1, 3)
    own = ExportLogsServiceRequest.FromString(second.body)
    assert own == logs("three", at=3, service="bank")


def test_points_of_every_kind_are_counted() -> None:
    request = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add().scope_metrics.add()
    for kind in ("gauge", "sum", "histogram", "exponential_histogram", "summary"):
        its = getattr(scope.metrics.add(name=kind), kind)
        its.data_points.add(time_unix_nano=9)
    scope.metrics.add(name="none")
    (part,) = parts_of(request)
    assert (part.kind, part.items, part.started) == ("metrics", 5, 9)


def test_a_program_that_only_logs_is_a_session(tmp_path: Path) -> None:
    store = OtlpStore(tmp_path)
    assert store.keep(logs("hello", at=10**18)) == 1
    assert store.keep(logs("again", at=10**18 + 5)) == 1
    assert store.close()
    with recordings.open(tmp_path) as recording:
        (session,) = recording.sessions()
        assert (session.command, session.started_ns) == ("shop", 10**18)
    found = read(tmp_path, session.id, "logs", 0, 100)
    assert [each.resource_logs[0] for each in map(parse, found.bodies)] == [
        logs("hello", at=10**18).resource_logs[0],
        logs("again", at=10**18 + 5).resource_logs[0],
    ]


def parse(body: bytes) -> Any:
    return ExportLogsServiceRequest.FromString(body)
