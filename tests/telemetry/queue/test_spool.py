"""The queue on disk: order, bounds, damage, and who may take what over."""

import errno
import os
import shutil
import stat
import struct
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.forking import forking, needs_fork

from spanrun.telemetry.queue.cursors import Cursor, load, save
from spanrun.telemetry.queue.frame import HEADER, Frame
from spanrun.telemetry.queue.inspection import inspect_spool, waiting_frames
from spanrun.telemetry.queue.layout import KEYS
from spanrun.telemetry.queue.message import Message
from spanrun.telemetry.queue.quarantine import quarantined_frames
from spanrun.telemetry.queue.spool import Spool

LIMIT = 1 << 20


class Losses(Counter[str]):
    """Counts lost items by reason; the ``lost`` of a spool."""

    def __call__(self, signal: Any, items: int, reason: str) -> None:
        self[reason] += items


@pytest.fixture
def lost() -> Losses:
    return Losses()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def message(
    number: int, *, items: int = 1, size: int = 60, keep: bool = False, signal="traces"
) -> Message:
    payload = f"{number}:".encode().ljust(size, b".")
    return Message(Frame(signal, payload, items, keep=keep, order=number))


def messages(*numbers: int, **options: Any) -> list[Message]:
    return [message(number, **options) for number in numbers]


def numbers(found: list[Message]) -> list[int]:
    return [int(p.frame.payload.partition(b":")[0]) for p in found]


def drain(spool: Spool, signal: Any = "traces", limit: int = LIMIT) -> list[int]:
    """Acknowledge all there is; the numbers in the order in which they came."""
    came: list[int] = []
    for recovered in (True, False):
        while found := spool.peek(signal, limit, recovered=recovered):
            spool.ack(found)
            came.extend(numbers(found))
    return came


def crash(spool: Spool) -> None:
    """The process is gone: its locks are free, and nothing else happened."""
    for writer in spool._writers():
        writer.abandon()


def files(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file())


def test_comes_out_as_it_went_in_and_leaves_nothing_behind(root: Path, lost: Losses):
    spool = Spool(root, lost)
    assert not root.exists()
    spool.append(messages(1, 2, 3))
    spool.append(messages(4))
    assert spool.waiting("traces") == 4
    found = spool.peek("traces", LIMIT, recovered=False)
    assert numbers(found) == [1, 2, 3, 4]
    assert numbers(spool.peek("traces", LIMIT, recovered=False)) == [1, 2, 3, 4]
    spool.ack(found)
    assert spool.waiting("traces") == spool.size == 0
    spool.close()
    assert not root.exists()
    assert not lost


def test_failed_spans_come_in_their_order_among_the_others(root: Path, lost: Losses):
    spool = Spool(root, lost)
    spool.append([message(1), message(2, keep=True), message(3), message(4, keep=True)])
    spool.append(messages(5, signal="metrics"))
    assert drain(spool) == [1, 2, 3, 4]
    assert drain(spool, "metrics") == [5]
    spool.close()


def test_only_the_owner_may_read_it(root: Path, lost: Losses):
    before = os.umask(0)
    try:
        spool = Spool(root, lost)
        spool.append(messages(1))
        spool.quarantine(messages(2), "400")
        spool.peek("traces", LIMIT, recovered=False)
        spool.ack(messages())
    finally:
        os.umask(before)
    for path in (root, *root.rglob("*")):
        allowed = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == allowed, path
    spool.close()


def test_a_crash_loses_nothing_and_sends_what_was_unacknowledged_again(
    root: Path, lost: Losses
):
    first = Spool(root, lost)
    first.append(messages(*range(10), items=3))
    first.ack(first.peek("traces", 150, recovered=False))
    crash(first)
    second = Spool(root, lost)
    assert second.recover() == 24
    assert second.recovered_items["traces"] == second.waiting("traces") == 24
    assert drain(second) == [2, 3, 4, 5, 6, 7, 8, 9]
    second.close()
    assert not root.exists()
    assert not lost


def test_the_living_are_left_alone(root: Path, lost: Losses):
    living, other = Spool(root, lost), Spool(root, lost)
    living.append(messages(1))
    other.append(messages(2))
    assert other.recover() == living.recover() == 0
    assert drain(other) == [2]
    assert drain(living) == [1]
    other.close()
    living.close()


