"""Whatever is in a spool folder: no crash, no hang, and each item accounted for.

``SPANRUN_FUZZ=N`` tries N folders of each kind, with other ones each time.
"""

import json
import os
import struct
import zlib
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.telemetry.export.receiver import points, spans

from spanrun.cli import spool_text
from spanrun.telemetry.queue.cursors import Cursor, save
from spanrun.telemetry.queue.frame import MAGIC, Frame, encode
from spanrun.telemetry.queue.inspection import inspect_spool
from spanrun.telemetry.queue.layout import KEYS, log_name
from spanrun.telemetry.queue.message import Message
from spanrun.telemetry.queue.spool import Spool
from spanrun.telemetry.signals import SIGNALS

EXAMPLES = int(os.environ.get("SPANRUN_FUZZ", "0"))
fuzz = settings(
    max_examples=EXAMPLES or 60, derandomize=not EXAMPLES, deadline=None, database=None
)

HEAD = struct.Struct("<4sBBBxIIQQI")
LIMIT = 300
ROUNDS = 2000  # requests of which there can't be so many: a frame has 40 bytes

numbers = st.integers(0, 2**64 - 1) | st.integers(0, 40)
payloads = st.one_of(
    st.integers(0, 9).map(lambda n: spans([n], "\x1b[31m")),
    st.integers(0, 9).map(lambda n: points([n])),
    st.binary(max_size=40),
    st.just(MAGIC * 3),
)
frames = st.builds(
    Frame,
    signal=st.sampled_from(SIGNALS),
    payload=payloads,
    items=st.integers(0, 9),
    keep=st.booleans(),
    order=numbers,
)


@st.composite
def sealed(draw: st.DrawFn) -> bytes:
    """A header that says anything, with the right CRC, and bytes behind it."""
    body = draw(payloads)
    head = HEAD.pack(
        MAGIC,
        draw(st.sampled_from([1, 1, 1, 2, 255])),
        draw(st.integers(0, 3)),
        draw(st.integers(0, 255)),
        draw(st.integers(0, 2**32 - 1) | st.integers(0, 9)),
        draw(st.integers(0, 2**32 - 1) | st.just(len(body))),
        draw(numbers),
        draw(numbers),
        draw(st.integers(0, 2**32 - 1) | st.just(zlib.crc32(body))),
    )
    return head + zlib.crc32(head).to_bytes(4, "little") + body


@st.composite
def segments(draw: st.DrawFn) -> bytes:
    """A segment as it is written, and what a disk or somebody makes of it."""
    data, before = b"", draw(st.integers(0, 9))
    for frame in draw(st.lists(frames, max_size=4)):
        data += encode(frame, before)
        before += frame.items
    for _ in range(draw(st.integers(0, 3))):
        at, end = sorted(draw(st.tuples(*[st.integers(0, len(data))] * 2)))
        match draw(st.sampled_from(["cut", "flip", "insert", "repeat", "zero"])):
            case "cut":
                data = data[:at] + data[end:]
            case "flip" if at < len(data):
                flipped = data[at] ^ draw(st.integers(1, 255))
                data = data[:at] + bytes([flipped]) + data[at + 1 :]
            case "insert":
                data = data[:at] + draw(st.binary(max_size=60) | sealed()) + data[at:]
            case "repeat":
                data = data[:end] + data[at:]
            case _:
                data = data[:at] + bytes(end - at) + data[end:]
    return data


contents = st.one_of(segments(), sealed(), st.binary(max_size=200))
logs = st.sampled_from([log_name(key) for key in KEYS])
odd_names = st.text(
    st.characters(exclude_characters="/\0"), min_size=1, max_size=60
).filter(lambda name: name not in {".", "..", "lock"})
names = st.one_of(
    st.builds("{}.{:08}".format, logs, st.integers(1, 2)),
    st.builds("{}.{:08}".format, logs, numbers),
    st.builds("{}.{}".format, logs, odd_names),
    odd_names,
)
cursors = st.tuples(
    st.integers(0, 2) | numbers,
    st.integers(0, 300) | numbers,
    st.integers(0, 9) | numbers,
)
acks = st.one_of(
    st.lists(cursors, min_size=len(KEYS), max_size=len(KEYS)), st.binary(max_size=1100)
)
kinds = st.sampled_from(["file"] * 8 + ["fifo", "folder", "link", "nowhere"])


def make(path: Path, kind: str, data: bytes) -> None:
    try:
        match kind:
            case "fifo":
                os.mkfifo(path)
            case "folder":
                path.mkdir()
            case "link":
                path.symlink_to("/dev/zero")
            case "nowhere":
                path.symlink_to("\x1b[31m")
            case _:
                with path.open("xb") as file:
                    file.write(data)
    except (OSError, UnicodeEncodeError):
        return  # no name for a file, or there is one


