"""Whatever is in a spool folder under whatever name: it costs itself alone."""

import contextlib
import errno
import os
import shutil
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spanrun.telemetry.queue import files
from spanrun.telemetry.queue.frame import Frame
from spanrun.telemetry.queue.inspection import inspect_spool
from spanrun.telemetry.queue.message import Message
from spanrun.telemetry.queue.spool import Spool

LIMIT = 1 << 20
Make = Callable[[Path], Any]


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


def messages(*numbers: int) -> list[Message]:
    return [Message(Frame("traces", b"%d" % n, 1, order=n)) for n in numbers]


def leave(root: Path, *numbers: int) -> Path:
    """What a dead process left, and its folder; a segment for each number."""
    spool = Spool(root, lambda *_: None, segment_bytes=1)
    spool.append(messages(*numbers))
    (writer,) = spool._writers()
    writer.abandon()
    return writer.path


def drain(spool: Spool) -> list[int]:
    came: list[int] = []
    for recovered in (True, False):
        assert not spool.peek("metrics", LIMIT, recovered=recovered)
        while found := spool.peek("traces", LIMIT, recovered=recovered):
            spool.ack(found)
            came += [int(message.frame.payload) for message in found]
    return came


def a_socket(path: Path) -> None:
    os.mknod(path, stat.S_IFSOCK | 0o600)


def a_full_folder(path: Path) -> None:
    path.mkdir()
    (path / "inside").write_text("x")


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(3 << 30)


ODD: dict[str, Make] = {
    "a FIFO": os.mkfifo,
    "a folder": Path.mkdir,
    "a folder with something in it": a_full_folder,
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a socket": a_socket,
    "3 GB of nothing": huge,
}

NAMES = [
    "traces.00000009",
    "metrics-keep.00000001",
    "traces." + "9" * 20,
    "traces." + "9" * 200,
    "traces.9",
    "traces.-0000001",
    "traces.00000000",
    "traces.\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668",
    "traces-keep.",
    "profiles.00000001",
    "\udcff\n\x1b[31m",
    ".nfs0001",
]


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_file_costs_itself_alone(
    root: Path, lost: Losses, odd: str, caplog: pytest.LogCaptureFixture
):
    folder = leave(root, 1, 2, 3)
    for name in NAMES:
        ODD[odd](folder / name)
    spool = Spool(root, lost)
    assert spool.recover() == 3
    assert drain(spool) == [1, 2, 3]
    assert not folder.exists()
    assert not lost
    told = len(caplog.records)
    assert told <= 6  # five in full, and how many more
    assert spool.recover() == 0
    assert len(caplog.records) == told
    spool.close()


@pytest.mark.parametrize("name", NAMES)
def test_an_odd_name_costs_itself_alone(root: Path, lost: Losses, name: str):
    folder = leave(root, 1, 2)
    (folder / name).write_bytes(b"no frame")
    spool = Spool(root, lost)
    assert spool.recover() == 2
    assert drain(spool) == [1, 2]
    assert not folder.exists()
    spool.close()


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_file_in_the_midst_costs_itself_alone(
    root: Path, lost: Losses, odd: str
):
    folder = leave(root, 1, 2, 3)
    (folder / "traces.00000002").unlink()
    ODD[odd](folder / "traces.00000002")
    spool = Spool(root, lost)
    spool.recover()
    assert drain(spool) == [1, 3]
    assert not folder.exists()
    spool.close()


@pytest.mark.parametrize("odd", ODD)
def test_what_becomes_odd_while_it_is_read_is_counted(
    root: Path, lost: Losses, odd: str
):
    folder = leave(root, 1, 2, 3)
    spool = Spool(root, lost)
    assert spool.recover() == 3
    (folder / "traces.00000002").unlink()
    ODD[odd](folder / "traces.00000002")
    assert drain(spool) == [1, 3]
    assert lost == {"internal_error": 1}
    assert not folder.exists()
    spool.close()


@pytest.mark.parametrize("odd", ODD)
def test_without_its_acknowledgements_a_folder_is_sent_again(
    root: Path, lost: Losses, odd: str
):
    folder = leave(root, 1, 2, 3)
    (folder / "ack").unlink(missing_ok=True)
    ODD[odd](folder / "ack")
    spool = Spool(root, lost)
    assert spool.recover() == 3
    assert drain(spool) == [1, 2, 3]
    assert not folder.exists()
    spool.close()


@pytest.mark.parametrize("odd", [*(name for name in ODD if name[0] != "3"), "none"])
def test_a_folder_whose_lock_is_odd_is_left_and_said_once(
    root: Path, lost: Losses, odd: str, caplog: pytest.LogCaptureFixture
):
    folder = leave(root, 1)
    (folder / "lock").unlink()
    if odd != "none":
        ODD[odd](folder / "lock")
    leave(root, 2)
    spool = Spool(root, lost)
    for _ in range(3):
        spool.recover()
    assert drain(spool) == [2]
    (record,) = caplog.records
    assert repr(str(folder)) in record.getMessage()
    assert "can't be taken over" in record.getMessage()
    spool.close()
    assert (folder / "traces.00000001").exists()
    (found,) = inspect_spool(root).writers
    assert found.trouble.startswith("lock: ")