def test_one_of_two_gets_what_was_left(root: Path, lost: Losses):
    gone = Spool(root, lost)
    gone.append(messages(1, 2))
    crash(gone)
    one, other = Spool(root, lost), Spool(root, lost)
    assert sorted([one.recover(), other.recover()]) == [0, 2]
    assert sorted(drain(one) + drain(other)) == [1, 2]


def test_what_is_left_of_several_comes_before_our_own_and_oldest_first(
    root: Path, lost: Losses
):
    for place in range(3):
        gone = Spool(root, lost)
        gone.append(messages(place))
        (writer,) = gone._writers()
        crash(gone)
        os.utime(writer.path, (place, place))
    spool = Spool(root, lost)
    spool.append(messages(9))
    spool.recover()
    assert drain(spool) == [0, 1, 2, 9]
    spool.close()


def test_many_segments(root: Path, lost: Losses):
    spool = Spool(root, lost, segment_bytes=1000)
    for number in range(100):
        spool.append(messages(number))
    assert len(files(root)) > 5
    assert all(path.stat().st_size <= 1000 for path in root.rglob("traces.*"))
    assert drain(spool, limit=130) == list(range(100))
    spool.close()


def test_a_message_longer_than_a_segment(root: Path, lost: Losses):
    spool = Spool(root, lost, segment_bytes=1000)
    spool.append([message(1), message(2, size=5000), message(3)])
    assert drain(spool) == [1, 2, 3]
    spool.close()


# --- out of turn


def test_what_is_acknowledged_before_its_turn_is_not_sent(root: Path, lost: Losses):
    spool = Spool(root, lost, segment_bytes=300)
    sent = messages(*range(8))
    spool.append(sent)
    spool.ack([sent[2], sent[3], sent[7]])
    assert spool.waiting("traces") == 5
    assert drain(spool) == [0, 1, 4, 5, 6]
    spool.close()
    assert not root.exists()


def test_all_acknowledged_without_being_read(root: Path, lost: Losses):
    spool = Spool(root, lost, segment_bytes=300)
    sent = messages(*range(8))
    spool.append(sent)
    for each in sent:
        spool.ack([each])
        spool.ack([each])
    assert spool.waiting("traces") == 0
    assert drain(spool) == []
    spool.close()
    assert not root.exists()


# --- bounds


def test_ordinary_spans_go_before_failed_ones_the_oldest_first(
    root: Path, lost: Losses
):
    spool = Spool(root, lost, max_bytes=8000, segment_bytes=1000)
    failed = [message(number, keep=True) for number in range(20)]
    spool.append(failed)
    for number in range(100, 300):
        spool.append([message(number)])
    assert spool.size <= 8000
    assert lost == {"queue_full": 220 - spool.waiting("traces")}
    came = drain(spool)
    assert came[:20] == list(range(20))
    assert came[20:] == list(range(300 - len(came) + 20, 300))
    assert len(came) > 60
    spool.close()


def test_failed_spans_go_when_there_is_nothing_else(root: Path, lost: Losses):
    spool = Spool(root, lost, max_bytes=8000, segment_bytes=1000)
    spool.append([message(1)])
    spool.append([message(number, keep=True) for number in range(100, 300)])
    spool.append([message(2)])
    assert spool.size <= 8000
    came = drain(spool)
    assert set(came) <= set(range(200, 300))
    assert lost == {"queue_full": 202 - len(came)}
    spool.close()


def test_what_is_in_a_request_is_not_given_up(root: Path, lost: Losses):
    spool = Spool(root, lost, max_bytes=8000, segment_bytes=1000)
    spool.append([message(number) for number in range(5)])
    in_flight = spool.in_flight = spool.peek("traces", 130, recovered=False)
    for number in range(100, 300):
        spool.append([message(number)])
    spool.ack(in_flight)
    spool.in_flight = ()
    came = drain(spool)
    assert 200 < len(came) + lost["queue_full"] + len(in_flight) == 205
    spool.close()


def test_the_budget_is_the_folders(root: Path, lost: Losses):
    one = Spool(root, lost, max_bytes=8000, segment_bytes=1000)
    for number in range(200):
        one.append(messages(number))
    held = one.waiting("traces")
    other = Spool(root, lost, max_bytes=8000, segment_bytes=1000)
    for number in range(200):
        other.append(messages(number))
    # No room is left, but for the one segment that each has in any case.
    assert 0 < other.size <= 1000
    assert one.waiting("traces") == held
    one.close()
    other.close()


