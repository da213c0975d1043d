"""What becomes of documents before they are sent."""

import copy
import datetime
import errno
import json
import tracemalloc
from array import array
from collections import UserList, deque
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from spanrun.clients import _solr_documents as documents
from spanrun.errors import ConfigurationError, StoreError


@pytest.mark.parametrize(
    ("value", "ready"),
    [
        (datetime.datetime(2025, 2, 18, 1, 2, 3), "2025-02-18T01:02:03Z"),  # noqa: DTZ001
        (datetime.datetime(25, 2, 18, 1, tzinfo=datetime.UTC), "0025-02-18T01:00:00Z"),
        (
            datetime.datetime(2025, 2, 18, 1, tzinfo=ZoneInfo("America/New_York")),
            "2025-02-18T06:00:00Z",
        ),
        (
            datetime.datetime(2025, 2, 18, 1, 2, 3, 45678, tzinfo=datetime.UTC),
            "2025-02-18T01:02:03.045Z",
        ),
        (datetime.date(2025, 2, 18), "2025-02-18T00:00:00Z"),
        (np.datetime64("2025-02-18T01:02:03.123456789"), "2025-02-18T01:02:03.123Z"),
        (np.datetime64("2025-02-18"), "2025-02-18T00:00:00Z"),
        (np.datetime64("NaT"), None),
        (np.array(["2025-02-18"], "datetime64[D]"), ["2025-02-18T00:00:00Z"]),
        (np.array([[1, 2], [3, 4]], np.int8), [[1, 2], [3, 4]]),
        (np.array([0.5, 1], np.float32), [0.5, 1.0]),
        (np.array(7), 7),
        (np.int64(7), 7),
        (np.bool_(True), True),  # noqa: FBT003
        (np.str_("b"), "b"),
        (np.bytes_(b"a"), "a"),
        (np.longdouble(0.5), 0.5),
        (b"\xc3\xa4", "ä"),
        (bytearray(b"a"), "a"),
        ([1, "a", b"a", (np.int8(1),)], [1, "a", "a", [1]]),
        ({"set": [b"a"]}, {"set": ["a"]}),
        ([{"id": b"a"}], [{"id": "a"}]),
        (None, None),
        (True, True),
    ],
)
def test_values_become_what_solr_takes(value: object, ready: object) -> None:
    given = [{"x": value}]
    before = copy.deepcopy(given)
    (document,) = documents.prepared(given)
    assert document == {"x": ready}
    assert type(document["x"]) is type(ready)
    assert repr(given) == repr(before)


def test_what_cannot_be_converted_names_its_place() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=14))
    for value in (b"\xff", datetime.datetime.min.replace(tzinfo=zone)):
        with pytest.raises(ConfigurationError, match=r"documents\[1\]\['x'\]: "):
            documents.prepared([{}, {"x": value}])


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), {1, 2}, object(), np.float64("-inf")]
)
def test_what_is_no_json_is_refused(value: object) -> None:
    (document,) = documents.prepared([{"x": [value]}])
    with pytest.raises(ConfigurationError, match="as JSON"):
        documents.encoded([document])


def test_what_refers_to_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(ConfigurationError, match=r"\['x'\]: .*recursion"):
        documents.prepared([{"x": loop}])


def test_json_is_the_same_whether_it_is_written_in_pieces_or_not() -> None:
    for data in (
        [],
        {},
        [{"a": 'x"\u2028', "b": [{"c": [0.1, 1]}, 2], "d": {}}],
        {"delete": ["a"]},
    ):
        assert json.loads(documents.encoded(data)) == data


def test_the_vectors_of_a_document_are_written_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Nothing else runs, in any thread, while `json.dumps` does.
    def noted(*args: Any, **kwargs: Any) -> str:
        pieces.append(dumps(*args, **kwargs))
        return pieces[-1]

    pieces: list[str] = []
    dumps = json.dumps
    monkeypatch.setattr(documents.json, "dumps", noted)
    chunk = {"id": "c", "embedding": [0.123456789] * 256}
    text = documents.encoded([{"id": "a", "_childDocuments_": [chunk] * 1000}])
    assert len(text) > 3_000_000
    assert max(map(len, pieces)) < 4_000


def test_a_large_body_waits_in_a_file() -> None:
    class Chunks(UserList[int]):
        def __getitem__(self, place: Any) -> Any:
            return {"id": self.data[place], "embedding": [0.123456789] * 256}

    chunks = Chunks(range(4000))
    (document,) = documents.prepared([{"id": "a", "chunks": chunks}])
    tracemalloc.start()
    try:
        with documents.body([document]) as body:
            _, most = tracemalloc.get_traced_memory()
            written = body.read()
    finally:
        tracemalloc.stop()
    assert len(written) > 12_000_000
    assert most < 8 * 2**20
    assert json.loads(written)[0]["chunks"] == list(chunks)


def test_any_sequence_is_a_list_and_what_is_in_it_becomes_what_solr_takes() -> None:
    values = deque([b"a", np.float32(0.5), {"n": (1, b"b")}])
    given = [{"x": values, "y": range(2), "z": array("f", [1.0]), "e": deque[int]()}]
    (written,) = json.loads(documents.encoded(documents.prepared(given)))
    ready = {"x": ["a", 0.5, {"n": [1, "b"]}], "y": [0, 1], "z": [1.0], "e": []}
    assert written == ready
    for wrong in (b"\xff", object(), float("nan")):
        unready = documents.prepared([{"x": deque([wrong])}])
        with pytest.raises(ConfigurationError, match="as JSON"):
            documents.encoded(unready)


def test_a_body_that_cannot_be_kept_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(documents.tempfile, "TemporaryFile", full)
    with pytest.raises(StoreError, match=r"No space left.*set TMPDIR") as raised:
        documents.body([{"text": "x" * 5 * 2**20}])
    assert raised.value.final


def test_only_what_comes_to_the_same_may_be_sent_twice() -> None:
    assert documents.can_be_repeated([{"id": "a", "n": [1, {"id": "b"}]}])
    assert not documents.can_be_repeated([{"id": "a"}, {"id": "b", "n": {"inc": 1}}])
    assert not documents.can_be_repeated([{"id": "a", "_version_": 7}])