def acknowledge(folder: Path, ack: Any) -> None:
    if isinstance(ack, bytes):
        make(folder / "ack", "file", ack)
    else:
        save(folder, 1, [Cursor(*numbers) for numbers in ack])


def look(root: Path) -> None:
    """All that the commands tell about it."""
    found = inspect_spool(root)
    told = "\n".join(spool_text.status(found, 0.0))
    json.dumps(spool_text.status_json(found, 0.0))
    for refused in (False, True):
        shown = spool_text.Shown(found, 5, refused=refused)
        told += "\n".join(shown.as_text())
        json.dumps(shown.as_json())
    assert "\x1b" not in told


def deliver(spool: Spool) -> Counter[str]:
    """Send all of it, each frame once; the items by signal."""
    delivered: Counter[str] = Counter()
    seen: set[Any] = set()
    for signal in SIGNALS:
        for recovered in (True, False):
            for turn in range(ROUNDS):
                found = spool.peek(signal, LIMIT, recovered=recovered)
                if not found:
                    break
                for message in found:
                    assert message.location is not None
                    where = (message.location.log, message.location.key)
                    assert where not in seen
                    seen.add(where)
                    delivered[signal] += message.frame.items
                spool.ack(found[:: 1 if turn % 2 else -1])
            else:
                raise AssertionError("it does not end")
    return delivered


@fuzz
@given(st.lists(st.tuples(names, kinds, contents), max_size=6), acks, st.booleans())
def test_the_folder_of_a_dead_process(files: Any, ack: Any, limited: bool) -> None:  # noqa: FBT001
    with TemporaryDirectory() as place:
        root = Path(place) / "spool"
        folder = root / "w-1-a"
        folder.mkdir(parents=True)
        (folder / "lock").touch()
        acknowledge(folder, ack)
        for name, kind, data in files:
            make(folder / name, kind, data)
        look(root)
        lost: Counter[str] = Counter()

        def lose(signal: Any, items: int, reason: str) -> None:
            assert items > 0
            lost[signal] += items

        spool = Spool(root, lose, max_bytes=400 if limited else 1 << 20)
        recovered = spool.recover()
        assert recovered == sum(spool.recovered_items.values())
        if limited:
            frame = Frame("traces", b"of our own", 1)
            spool.append([Message(frame) for _ in range(5)])
        delivered = deliver(spool)
        spool.close()
        for signal in SIGNALS:
            own = 5 if limited and signal == "traces" else 0
            assert spool.waiting(signal) == 0
            assert (
                own + spool.recovered_items[signal] == delivered[signal] + lost[signal]
            )
        look(root)
        # What is left is of a later release, or was moved out of the way.
        again = Spool(root, lose)
        assert again.recover() == 0
        again.close()
        assert not list(root.glob("w-*")) or inspect_spool(root).writers[0].later


@fuzz
@given(st.lists(st.tuples(names, kinds), max_size=6))
def test_folders_of_any_name(folders: Any) -> None:
    with TemporaryDirectory() as place:
        root = Path(place) / "spool"
        gone = Spool(root, lambda *_: None)
        gone.append([Message(Frame("traces", spans([1]), 1))])
        gone.close()
        for name, kind in folders:
            make(root / f"w-{name}", kind, b"")
        look(root)
        spool = Spool(root, lambda *_: None)
        assert spool.recover() == 1
        assert deliver(spool) == {"traces": 1}
        spool.close()
        look(root)


@fuzz
@given(st.lists(st.tuples(names, kinds, contents), max_size=6), st.integers(0, 10**30))
def test_any_quarantine(files: Any, moment: int) -> None:
    with TemporaryDirectory() as place:
        root = Path(place) / "spool"
        folder = root / "quarantine"
        folder.mkdir(parents=True)
        for name, kind, data in files:
            make(folder / f"{moment}-{name}-aa.frames", kind, data)
            make(folder / f"{name}.frames", kind, data)
        look(root)
        lost: Counter[str] = Counter()

        def lose(signal: Any, items: int, reason: str) -> None:
            lost[signal] += items

        spool = Spool(root, lose, max_bytes=16_000)
        items = spool.requeue()
        delivered = deliver(spool)
        assert items == delivered.total() + lost.total()
        spool.quarantine([Message(Frame("traces", bytes(900), 1))], "400")
        kept = [
            path.stat().st_size
            for path in folder.glob("*.frames")
            if path.is_file() and not path.is_symlink()
        ]
        assert sum(kept) <= 1000
        spool.close()
        look(root)