def test_a_recovered_folder_counts_and_goes_first(root: Path, lost: Losses):
    gone = Spool(root, Losses(), max_bytes=8000, segment_bytes=1000)
    for number in range(70):
        gone.append(messages(number))
    crash(gone)
    spool = Spool(root, lost, max_bytes=8000, segment_bytes=1000)
    spool.recover()
    recovered = spool.recovered_items["traces"]
    for number in range(100, 150):
        spool.append(messages(number))
    came = drain(spool)
    assert came[-50:] == list(range(100, 150))
    assert len(came) + lost["queue_full"] == recovered + 50
    assert recovered == 70
    spool.close()


def test_an_eviction_is_no_damage_to_who_comes_after_a_crash(root: Path, lost: Losses):
    gone = Spool(root, lost, max_bytes=8000, segment_bytes=1000)
    gone.append([message(number) for number in range(5)])
    gone.in_flight = gone.peek("traces", 70, recovered=False)  # the first segment stays
    for number in range(5, 200):
        gone.append(messages(number))
    held = gone.waiting("traces")
    assert held + lost["queue_full"] == 200
    lost.clear()
    crash(gone)
    spool = Spool(root, lost)
    assert spool.recover() == held
    assert len(drain(spool)) == held
    assert not lost
    spool.close()


def test_cumulative_metrics_keep_some_history_the_newest_and_the_zero_points(
    root: Path, lost: Losses
):
    spool = Spool(root, lost, segment_bytes=1000)
    spool.append([message(0, signal="metrics", keep=True)])
    for number in range(1, 200):
        spool.append([message(number, signal="metrics")])
    assert spool.size < 2200
    came = drain(spool, "metrics", limit=0)
    assert came[0] == 0
    assert came[1:] == list(range(201 - len(came), 200))
    assert lost == {"queue_full": 200 - len(came)}
    spool.close()


def test_delta_metrics_are_all_kept(root: Path, lost: Losses):
    spool = Spool(root, lost, segment_bytes=1000, cumulative=False)
    for number in range(200):
        spool.append([message(number, signal="metrics")])
    assert drain(spool, "metrics") == list(range(200))
    spool.close()


# --- damage


def only(root: Path, pattern: str = "traces.*") -> Path:
    (path,) = root.rglob(pattern)
    return path


@pytest.mark.parametrize("where", [5, 50, 110, 250])
def test_a_flipped_bit_costs_the_frame_to_the_item(
    root: Path, lost: Losses, where: int
):
    gone = Spool(root, lost)
    gone.append(messages(0, 1, 2, 3, items=7))
    crash(gone)
    path = only(root)
    data = bytearray(path.read_bytes())
    data[where] ^= 0x10
    path.write_bytes(data)
    spool = Spool(root, lost)
    assert spool.recover() == 28
    came = drain(spool)
    hit = where // (HEADER + 60)
    assert came == [number for number in range(4) if number != hit]
    assert lost == {"internal_error": 7}
    assert spool.damaged == 1
    spool.close()
    assert not root.exists()


def test_a_torn_tail_costs_the_last_frame(root: Path, lost: Losses):
    gone = Spool(root, lost)
    gone.append(messages(0, 1, 2, items=7))
    crash(gone)
    path = only(root)
    path.write_bytes(path.read_bytes()[:-10])
    spool = Spool(root, lost)
    assert spool.recover() == 21
    assert drain(spool) == [0, 1]
    assert lost == {"internal_error": 7}
    spool.close()
    assert not root.exists()


def test_a_destroyed_end_of_one_segment_is_known_from_the_next(
    root: Path, lost: Losses
):
    gone = Spool(root, lost, segment_bytes=250)
    gone.append(messages(0, 1, 2, 3, items=7))
    crash(gone)
    first = min(root.rglob("traces.*"))
    first.write_bytes(first.read_bytes()[:110])
    spool = Spool(root, lost)
    assert spool.recover() == 28
    assert drain(spool) == [0, 2, 3]
    assert lost == {"internal_error": 7}
    spool.close()


def test_a_deleted_file_is_counted(root: Path, lost: Losses):
    spool = Spool(root, lost, segment_bytes=250)
    spool.append(messages(0, 1, 2, 3, 4, 5))
    sorted(root.rglob("traces.*"))[1].unlink()
    assert drain(spool) == [0, 1, 4, 5]
    assert lost == {"internal_error": 2}
    spool.close()


def test_a_deleted_folder_is_counted_and_made_anew(root: Path, lost: Losses):
    spool = Spool(root, lost)
    spool.append(messages(0, 1))
    shutil.rmtree(root)
    spool.append(messages(2))
    assert lost == {"internal_error": 2}
    assert drain(spool) == [2]
    spool.close()