def test_a_huge_lock_is_not_read(root: Path, lost: Losses):
    folder = leave(root, 1)
    huge(folder / "lock")
    spool = Spool(root, lost)
    spool.recover()
    assert drain(spool) == [1]
    spool.close()
    assert not root.exists()


@pytest.mark.parametrize("odd", ODD)
def test_a_writers_folder_that_is_none_is_passed_over(
    root: Path, lost: Losses, odd: str
):
    leave(root, 1)
    if odd != "a folder":
        ODD[odd](root / "w-1-odd")
    (root / "w-2-empty").mkdir()
    (root / "w-\n\udcff").mkdir()
    spool = Spool(root, lost)
    assert spool.recover() == 1
    assert drain(spool) == [1]
    spool.close()
    assert [
        writer.items for writer in inspect_spool(root).writers if writer.items
    ] == []


def test_a_link_to_a_folder_of_another_spool_is_not_followed(
    root: Path, lost: Losses, tmp_path: Path
):
    elsewhere = leave(tmp_path / "elsewhere", 1)
    root.mkdir()
    (root / elsewhere.name).symlink_to(elsewhere)
    spool = Spool(root, lost)
    assert spool.recover() == 0
    spool.close()
    assert (elsewhere / "traces.00000001").exists()
    assert inspect_spool(root).writers == ()


def test_an_own_folder_that_becomes_a_link_is_left(
    root: Path, lost: Losses, tmp_path: Path
):
    spool = Spool(root, lost)
    spool.append(messages(1))
    (writer,) = spool._writers()
    writer.path.rename(tmp_path / "elsewhere")
    writer.path.symlink_to(tmp_path / "elsewhere")
    spool.append(messages(2))
    assert lost == {"internal_error": 1}
    assert drain(spool) == [2]
    assert len(list((tmp_path / "elsewhere").glob("traces.*"))) == 1
    spool.close()


def test_a_name_that_is_taken_keeps_nobody_from_writing(root: Path, lost: Losses):
    spool = Spool(root, lost, segment_bytes=1)
    spool.append(messages(1))
    (writer,) = spool._writers()
    os.mkfifo(writer.path / "traces.00000002")
    (writer.path / "traces.00000003").mkdir()
    spool.append(messages(2, 3))
    assert drain(spool) == [1, 2, 3]
    spool.close()
    spool = Spool(root, lost)
    spool.recover()
    spool.close()
    assert not list(root.glob("w-*"))
    assert not lost


@pytest.mark.parametrize("odd", [name for name in ODD if name[0] != "3"])
def test_a_spool_that_is_no_folder_is_an_error_and_no_end(
    root: Path, lost: Losses, odd: str
):
    if not odd.startswith("a folder"):
        ODD[odd](root)
        spool = Spool(root, lost)
        assert spool.recover() == 0
        one = messages(1)
        with pytest.raises(OSError, match=str(root)):
            spool.append(one)
        assert (one[0].location, one[0].done) == (None, False)
        spool.quarantine(one, "400")
        spool.close()


def test_a_spool_that_is_a_link_is_the_users_wish(
    root: Path, lost: Losses, tmp_path: Path
):
    (tmp_path / "disk").mkdir()
    root.symlink_to(tmp_path / "disk")
    leave(root, 1)
    spool = Spool(root, lost)
    assert spool.recover() == 1
    assert drain(spool) == [1]
    spool.close()


@pytest.mark.parametrize("odd", [name for name in ODD if name != "a folder"])
def test_a_quarantine_that_is_no_folder_is_done_without(
    root: Path, lost: Losses, odd: str, tmp_path: Path
):
    folder = leave(root, 1)
    if odd == "a folder with something in it":
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "1-x-aa.frames").write_bytes(b"somebody's")
        (root / "quarantine").symlink_to(tmp_path / "elsewhere")
    else:
        ODD[odd](root / "quarantine")
    os.mkfifo(folder / "odd")
    spool = Spool(root, lost, max_bytes=1600)
    spool.quarantine(messages(7), "400")
    assert spool.recover() == 1
    assert drain(spool) == [1]
    assert spool.requeue() == 0
    spool.close()
    assert inspect_spool(root).quarantine == ()
    if (tmp_path / "elsewhere").exists():
        assert len(list((tmp_path / "elsewhere").iterdir())) == 1


@pytest.mark.parametrize("odd", ODD)
def test_odd_files_in_the_quarantine_are_passed_over(
    root: Path, lost: Losses, odd: str, caplog: pytest.LogCaptureFixture
):
    spool = Spool(root, lost)
    spool.quarantine(messages(7), "400")
    for name in ("1-400-aa.frames", f"{'9' * 100}-400-aa.frames", "odd.frames"):
        ODD[odd](root / "quarantine" / name)
    assert spool.requeue() == 1
    assert spool.requeue() == 0
    assert drain(spool) == [7]
    assert len(caplog.records) <= 3
    inspect_spool(root)
    spool.quarantine(messages(8), "400")
    spool.close()


