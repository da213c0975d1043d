"""What a checkpoint keeps of a result comes back as it was, or is refused."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spanrun as sr
from spanrun.errors import CheckpointError
from spanrun.runner.checkpoint.codec import Json

plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
single = plain | st.binary()
hashable = single | st.tuples(single, single) | st.frozensets(single)
values = st.recursive(
    single,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text(), inner)
        | st.dictionaries(hashable, inner)
        | st.sets(hashable)
    ),
    max_leaves=20,
)


def same(one, other):
    """Equal, of equal types all through, with NaN like NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, set | frozenset):
        return len(one) == len(other) and all(
            any(same(each, its) for its in other) for each in one
        )
    return one == other


@given(values)
def test_plain_values_come_back_as_they_were(value):
    codec = Json()
    data = codec.dumps(value)
    assert isinstance(data, str)
    json.loads(data)
    assert same(codec.loads(data), value)


@pytest.mark.parametrize(
    "value", [{"$tuple": [1]}, {"$": 1}, {"$tuple": [1], "a": 2}, {"a": {"$set": []}}]
)
def test_a_dict_that_looks_like_a_tag_stays_a_dict(value):
    codec = Json()
    assert codec.loads(codec.dumps(value)) == value


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.arange(6).reshape(2, 3).T,
        np.array(3.5),
        np.zeros((0, 4), np.int8),
        np.array([True, False]),
        np.array(["2026-01-01"], "datetime64[D]"),
    ],
)
def test_arrays_are_kept_as_their_bytes(array):
    codec = Json()
    data = codec.dumps(array)
    assert isinstance(data, bytes)
    assert array.tobytes() in data
    found = codec.loads(data)
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert (found == array).all()
    assert found.flags.writeable
    inside = codec.loads(codec.dumps({"vector": array, "norm": np.float32(2)}))
    assert (inside["vector"] == array).all()
    assert inside["norm"] == 2
    assert type(inside["norm"]) is np.float32


@given(st.lists(st.floats(), min_size=16))
def test_vectors_are_kept_as_their_bytes(vector):
    codec = Json()
    data = codec.dumps(vector)
    assert isinstance(data, bytes)
    assert len(data) == len("null\n") + 8 * len(vector)
    assert same(codec.loads(data), vector)


@pytest.mark.parametrize(
    "value", [object(), {"a": [1j]}, np.array([object()]), sr.Timings()]
)
def test_what_would_not_come_back_is_refused(value):
    with pytest.raises(TypeError, match="is not among the types"):
        Json().dumps(value)


async def unkeepable(item):
    return item or object()


async def unkeepable_list(items):
    return [object() for _ in items]


async def test_the_first_result_that_cant_be_kept_fails_and_names_the_codec(tmp_path):
    kept = sr.Checkpoint(tmp_path / "kept")
    async with sr.Runner("kept", limit=1) as runner:
        with pytest.raises(CheckpointError, match=r"give Checkpoint\(codec=…\)") as why:
            await runner.map(unkeepable, range(5), checkpoint=kept)
        assert why.value.reason == "codec"
        found = await runner.map(
            unkeepable, range(3), checkpoint=kept, errors="collect"
        )
    assert [type(each) for each in found] == [sr.Err, sr.Ok, sr.Ok]


async def test_a_batch_with_such_a_result_isnt_split(tmp_path):
    calls = []

    async def batch(items):
        calls.append(items)
        return [object() for _ in items]

    kept = sr.Checkpoint(tmp_path / "kept")
    async with sr.Runner("kept", limit=1) as runner:
        found = await runner.map_batches(
            batch, range(4), size=4, checkpoint=kept, errors="collect"
        )
    assert [type(each) for each in found] == [sr.Err] * 4
    assert len(calls) == 1


class Upper:
    """A codec of the user's."""

    def dumps(self, value):
        return value.name.encode()

    def loads(self, data):
        return Thing(data.decode())


class Thing:
    def __init__(self, name):
        self.name = name


async def thing(item):
    return Thing(item)


async def test_a_codec_of_the_users_own_writes_and_reads(tmp_path):
    kept = sr.Checkpoint(tmp_path / "kept", codec=Upper())
    for _ in range(2):
        async with sr.Runner("kept") as runner:
            found = await runner.map(thing, ["a", "b"], checkpoint=kept)
        assert [each.name for each in found] == ["a", "b"]
    async with sr.Runner("kept") as runner:
        with pytest.raises(CheckpointError, match=r"is written by .*Upper"):
            await runner.map(thing, ["a"], checkpoint=sr.Checkpoint(kept.path))