def test_lost_cursors_send_again_but_lose_nothing(root: Path, lost: Losses):
    gone = Spool(root, lost)
    gone.append(messages(0, 1, 2))
    gone.ack(gone.peek("traces", 1, recovered=False))
    crash(gone)
    only(root, "ack").write_bytes(b"\x00" * 1024)
    spool = Spool(root, lost)
    assert spool.recover() == 3
    assert drain(spool) == [0, 1, 2]
    spool.close()


def test_a_torn_cursor_costs_one_acknowledgement(root: Path, lost: Losses):
    gone = Spool(root, lost)
    gone.append(messages(0, 1, 2, 3))
    for _ in range(3):
        gone.ack(gone.peek("traces", 1, recovered=False))
    crash(gone)
    path = only(root, "ack")
    data = bytearray(path.read_bytes())
    data[512 + 20] ^= 1  # the third and newest is in the second slot
    path.write_bytes(data)
    spool = Spool(root, lost)
    spool.recover()
    assert drain(spool) == [2, 3]
    spool.close()


@pytest.mark.parametrize(
    ("cursor", "came", "gone"),
    [
        ((1, 10**6, 0), [], 21),  # behind the file, and nothing passed
        ((1, 0, 10**6), [0, 1, 2], 0),  # all passed, and the file unread
        ((1, 50, 0), [1, 2], 0),  # in the midst of a frame
        ((9, 0, 0), [], 0),
        ((2**63, 2**63, 2**63), [], 0),
    ],
)
def test_cursors_that_do_not_suit_the_files_leave_the_books_even(
    root: Path, lost: Losses, cursor: Any, came: list[int], gone: int
):
    gone_before = Spool(root, Losses())
    gone_before.append(messages(0, 1, 2, items=7))
    (writer,) = gone_before._writers()
    crash(gone_before)
    save(writer.path, 9, [Cursor(*cursor), *[Cursor(0, 0, 0)] * (len(KEYS) - 1)])
    spool = Spool(root, lost)
    spool.recover()
    assert drain(spool) == came
    assert lost.total() >= gone
    assert spool.recovered_items["traces"] == 7 * len(came) + lost.total()
    spool.close()
    assert not root.exists()


def slot_without_logs(generation: int, *numbers: int) -> bytes:
    """As releases wrote it that knew two signals."""
    slot = struct.pack("<4sQ12Q", b"SRak", generation, *numbers)
    return slot + struct.pack("<I", zlib.crc32(slot))


def test_cursors_of_a_release_without_logs_are_each_its_own_logs(tmp_path: Path):
    old = slot_without_logs(8, *range(1, 13))
    (tmp_path / "ack").write_bytes(old.ljust(1024, b"\0"))
    known = {
        ("traces", False): (1, 2, 3),
        ("metrics", False): (4, 5, 6),
        ("traces", True): (7, 8, 9),
        ("metrics", True): (10, 11, 12),
    }
    found = [Cursor(*known.get(key, (0, 0, 0))) for key in KEYS]
    assert load(tmp_path) == (8, found)
    newer = [Cursor(n, n, n) for n in range(len(KEYS))]
    save(tmp_path, 9, newer)  # into the other slot
    assert load(tmp_path) == (9, newer)
    save(tmp_path, 10, found)  # over the old one
    assert load(tmp_path) == (10, found)


def test_a_frame_in_the_log_of_another_key_is_delivered_once(root: Path, lost: Losses):
    gone = Spool(root, lost)
    gone.append(messages(1))
    crash(gone)
    path = only(root, "traces.00000001")
    path.rename(path.with_name("traces-keep.00000001"))
    spool = Spool(root, lost)
    assert spool.recover() == 1
    assert drain(spool) == [1]
    spool.close()
    assert not lost
    assert not root.exists()


def test_strange_files_are_no_obstacle(root: Path, lost: Losses):
    gone = Spool(root, lost)
    gone.append(messages(1))
    crash(gone)
    folder = next(root.glob("w-*"))
    (folder / "traces.notanumber").write_bytes(b"x")
    (folder / "traces.00000009").write_bytes(b"no frame at all")
    (root / "w-empty").mkdir()
    (root / "w-file").write_text("x")
    spool = Spool(root, lost)
    assert spool.recover() == 1
    assert drain(spool) == [1]
    assert not lost


# --- disks that won't