@pytest.mark.slow
def test_thousands_of_folders_are_no_more_files_than_may_be_open(
    root: Path, lost: Losses
):
    script = """
import resource, sys
from pathlib import Path
from spanrun.telemetry.queue.spool import Spool
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
spool = Spool(Path(sys.argv[1]), print)
total = spool.recover()
came = 0
while spool.holds("traces", recovered=True):
    spool.recover()
    while found := spool.peek("traces", 1 << 20, recovered=True):
        spool.ack(found)
        came += len(found)
spool.close()
print(came)
"""
    for number in range(500):
        leave(root, number)
    done = subprocess.run(
        [sys.executable, "-c", script, str(root)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["500"]
    assert not root.exists()


def test_a_folder_that_vanishes_while_it_is_read_is_nothing(
    root: Path, lost: Losses, monkeypatch: pytest.MonkeyPatch, caplog: Any
):
    leave(root, 1)
    leave(root, 2)
    listdir = os.listdir

    def vanishing(path: Path) -> list[str]:
        found = listdir(path)
        if path != root and "lock" in found and list(root.glob("w-*"))[1:]:
            shutil.rmtree(path)
        return found

    spool = Spool(root, lost)
    monkeypatch.setattr("os.listdir", vanishing)
    assert spool.recover() == 1
    assert len(drain(spool)) == 1
    assert caplog.records == []
    spool.close()


def test_files_of_somebody_else_are_not_taken(root: Path, lost: Losses):
    if os.geteuid() != 0:
        pytest.skip("giving files away needs root")
    folder = leave(root, 1, 2)
    os.chown(folder / "traces.00000001", 12345, 12345)
    spool = Spool(root, lost)
    assert spool.recover() == 1
    assert drain(spool) == [2]
    (kept,) = (root / "quarantine").iterdir()
    assert "Belongs-to-user-12345" in kept.name
    assert spool.requeue() == 0
    spool.close()
    # Who owns the spool may put into it what they like.
    os.chown(root, 12345, 12345)
    spool = Spool(root, lost)
    assert spool.requeue() == 1
    assert drain(spool) == [1]
    spool.close()


@pytest.mark.parametrize("error", [errno.EACCES, errno.EROFS, errno.EIO])
def test_a_spool_that_cannot_be_listed_or_locked_is_said_once(
    root: Path,
    lost: Losses,
    error: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    leave(root, 1)

    def refused(*_: Any) -> Any:
        raise OSError(error, os.strerror(error))

    spool = Spool(root, lost)
    for what in ("os.listdir", "spanrun.telemetry.queue.files.open_file"):
        caplog.clear()
        with monkeypatch.context() as patched:
            patched.setattr(what, refused)
            for _ in range(3):
                assert spool.recover() == 0
        assert len(caplog.records) == 1
        assert os.strerror(error) in caplog.text
    spool.recover()
    assert drain(spool) == [1]
    spool.close()


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A spool on a file system that was mounted for reading."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a disk needs root")
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a disk here")
    leave(place / "spool", 1)
    again = ["mount", "-o", "remount,ro", str(place)]
    if subprocess.run(again, capture_output=True, check=False).returncode:
        subprocess.run(["umount", str(place)], check=True)
        pytest.skip("no right to mount a disk for reading")
    yield place / "spool"
    subprocess.run(["umount", str(place)], check=True)


def test_what_cannot_be_acknowledged_is_not_sent(
    read_only: Path, lost: Losses, caplog: pytest.LogCaptureFixture
):
    spool = Spool(read_only, lost)
    for _ in range(3):
        assert spool.recover() == 0
    assert len(caplog.records) == 1
    assert "Read-only file system" in caplog.text
    with pytest.raises(OSError, match="Read-only"):
        spool.append(messages(2))
    spool.close()
    assert inspect_spool(read_only).writers[0].items == {"traces": 1}


def _open_below(folder: Path) -> list[str]:
    """What this process has open in ``folder``."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile, by another thread
            found.append(str(link.readlink()))
    return [path for path in found if path.startswith(str(folder))]


def test_a_file_is_opened_without_waiting_and_closed_when_it_is_none(tmp_path: Path):
    for odd, make in ODD.items():
        path = tmp_path / "x" / odd
        path.parent.mkdir(exist_ok=True)
        make(path)
        if odd[0] == "3":
            os.close(files.open_file(path))
            continue
        for flags in (os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_CREAT):
            with pytest.raises(OSError, match=r".") as caught:
                files.open_file(path, flags)
            assert files.reason(caught.value) in {
                "Not a regular file",
                "Is a link",
                "No such file or directory",
            }
    assert not _open_below(tmp_path)
