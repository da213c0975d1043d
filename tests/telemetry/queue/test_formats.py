"""A spool of an earlier release is delivered, one of a later release is left alone."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.telemetry.export.receiver import receiving, values
from tests.telemetry.queue.sending import eager, to
from tests.waiting import PATIENCE

from spanrun.telemetry.account import Account
from spanrun.telemetry.queue.frame import VERSION, Frame
from spanrun.telemetry.queue.inspection import inspect_spool
from spanrun.telemetry.queue.message import Message
from spanrun.telemetry.queue.queued_exporter import QueuedExporter
from spanrun.telemetry.queue.spool import Spool

DATA = Path(__file__).parents[2] / "data" / "spool"
FORMATS = sorted(DATA.glob("format-*"))


def deliver(root: Path, url: str) -> QueuedExporter:
    spooled = QueuedExporter(root, to(url), Account(), backoff=eager)
    spooled.requeue()
    assert spooled.flush(PATIENCE, recovered=True)
    spooled.close(30.0)
    return spooled


def test_there_is_a_spool_of_each_format():
    names = [path.name for path in FORMATS]
    assert names == [f"format-{version}" for version in range(1, VERSION + 1)], (
        "write one: python -m tests.data.spool.make"
    )


@pytest.mark.parametrize("folder", FORMATS, ids=lambda path: path.name)
def test_what_an_earlier_release_left_is_delivered(folder: Path, tmp_path: Path):
    root = tmp_path / "spool"
    shutil.copytree(folder, root)
    before = inspect_spool(root)
    assert [writer.items for writer in before.writers] == [{"traces": 17, "metrics": 4}]
    assert [each.items for each in before.quarantine] == [{"traces": 1}]
    with receiving() as receiver:
        spooled = deliver(root, receiver.url)
    # Spans 1 to 3 were acknowledged, and 99 was refused.
    assert receiver.taken == dict.fromkeys([*range(4, 21), 99], 1)
    backlog = [number for number in receiver.order if number != 99]
    assert backlog == sorted(backlog)
    points = [values(got.body) for got in receiver.requests if "metrics" in got.path]
    assert sorted(points) == [[1], [2], [3], [4]]
    for signal, found in spooled.status().signals.items():
        assert found.recovered == found.delivered, signal
        assert found.dropped == {}
    assert spooled.status().damaged == 0
    assert not [path for path in root.rglob("*") if path.is_file()]


LATER = {
    "another header": b"\xf5SR\x9d\x02" + bytes(range(200)),
    "the same header": None,
    "a header cut short": b"\xf5SR\x9d\x02",
}


@pytest.mark.parametrize("kind", LATER)
def test_what_a_later_release_wrote_is_left_as_it_is_and_said_once(
    kind: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
):
    root = tmp_path / "spool"
    later = Spool(root, lambda *_: None)
    with monkeypatch.context() as patched:
        patched.setattr("spanrun.telemetry.queue.frame.VERSION", 2)
        later.append([Message(Frame("traces", b"of a later format", 5))])
        later.quarantine([Message(Frame("traces", b"of a later format", 5))], "400")
    (folder,) = root.glob("w-*")
    later.close()
    if (data := LATER[kind]) is not None:
        (folder / "traces.00000001").write_bytes(data)
    (folder / "logs.00000001").write_bytes(b"\xf5SR\x9d\x02 of another signal")
    (folder / "something else").write_bytes(b"")
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    lost: list[Any] = []
    spool = Spool(root, lambda *each: lost.append(each))
    for _ in range(3):
        assert spool.recover() == 0
        assert spool.requeue() == 0
    assert spool.damaged == 0
    spool.close()
    after = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert after == before
    assert lost == []
    told = [record.getMessage() for record in caplog.records]
    assert len([line for line in told if "written in format 2" in line]) == 1
    assert len([line for line in told if "quarantine" in line]) == 1
    assert len(told) == 2
    (found,) = inspect_spool(root).writers
    assert (found.later, found.damaged, found.items) == (2, 0, {})


def test_a_version_that_a_flipped_bit_made_is_damage(tmp_path: Path):
    root = tmp_path / "spool"
    gone = Spool(root, lambda *_: None)
    gone.append(
        [Message(Frame("traces", b"one", 5)), Message(Frame("traces", b"2", 7))]
    )
    gone.close()
    (path,) = root.rglob("traces.*")
    data = bytearray(path.read_bytes())
    data[4] ^= 2
    path.write_bytes(data)
    lost: list[Any] = []
    spool = Spool(root, lambda *each: lost.append(each))
    assert spool.recover() == 12
    (message,) = spool.peek("traces", 1000, recovered=True)
    assert message.frame.payload == b"2"
    spool.ack([message])
    spool.close()
    assert lost == [("traces", 5, "internal_error")]
    assert spool.damaged == 1
    assert not root.exists()