def test_a_full_disk_cuts_no_frame_in_half(
    root: Path, lost: Losses, monkeypatch: pytest.MonkeyPatch
):
    spool = Spool(root, lost)
    spool.append(messages(0))
    write, room = os.write, 250

    def full(fd: int, data: Any) -> int:
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        wrote = write(fd, bytes(data)[:room])
        room -= wrote
        return wrote

    monkeypatch.setattr("spanrun.telemetry.queue.segment_log.os.write", full)
    more = messages(1, 2, 3, 4)
    with pytest.raises(OSError, match="No space left"):
        spool.append(more)
    assert [each.location is not None for each in more] == [True, True, False, False]
    monkeypatch.undo()
    assert only(root).stat().st_size == 3 * (HEADER + 60)
    spool.append([each for each in more if each.location is None])
    assert drain(spool) == [0, 1, 2, 3, 4]
    spool.close()


def test_a_limit_on_file_sizes_is_a_full_disk(tmp_path: Path):
    # In a process of its own: the limit is for all it does.
    script = """
import resource, sys
from pathlib import Path
from spanrun.telemetry.queue.frame import Frame
from spanrun.telemetry.queue.message import Message
from spanrun.telemetry.queue.spool import Spool
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
spool = Spool(Path(sys.argv[1]), print)
messages = [Message(Frame("traces", b"x" * 1000, 1)) for _ in range(8)]
try:
    spool.append(messages)
except OSError as error:
    print(error.strerror, sum(p.location is not None for p in messages))
found = spool.peek("traces", 1 << 20, recovered=False)
print(len(found), spool.damaged)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "spool")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["File too large 4", "4 0"]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 256 KiB."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a disk needs root")
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a disk here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_really_full_disk(tiny_disk: Path, lost: Losses):
    spool = Spool(tiny_disk / "spool", lost)
    sent = messages(*range(400), size=1000)
    with pytest.raises(OSError, match="No space left"):
        spool.append(sent)
    count = sum(each.location is not None for each in sent)
    assert 200 < count < 262
    # The cursors need no room, so nothing is sent twice for want of it.
    spool.ack(spool.peek("traces", 100_000, recovered=False))
    crash(spool)
    other = Spool(tiny_disk / "spool", lost)
    assert other.recover() == count - 100
    assert drain(other) == list(range(100, count))
    other.close()


def test_no_folder_can_be_made(tmp_path: Path, lost: Losses):
    (tmp_path / "file").write_text("not a folder")
    spool = Spool(tmp_path / "file" / "spool", lost)
    one = messages(1)
    with pytest.raises(OSError, match="Not a directory"):
        spool.append(one)
    assert one[0].location is None
    assert not one[0].done
    assert spool.recover() == 0
    spool.close()


# --- quarantine


def test_quarantined_frames_can_be_lined_up_again(root: Path, lost: Losses):
    spool = Spool(root, lost)
    spool.quarantine(messages(1, items=3), "400 ../../Bad Request")
    (name,) = files(root)
    assert "400-Bad-Request" in name
    spool.close()
    assert spool.requeue() == 3
    assert spool.recovered_items["traces"] == 3
    assert drain(spool) == [1]
    spool.close()


def test_the_quarantine_is_bounded(root: Path, lost: Losses):
    spool = Spool(root, lost, max_bytes=16 * 1000)
    for number in range(40):
        spool.quarantine(messages(number), "500")
    spool.quarantine(messages(99, size=5000), "500")
    kept = [path.read_bytes()[HEADER : HEADER + 3] for path in root.rglob("*.frames")]
    assert max(kept) == b"39:"
    assert sum(path.stat().st_size for path in root.rglob("*.frames")) <= 1000


# --- a look at it


def test_a_survey_tells_what_is_there_and_changes_nothing(root: Path, lost: Losses):
    assert inspect_spool(root).writers == ()
    gone = Spool(root, Losses())
    gone.append([*messages(1, 2, 3, items=2), message(4, keep=True)])
    gone.append(messages(5, signal="metrics"))
    gone.ack(gone.peek("traces", 61, recovered=False))
    crash(gone)
    living = Spool(root, lost)
    living.append(messages(9))
    living.quarantine(messages(7, items=4), "INVALID_ARGUMENT")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    found = inspect_spool(root)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    by_life = {writer.live: writer for writer in found.writers}
    left = by_life[False]
    assert left.items == {"traces": 5, "metrics": 1}
    traces, metrics = left.signals["traces"], left.signals["metrics"]
    assert (traces.frames, traces.kept, metrics.frames) == (3, 1, 1)
    assert left.pid == os.getpid()
    assert by_life[True].items == {"traces": 1}
    assert [frame.order for frame in waiting_frames(by_life[True].path)] == [9]
    (aside,) = found.quarantine
    assert (aside.code, aside.items) == ("INVALID-ARGUMENT", {"traces": 4})
    assert [frame.order for frame in quarantined_frames(aside.path)] == [7]
    living.close()


# --- fork


FORKS = """
from pathlib import Path
from spanrun.telemetry.queue.spool import Spool
from tests.telemetry.queue.test_spool import LIMIT, Losses, drain, numbers, messages

