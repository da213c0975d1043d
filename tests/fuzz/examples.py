"""How many examples there are, and what they are made of.

The same ones in each run; with ``SPANRUN_FUZZ=N``, N that are drawn anew.
"""

import gc
import json
import math
import os
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

_GIVEN = os.environ.get("SPANRUN_FUZZ", "")
EXAMPLES = int(_GIVEN or 25)

fuzz = settings(
    max_examples=EXAMPLES,
    derandomize=not _GIVEN,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


class Shown(bytes):
    """Bytes of which a failing test shows the beginning."""

    __slots__ = ()

    def __repr__(self) -> str:
        more = f" and {len(self) - 1000} more" if len(self) > 1000 else ""
        return f"{bytes(self[:1000])!r}{more}"


@contextmanager
def memory_below(mebibytes: float) -> Iterator[None]:
    """Fail where more than so much is allocated at once inside."""
    gc.collect()
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < mebibytes * 2**20, f"{peak / 2**20:.1f} MiB"


def nested(levels: int, *, objects: bool = False) -> bytes:
    """JSON that is nothing but depth."""
    opening, closing = (b'{"a":', b"}") if objects else (b"[", b"]")
    return opening * levels + b"0" + closing * levels


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([10**400, -1, 2**63, 0.0, -0.0, math.inf, -math.inf, math.nan]),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["\ud800", "\0", "x" * 5000, "\x1b[31m", "NaN", "AAAA"]),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
TINY = st.builds(
    lambda item, times: b"[" + b",".join([item] * (times // len(item))) + b"]",
    st.sampled_from([b"[]", b"{}", b"0", b'{"a":[]}', b"9" * 4299, b'""']),
    st.sampled_from([5000, 150_000]),
)


def one_in(number: int) -> st.SearchStrategy[bool]:
    """True so often; hypothesis likes the ends of a range, so it is in the middle."""
    return st.integers(0, 2 * number - 1).map(lambda drawn: drawn in {3, number})


NOISE = st.one_of(
    st.binary(max_size=60),
    TINY,
    st.builds(nested, st.sampled_from([90, 900, 100_000]), objects=st.booleans()),
    st.sampled_from([b"", b"null", b" " * 200_000, b'"', b"<html>", b"9" * 5000]),
    st.sampled_from(["utf-16", "utf-32", "utf-8-sig"]).map("[1]".encode),
)


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """``value`` with some of its parts replaced, removed or repeated."""
    for _ in range(draw(st.integers(0, 3))):
        value = _changed(draw, value)
    return value


def _changed(draw: st.DrawFn, value: Any) -> Any:
    if not value or not isinstance(value, dict | list) or draw(one_in(5)):
        return draw(JSON)
    if isinstance(value, list):
        at = draw(st.integers(0, len(value) - 1))
        how = draw(st.sampled_from(["change", "drop", "repeat"]))
        new = {
            "change": [_changed(draw, value[at])],
            "drop": [],
            "repeat": [value[at]] * 2,
        }
        return [*value[:at], *new[how], *value[at + 1 :]]
    key = draw(st.sampled_from(sorted(value)))
    rest = {name: each for name, each in value.items() if name != key}
    if draw(st.booleans()):
        return {**rest, key: _changed(draw, value[key])}
    return {**rest, draw(st.text(max_size=3)): value[key]}


@st.composite
def torn(draw: st.DrawFn, data: bytes) -> bytes:
    """``data`` with some bytes changed, cut out or put in."""
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        until = draw(st.integers(at, min(len(data), at + 9)))
        data = data[:at] + draw(st.binary(max_size=3)) + data[until:]
    return data


@st.composite
def bodies(draw: st.DrawFn, *good: Any) -> bytes:
    """Bodies like those of ``good`` answers, and some unlike any."""
    if draw(one_in(6)):
        return Shown(draw(NOISE))
    text = json.dumps(draw(changed(draw(st.sampled_from(good)))))
    if draw(one_in(6)):  # a large value in place of one
        text = text.replace("1", draw(NOISE).decode("latin-1"), 1)
    encoded = text.encode("utf-8", "replace")
    return Shown(draw(torn(encoded)) if draw(one_in(4)) else encoded)
