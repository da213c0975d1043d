"""One bad frame costs one frame, whatever is bad about it."""

import struct
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanrun.telemetry.queue.frame import (
    HEADER,
    MAGIC,
    MAX_PAYLOAD,
    Frame,
    encode,
    later_version,
)
from spanrun.telemetry.queue.scan import Damage, Extent, Found, Read
from spanrun.telemetry.queue.scan import extent as extent_of
from spanrun.telemetry.queue.scan import scan as scan_of

payloads = st.one_of(
    st.binary(max_size=60),
    # A payload that holds what looks like the beginning of a frame.
    st.binary(max_size=20).map(lambda tail: tail + MAGIC + tail),
)
frames = st.builds(
    Frame,
    signal=st.sampled_from(["traces", "metrics"]),
    keep=st.booleans(),
    items=st.integers(0, 1000),
    payload=payloads,
    order=st.integers(0, 2**64 - 1),
)


@pytest.fixture(autouse=True, params=[8, 1 << 16], ids=["small reads", "one read"])
def _window(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it holds wherever a read ends."""
    monkeypatch.setattr("spanrun.telemetry.queue.scan._WINDOW", request.param)
    monkeypatch.setattr("spanrun.telemetry.queue.scan._PROBE", request.param)


def in_memory(data: bytes) -> Read:
    return lambda at, size: data[at : at + size]


def scan(data: bytes) -> Iterator[Found | Damage]:
    return scan_of(in_memory(data), 0, len(data))


def extent(data: bytes) -> Extent | None:
    return extent_of(in_memory(data), len(data))


def write(written: list[Frame]) -> tuple[bytes, list[int]]:
    """The file, and where each frame ends in it."""
    data, ends, before = b"", [], 0
    for frame in written:
        data += encode(frame, before)
        before += frame.items
        ends.append(len(data))
    return data, ends


def same(one: Frame, other: Frame) -> bool:
    fields = ("signal", "keep", "items", "payload", "order")
    return all(getattr(one, f) == getattr(other, f) for f in fields)


def intact(data: bytes) -> list[Frame]:
    return [piece.frame for piece in scan(data) if isinstance(piece, Found)]


def lost_items(data: bytes, total: int) -> int:
    """Items that a reader knows to be lost, as the spool counts them."""
    position = lost = 0
    for piece in scan(data):
        if isinstance(piece, Found):
            lost += piece.before - position
            position = piece.before + piece.frame.items
        elif piece.after is not None:
            lost += piece.after - position
            position = piece.after
    assert position <= total
    return lost


@given(st.lists(frames, max_size=6))
def test_what_was_written_is_read_back(written: list[Frame]):
    data, _ = write(written)
    read = intact(data)
    assert len(read) == len(written)
    assert all(map(same, read, written))


@given(st.lists(frames, min_size=1, max_size=6), st.data())
@settings(max_examples=150)
def test_flipped_bytes_cost_the_touched_frames_alone(written, data):
    clean, ends = write(written)
    dirty = bytearray(clean)
    spots = data.draw(
        st.lists(st.integers(0, len(clean) - 1), min_size=1, max_size=3, unique=True)
    )
    for spot in spots:
        dirty[spot] ^= data.draw(st.integers(1, 255))
    starts = [0, *ends[:-1]]
    kept = [
        frame
        for frame, start, end in zip(written, starts, ends, strict=True)
        if not any(start <= spot < end for spot in spots)
    ]
    read = intact(bytes(dirty))
    assert len(read) == len(kept)
    assert all(map(same, read, kept))


@given(st.lists(frames, min_size=1, max_size=6), st.data())
def test_a_torn_tail_costs_the_last_frame_alone(written, data):
    clean, ends = write(written)
    cut = data.draw(st.integers(0, len(clean)))
    read = intact(clean[:cut])
    assert len(read) == sum(end <= cut for end in ends)


@given(st.lists(frames, max_size=4), st.binary(max_size=50), st.data())
def test_the_pieces_leave_no_byte_out(written, junk, data):
    clean, _ = write(written)
    cut = data.draw(st.integers(0, len(clean)))
    dirty = clean[:cut] + junk + clean[cut:]
    at = 0
    for piece in scan(dirty):
        assert piece.start == at < piece.end
        at = piece.end
    assert at == len(dirty)


@given(st.lists(frames, min_size=2, max_size=6), st.data())
def test_items_of_a_destroyed_header_are_known_from_the_next_one(written, data):
    clean, ends = write(written)
    victim = data.draw(st.integers(0, len(written) - 2))
    start = ends[victim - 1] if victim else 0
    dirty = clean[:start] + bytes(HEADER) + clean[start + HEADER :]
    total = sum(frame.items for frame in written)
    assert lost_items(dirty, total) == written[victim].items


@given(st.lists(frames, min_size=1, max_size=6))
def test_the_headers_alone_tell_how_many_items_there_are(written):
    data, _ = write(written)
    found = extent(data)
    assert found is not None
    assert (found.first, found.last) == (0, sum(frame.items for frame in written))


@given(st.binary(max_size=200))
def test_noise_holds_no_frames_and_no_items(noise):
    assert intact(noise) == []
    assert extent(noise) is None


def test_a_frame_cut_short_does_not_hide_the_frame_written_behind_it():
    # A full disk cuts a write short; later there is room again.
    one = encode(Frame("traces", b"x" * 500, 3), 0)
    two = encode(Frame("traces", b"y" * 50, 4), 3)
    pieces = list(scan(one[:300] + two))
    assert isinstance(pieces[0], Damage)
    assert pieces[0].after == 3
    assert isinstance(pieces[1], Found)
    assert pieces[1].frame.payload == b"y" * 50
    found = extent(one[:300] + two)
    assert found is not None
    assert found.last == 7


def test_a_version_from_the_future_is_passed_over_not_misread():
    data = bytearray(encode(Frame("traces", b"x", 1), 0))
    data[4] = 9
    data[36:40] = struct.pack("<I", zlib.crc32(bytes(data[:36])))
    good = encode(Frame("traces", b"good", 1), 1)
    assert [frame.payload for frame in intact(bytes(data) + good)] == [b"good"]


def test_a_payload_over_the_limit_is_refused():
    class Long(bytes):
        def __len__(self) -> int:
            return MAX_PAYLOAD + 1

    with pytest.raises(ValueError, match="at most"):
        encode(Frame("traces", Long(), 1), 0)


def test_a_later_version_is_told_from_a_bit_that_flipped():
    data = bytearray(encode(Frame("traces", b"x", 1), 0))
    assert later_version(data) == 0
    data[4] = 2
    assert later_version(data) == 0
    data[36:40] = struct.pack("<I", zlib.crc32(bytes(data[:36])))
    assert later_version(data) == 2
    assert later_version(data[:5]) == 2  # whatever its header looks like
    assert later_version(data[:4]) == later_version(b"") == 0


def test_a_file_that_is_longer_than_memory_is_read_in_pieces(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("spanrun.telemetry.queue.scan._WINDOW", 1 << 16)
    monkeypatch.setattr("spanrun.telemetry.queue.scan._PROBE", 1 << 12)
    good = encode(Frame("traces", b"good", 3), 0)
    asked: list[int] = []

    def read(at: int, size: int) -> bytes:
        asked.append(size)
        if at < len(good):
            return good[at : at + size].ljust(size, b"\0")
        return bytes(size)

    pieces = list(scan_of(read, 0, 64 << 20))
    assert [type(piece) for piece in pieces] == [Found, Damage]
    assert extent_of(read, 1 << 20) == Extent(0, 3)
    assert max(asked) <= 1 << 16


def test_headers_that_promise_much_do_not_cost_it_each_time(
    monkeypatch: pytest.MonkeyPatch,
):
    claims = [
        encode(Frame("traces", b"x" * 5000, 1), number)[:HEADER] for number in range(40)
    ]
    seen: list[int] = []
    monkeypatch.setattr("spanrun.telemetry.queue.scan._WASTE", 10_000)
    monkeypatch.setattr(
        "spanrun.telemetry.queue.scan.checksum", lambda data: seen.append(len(data))
    )
    pieces = list(scan(b"".join(claims).ljust(6000 + 40 * HEADER, b"y")))
    assert [piece.after for piece in pieces if isinstance(piece, Damage)] == [
        *range(1, 41)
    ]
    assert seen == [5000] * 3