root, lost = Path(sys.argv[1]), Losses()
spool = Spool(root, lost)
spool.append(messages(1))

def work():
    spool.after_fork()
    spool.append(messages(2))
    return numbers(spool.peek("traces", LIMIT, recovered=False)) == [2]

assert status_of(child_of(work)) == 0
# The child's end freed its own lock, and not its parent's.
other = Spool(root, lost)
assert other.recover() == 1
assert drain(other) == [2]
assert drain(spool) == [1]
other.close()
spool.close()
"""


@needs_fork
def test_a_child_writes_into_a_folder_of_its_own(root: Path):
    with forking(FORKS, root):
        pass


# --- all of it at once


class Machine(RuleBasedStateMachine):
    """Any sequence of what can happen, against a dictionary in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(mkdtemp(prefix="spool-"))
        self.lost = Losses()
        self.waiting: dict[int, int] = {}
        self.placed: list[Message] = []
        self.early: set[int] = set()  # acknowledged out of turn by this process
        self.repeats: set[int] = set()  # … and by one that is gone: may come again
        self.again = 0
        self.last = 0
        self.spool = self.open()

    def open(self) -> Spool:
        return Spool(self.folder / "s", self.lost, max_bytes=6000, segment_bytes=700)

    @rule(count=st.integers(1, 6), keep=st.booleans(), size=st.integers(10, 300))
    def append(self, count: int, keep: bool, size: int) -> None:  # noqa: FBT001
        new: list[Message] = []
        for _ in range(count):
            self.last += 1
            self.waiting[self.last] = 1 + self.last % 4
            new.append(
                message(self.last, items=1 + self.last % 4, keep=keep, size=size)
            )
        self.spool.append(new)
        self.placed = [each for each in new if each.location is not None]

    @rule(limit=st.integers(1, 1500), recovered=st.booleans())
    def deliver(self, limit: int, recovered: bool) -> None:  # noqa: FBT001
        found = self.spool.peek("traces", limit, recovered=recovered)
        self.spool.ack(found)
        for number in numbers(found):
            if number in self.repeats:
                self.repeats.remove(number)
                self.again -= 1 + number % 4
            else:
                del self.waiting[number]

    # Not drawn from `placed`: which recovered folder gives room first depends on
    # the time of the file system.
    @rule(place=st.integers(0, 5))
    def acknowledge_out_of_turn(self, place: int) -> None:
        if place >= len(self.placed):
            return
        one = self.placed[place]
        before = self.spool.waiting("traces")
        self.spool.ack([one])
        if self.spool.waiting("traces") < before:
            (number,) = numbers([one])
            del self.waiting[number]
            self.early.add(number)

    @rule(how=st.sampled_from([crash, Spool.close]))
    def end_and_begin_again(self, how: Any) -> None:
        left = self.spool.waiting("traces")
        how(self.spool)
        self.spool = self.open()
        again = self.spool.recover() - left
        assert again >= 0
        self.again += again
        self.repeats |= self.early
        self.early = set()
        self.placed = []

    @invariant()
    def it_is_bounded(self) -> None:
        assert self.spool.size <= 6000

    @invariant()
    def each_item_is_accounted_for(self) -> None:
        assert self.spool.waiting("traces") == (
            sum(self.waiting.values()) + self.again - self.lost["queue_full"]
        )
        assert not self.lost["internal_error"]

    def teardown(self) -> None:
        left = self.spool.waiting("traces")
        came = drain(self.spool)
        assert len(set(came)) == len(came)
        assert set(came) <= set(self.waiting) | self.repeats
        assert sum(1 + number % 4 for number in came) == left
        self.spool.close()
        assert not list(self.folder.rglob("traces*"))
        shutil.rmtree(self.folder)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=50, stateful_step_count=25, deadline=None)
