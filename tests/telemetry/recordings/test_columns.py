"""Rows are put into columns and come back as they were."""

import random
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanrun.accelerator import WHY_NOT, core
from spanrun.telemetry.recordings import columns
from spanrun.telemetry.recordings.columns import Columns, Content, Table, blob


def packed(rows: bytes, width: int, used: int = 0) -> Table:
    table = Table()
    table.add(rows, width, used)
    return table


@given(
    width=st.integers(1, 12),
    data=st.lists(st.binary(min_size=12, max_size=12), min_size=1, max_size=40),
)
def test_rows_come_back(width: int, data: list[bytes]) -> None:
    rows = b"".join(row[:width] for row in data)
    table = Table()
    table.plain += b"ahead"
    table.add(rows, width)
    table.plain += b"behind"
    content = Content(table.blob())
    assert content.take(5) == b"ahead"
    read = Columns(content, len(data), width)
    assert content.rest() == b"behind"
    assert read.rows() == rows
    assert read.field(0, width) == rows


@pytest.mark.skipif(core is None, reason=f"nothing is compiled: {WHY_NOT}")
@given(
    width=st.integers(1, 9),
    used=st.integers(1, 9),
    data=st.lists(st.binary(min_size=9, max_size=9), min_size=1, max_size=40),
    times=st.sampled_from((1, 30)),
)
def test_both_sides_give_the_same(
    width: int, used: int, data: list[bytes], times: int
) -> None:
    assert core is not None
    rows = b"".join(row[:width] for row in data) * times
    given = rows, width, min(used, width)
    assert core.pack_rows(*given) == columns.pack_rows_in_python(*given)


def test_what_is_the_same_in_all_rows_is_kept_once() -> None:
    table = packed(b"abcabdabe", 3)
    assert table.plain == b"abc" + b"\0\0\1" + b"cde"
    assert not table.random


def test_what_is_random_is_not_compressed() -> None:
    noise = random.Random(5).randbytes(1_000)
    rows = b"".join(bytes((one, number % 7)) for number, one in enumerate(noise))
    table = packed(rows, 2)
    assert table.random == noise
    assert len(table.blob()) < 1_100
    assert Columns(Content(table.blob()), 1_000, 2).rows() == rows


def test_numbers_are_read_as_they_were_packed() -> None:
    row = struct.Struct("<Bqd")
    values = [(1, -5, 0.5), (2, 2**62, -1e300), (3, 0, 0.0)]
    rows = b"".join(row.pack(*each) for each in values)
    read = Columns(Content(packed(rows, row.size).blob()), 3, row.size)
    assert list(read.integers(0, "B")) == [1, 2, 3]
    assert list(read.integers(1, "q")) == [-5, 2**62, 0]
    assert list(read.doubles(9)) == [0.5, -1e300, 0.0]


def test_the_first_bytes_of_rows_can_be_packed_alone() -> None:
    content = Content(packed(b"ab-ac-ad-", 3, 2).blob())
    assert Columns(content, 3, 2).rows() == b"abacad"


@pytest.mark.parametrize("cut", [1, 3, 7])
def test_what_is_cut_off_is_refused(cut: int) -> None:
    plain = packed(b"abcabdabe", 3).plain
    with pytest.raises(ValueError, match="cut off"):
        Columns(Content(blob(plain[:-cut])), 3, 3)


def test_random_columns_that_are_cut_off_are_refused() -> None:
    noise = random.Random(5).randbytes(1_000)
    with pytest.raises(ValueError, match="cut off"):
        Columns(Content(packed(noise, 1).blob()[:-1]), 1_000, 1)


@pytest.mark.parametrize("count", [-1, 0, 1 << 31])
def test_as_many_rows_as_are_never_written_take_no_memory(count: int) -> None:
    with pytest.raises(ValueError, match="can't be"):
        Columns(Content(blob(bytes(100))), count, 4)


def test_a_blob_that_is_never_written_takes_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(columns, "MAX_BYTES", 1_000)
    with pytest.raises(ValueError, match="too large"):
        Content(blob(bytes(columns.MAX_BYTES + 1)))


@pytest.mark.parametrize("damage", [b"", b"\5\0\0", b"\5\0\0\0nonsense"])
def test_what_is_no_blob_is_refused(damage: bytes) -> None:
    with pytest.raises((ValueError, struct.error, zlib.error)):
        Content(damage)


def test_a_blob_that_is_cut_off_is_refused() -> None:
    with pytest.raises(ValueError, match="cut off"):
        Content(blob(b"some text")[:-2])
