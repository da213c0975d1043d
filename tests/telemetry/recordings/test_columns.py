"""Rows are put into columns and come back as they were."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanrun.telemetry.recordings import columns
from spanrun.telemetry.recordings.columns import Columns, pack


@given(
    width=st.integers(1, 12),
    data=st.lists(st.binary(min_size=12, max_size=12), min_size=1, max_size=40),
)
def test_rows_come_back(width: int, data: list[bytes]) -> None:
    rows = b"".join(row[:width] for row in data)
    packed = b"ahead" + pack(rows, width) + b"behind"
    read = Columns(packed, 5, len(data), width)
    assert read.rows() == rows
    assert packed[read.end :] == b"behind"
    assert read.field(0, width) == rows


def test_what_is_the_same_in_all_rows_is_kept_once() -> None:
    assert pack(b"abcabdabe", 3) == b"abc" + b"\0\0\1" + b"cde"


def test_numbers_are_read_as_they_were_packed() -> None:
    row = struct.Struct("<Bqd")
    values = [(1, -5, 0.5), (2, 2**62, -1e300), (3, 0, 0.0)]
    rows = b"".join(row.pack(*each) for each in values)
    read = Columns(pack(rows, row.size), 0, 3, row.size)
    assert list(read.integers(0, "B")) == [1, 2, 3]
    assert list(read.integers(1, "q")) == [-5, 2**62, 0]
    assert list(read.doubles(9)) == [0.5, -1e300, 0.0]


def test_the_first_bytes_of_rows_can_be_packed_alone() -> None:
    packed = pack(b"ab-ac-ad-", 3, 2)
    assert Columns(packed, 0, 3, 2).rows() == b"abacad"


@pytest.mark.parametrize("cut", [1, 3, 7])
def test_what_is_cut_off_is_refused(cut: int) -> None:
    packed = pack(b"abcabdabe", 3)
    with pytest.raises(ValueError, match="cut off"):
        Columns(packed[:-cut], 0, 3, 3)


def test_more_than_is_ever_written_takes_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(columns, "MAX_BYTES", 1_000)
    with pytest.raises(ValueError, match="too many"):
        Columns(bytes(100), 0, 1 << 31, 4)
    bomb = zlib.compress(bytes(columns.MAX_BYTES + 1))
    with pytest.raises(ValueError, match="too large"):
        columns.unpacked(bomb)


def test_what_was_compressed_and_is_cut_off_is_refused() -> None:
    with pytest.raises(ValueError, match="cut off"):
        columns.unpacked(zlib.compress(b"some text")[:-2])
