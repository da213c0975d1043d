"""The newest snapshot is on disk for the case of a kill, once, and no longer."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.telemetry.export.receiver import Answer, Receiver, receiving
from tests.waiting import PATIENCE, files_below, until

from spanrun.telemetry.account import Account
from spanrun.telemetry.export.destination import Destination
from spanrun.telemetry.export.http import HttpExporter
from spanrun.telemetry.queue.frame import MAX_PAYLOAD, Frame
from spanrun.telemetry.queue.inspection import inspect_spool, waiting_frames
from spanrun.telemetry.queue.latest import LatestSnapshot
from spanrun.telemetry.queue.layout import LATEST, UNFINISHED, segments
from spanrun.telemetry.queue.message import Message
from spanrun.telemetry.queue.queued_exporter import QueuedExporter

KEY = ("metrics", False)


def frame(text: str) -> Frame:
    return Frame("metrics", text.encode(), 3, order=7)


def held(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def spooled(folder: Path, url: str) -> QueuedExporter:
    where = Destination("metrics", "http/protobuf", f"{url}/v1/metrics", timeout=10.0)
    return QueuedExporter(folder, {"metrics": HttpExporter(where)}, Account())


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def saved(root: Path) -> list[Path]:
    return [
        path
        for path in files_below(root)
        if path.name.startswith("metrics.") and str(LATEST) in path.name
    ]


def test_one_takes_the_place_of_the_other(tmp_path: Path) -> None:
    latest = LatestSnapshot(lambda: tmp_path)
    for text in ("one", "two", "three"):
        latest.put(frame(text))
        assert latest.is_due
        latest.sync()
        assert not latest.is_due
        assert [each.payload.decode() for each in waiting_frames(tmp_path)] == [text]
        assert len(held(tmp_path)) == 1


@pytest.mark.parametrize("written", [True, False])
def test_it_goes_when_what_is_in_it_needs_it_no_more(
    tmp_path: Path,
    written: bool,  # noqa: FBT001
) -> None:
    latest, found = LatestSnapshot(lambda: tmp_path), frame("one")
    latest.put(found)
    if written:
        latest.sync()
    latest.settle([Message(frame("another"))])
    latest.sync()
    assert len(held(tmp_path)) == 1
    latest.settle([Message(found)])
    latest.sync()
    assert held(tmp_path) == []


def test_an_older_one_that_arrives_leaves_the_newer(tmp_path: Path) -> None:
    latest, old, new = LatestSnapshot(lambda: tmp_path), frame("old"), frame("new")
    latest.put(old)
    latest.sync()
    latest.put(new)
    latest.settle([Message(old)])
    latest.sync()
    assert [each.payload for each in waiting_frames(tmp_path)] == [b"new"]


def test_where_it_cannot_be_written_the_old_one_goes(tmp_path: Path) -> None:
    latest = LatestSnapshot(lambda: tmp_path)
    latest.put(frame("old"))
    latest.sync()
    (tmp_path / UNFINISHED).mkdir()  # in its way
    latest.put(frame("new"))
    latest.sync()
    assert not latest.is_due  # until the next one
    assert segments(tmp_path)[KEY] == []


def test_no_folder_and_too_much_are_no_reason_to_fail(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    latest = LatestSnapshot(lambda: gone)
    latest.put(frame("one"))
    latest.sync()
    latest.put(Frame("metrics", bytes(MAX_PAYLOAD + 1), 1))
    latest.sync()
    assert not gone.exists()


def test_it_is_no_backlog_until_its_process_is_gone(
    tmp_path: Path, receiver: Receiver
) -> None:
    first = spooled(tmp_path, receiver.url)
    first.save(b"left", 3)
    until(lambda: saved(tmp_path), "the file")
    (writer,) = inspect_spool(tmp_path).writers
    assert (writer.live, writer.signals, writer.trouble) == (True, {}, "")
    assert first.status().bytes_on_disk == 0
    first.close()
    (writer,) = inspect_spool(tmp_path).writers
    assert (writer.live, writer.items) == (False, {"metrics": 3})


def test_the_next_process_delivers_it(tmp_path: Path, receiver: Receiver) -> None:
    first = spooled(tmp_path, receiver.url)
    first.save(b"left", 3)
    until(lambda: saved(tmp_path), "the file")
    first.close()  # without having sent it, as if it were killed
    folder = saved(tmp_path)[0].parent
    (folder / UNFINISHED).write_bytes(b"half of it")
    second = spooled(tmp_path, receiver.url)
    assert second.flush(PATIENCE, recovered=True)
    status = second.status()
    assert second.close()
    assert [got.body for got in receiver.requests] == [b"left"]
    metrics = status.signals["metrics"]
    assert (metrics.recovered, metrics.delivered, status.damaged) == (3, 3, 0)
    assert not tmp_path.exists() or held(tmp_path) == []


def test_what_is_sent_as_well_is_delivered_once(
    tmp_path: Path, receiver: Receiver
) -> None:
    first = spooled(tmp_path, receiver.url)
    payload = b"all"
    first.save(payload, 3)
    first.put("metrics", payload, 3)
    assert first.flush(PATIENCE)
    until(lambda: not saved(tmp_path), "the end of the file")
    assert first.close()
    second = spooled(tmp_path, receiver.url)
    assert second.flush(PATIENCE, recovered=True)
    second.close()
    assert len(receiver.requests) == 1


def test_what_waits_on_disk_is_there_once(tmp_path: Path) -> None:
    with receiving(lambda _: Answer(503)) as down:
        first = spooled(tmp_path, down.url)
        payload = b"all"
        first.save(payload, 3)
        first.put("metrics", payload, 3)
        until(lambda: first.status().bytes_on_disk, "the frame on disk")
        until(lambda: not saved(tmp_path), "the end of the file")
        assert not first.close()
    (writer,) = inspect_spool(tmp_path).writers
    assert writer.items == {"metrics": 3}
