"""Encoded spans, packed for the disk, and read again.

`pack_spans` takes the bytes of a `Batch` as they are and decodes nothing. Spans of one
*shape*, which have the same length and the same fields in the same places, are rows
(see `columns`). What is random or grows in each of them is taken out of the rows first,
and kept once:

=========  ========================================================================
``traces``  16 bytes for each trace, so that one is found without unpacking anything
``ids``     8 bytes for each span, then for each parent that isn't among them
``heads``   the shapes, the names, and a row for each span: see `HEAD`
``bodies``  the rows of each shape, with zeros where ids and times stood
=========  ========================================================================

Heads and bodies become blobs, ids are random and stay as they are. The heads alone say
which traces there are.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, compress
from operator import itemgetter
from typing import Any, Final, NamedTuple

from spanrun.accelerator import core
from spanrun.telemetry.recordings.columns import MAX_BYTES, Columns, Content, Table
from spanrun.telemetry.recordings.records import Trace, made
from spanrun.telemetry.span import ERROR, ROOT

HEAD: Final = struct.Struct("<iiQQIIB")
"""Its trace, less that of the row before; its parent's place among the ids, less its
own (0: it has none); start and duration in nanoseconds; its shape; its name; flags."""
SHAPE: Final = struct.Struct("<5I")
"""Bytes, spans, and where the trace id, the parent's id and the start are (0: none)."""
COUNTS: Final = struct.Struct("<3I")
HEADER: Final = struct.Struct("<16sQIB3x")
"""Beside each span of a batch: trace, nanoseconds, bytes of the field, flags."""
_id: Final = struct.Struct("<Q")
_times: Final = struct.Struct("<QBQ")
_size: Final = struct.Struct("<I")
_BEHIND_TRACE: Final = 18  # from the trace id to the span id
_END: Final = 9  # from the start to the end
_NO_ID: Final = bytes(8)
_IS_ROOT: Final = bytes(bool(flags & ROOT) for flags in range(256))


class Packed(NamedTuple):
    """What `pack_spans` makes of spans; the start of the first and the end of the last.

    Times are in nanoseconds since the Unix epoch; ``failed`` is how many have the
    status ERROR.
    """

    traces: bytes
    heads: bytes
    heads_random: bytes
    bodies: bytes
    bodies_random: bytes
    ids: bytes
    start: int
    end: int
    failed: int


class Places(NamedTuple):
    """Where in a span its ids and times stand, and its name."""

    trace: int
    parent: int
    start: int
    name: bytes


NOWHERE: Final = Places(0, 0, 0, b"")


def pack_spans_in_python(data: bytes, headers: bytes) -> Packed:
    """Pack ``data`` and ``headers`` as a `Batch` has them; at least one span."""
    traces: dict[bytes, int] = {}
    names: dict[bytes, int] = {}
    shapes: dict[tuple[int, Places], int] = {}
    rows: list[list[bytes]] = []
    ids: list[bytes] = []
    heads: list[tuple[int, int, int, int, int, int]] = []
    parents: list[bytes | None] = []
    at = 0
    for trace, duration, size, flags in HEADER.iter_unpack(headers):
        span = bytearray(data[at : at + size])
        at += size
        places = places_of(span, trace, duration)
        name = names.setdefault(places.name, len(names))
        start, own, parent = _take_out(span, places)
        shape = shapes.setdefault((size, places._replace(name=b"")), len(shapes))
        if shape == len(rows):
            rows.append([])
        rows[shape].append(bytes(span))
        ids.append(own)
        parents.append(parent)
        number = traces.setdefault(trace, len(traces))
        heads.append((number, start, duration, shape, name, flags))
    known = {own: number for number, own in enumerate(ids)}
    before, packed = 0, bytearray()
    for number, ((trace_number, *rest), parent) in enumerate(
        zip(heads, parents, strict=True)
    ):
        if parent is not None and parent not in known:
            known[parent] = len(ids)
            ids.append(parent)
        up = 0 if parent is None else known[parent] - number
        packed += HEAD.pack(trace_number - before, up, *rest)
        before = trace_number
    head, body = Table(), Table()
    head.plain += COUNTS.pack(len(heads), len(shapes), len(names))
    for (size, places), some in zip(shapes, rows, strict=True):
        head.plain += SHAPE.pack(size, len(some), *places[:3])
        body.add(b"".join(some), size)
    for told in names:
        head.plain += _size.pack(len(told)) + told
    head.add(packed, HEAD.size)
    return Packed(
        b"".join(traces),
        bytes(head.plain),
        bytes(head.random),
        bytes(body.plain),
        bytes(body.random),
        b"".join(ids),
        min(start for _, start, *_ in heads),
        max(start + duration for _, start, duration, *_ in heads),
        sum(flags & ERROR for *_, flags in heads),
    )


def places_of(span: bytearray, trace: bytes, duration: int) -> Places:
    """Where ids and times stand; `NOWHERE` if it isn't as our encoders write it."""
    try:
        at = _behind_varint(span, 1)
        found, parent, name = at + 2, 0, b""
        if not span.startswith(b"\x0a\x10" + trace + b"\x12\x08", at):
            return NOWHERE
        at += 28
        while (tag := span[at]) != 0x39:  # noqa: PLR2004 -- start_time_unix_nano
            if tag in (0x1A, 0x2A):  # trace_state, name
                begin = _behind_varint(span, at + 1)
                size = _varint(span, at + 1)
                if tag == 0x2A:  # noqa: PLR2004 -- name
                    name = bytes(span[begin : begin + size])
                at = begin + size
            elif tag == 0x22 and span[at + 1] == 8:  # noqa: PLR2004 -- parent_span_id
                parent = at + 2
                at += 10
            elif tag == 0x30:  # noqa: PLR2004 -- kind
                at = _behind_varint(span, at + 1)
            else:
                return NOWHERE
        start, tag, end = _times.unpack_from(span, at + 1)
        name = name or _name_behind(span, at + 18)
    except (IndexError, struct.error):
        return NOWHERE
    is_ours = tag == 0x41 and start + duration == end  # noqa: PLR2004 -- end_time
    return Places(found, parent, at + 1, name) if is_ours else NOWHERE


def _name_behind(span: bytearray, at: int) -> bytes:
    """The name, where it stands behind the times: the fallback's encoder does that."""
    while at < len(span):
        if span[at] == 0x30:  # noqa: PLR2004 -- kind
            at = _behind_varint(span, at + 1)
        elif span.startswith(b"\x85\x01", at):  # flags
            at += 6
        elif span[at] == 0x2A:  # noqa: PLR2004 -- name
            begin = _behind_varint(span, at + 1)
            return bytes(span[begin : begin + _varint(span, at + 1)])
        else:
            break
    return b""


def _take_out(span: bytearray, places: Places) -> tuple[int, bytes, bytes | None]:
    """Put zeros for ids and times; returns start, id and parent's id."""
    trace, parent, start, _ = places
    if not trace:
        return 0, _NO_ID, None
    own = bytes(span[trace + 18 : trace + 26])
    above = bytes(span[parent : parent + 8]) if parent else None
    (began,) = _id.unpack_from(span, start)
    span[trace : trace + 16] = bytes(16)
    span[trace + 18 : trace + 26] = _NO_ID
    if parent:
        span[parent : parent + 8] = _NO_ID
    span[start : start + 8] = span[start + _END : start + _END + 8] = _NO_ID
    return began, own, above


def _varint(span: bytearray, at: int) -> int:
    number = 0
    for place, byte in enumerate(span[at : at + 10]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:  # noqa: PLR2004 -- the last byte
            return number
    raise IndexError


def _behind_varint(span: bytearray, at: int) -> int:
    while span[at] >= 0x80:  # noqa: PLR2004 -- more follow
        at += 1
    return at + 1


pack_spans: Final[Callable[[bytes, bytes], tuple[Any, ...]]] = (
    pack_spans_in_python if core is None else core.pack_spans
)
"""The compiled version of `pack_spans_in_python`, if it was built; both do the same."""


class Heads:
    """What is known of packed spans without their bodies.

    Args:
        heads: The blob of them.
        traces: As `pack_spans` made them.

    Attributes:
        spans: How many there are.
        shapes: Of each shape what `SHAPE` says.

    Raises:
        ValueError: They are damaged.
        struct.error: The same.
    """

    def __init__(self, heads: bytes, traces: bytes) -> None:
        content = Content(heads)
        self.spans, shapes, names = COUNTS.unpack(content.take(COUNTS.size))
        told = content.take(SHAPE.size * shapes)
        self.shapes: Final = list(SHAPE.iter_unpack(told))
        if sum(size * count for size, count, *_ in self.shapes) > MAX_BYTES:
            raise ValueError("so many spans can't be")
        self._names: Final[list[str]] = []
        for _ in range(names):
            (size,) = _size.unpack(content.take(_size.size))
            self._names.append(content.take(size).decode("utf-8", "replace"))
        self._columns: Final = Columns(content, self.spans, HEAD.size)
        self._traces: Final = traces

    @property
    def flags(self) -> bytes:
        """Of each span."""
        return self._columns.field(HEAD.size - 1, 1)

    @property
    def starts(self) -> Sequence[int]:
        """Of each span, in nanoseconds since the Unix epoch."""
        return self._columns.integers(8, "Q")

    @property
    def durations(self) -> Sequence[int]:
        """Of each span, in nanoseconds."""
        return self._columns.integers(16, "Q")

    @property
    def shape_numbers(self) -> Sequence[int]:
        """Of each span the place of its shape."""
        return self._columns.integers(24, "I")

    @property
    def parents(self) -> list[int]:
        """Of each span its parent's place among the ids; its own: it has none."""
        above = self._columns.integers(4, "i")
        return [number + up for number, up in enumerate(above)]

    @property
    def trace_ids(self) -> list[bytes]:
        """Of each span."""
        numbers = accumulate(self._columns.integers(0, "i"))
        traces = self._traces
        return [traces[16 * number : 16 * number + 16] for number in numbers]

    def roots(self) -> Iterator[Trace]:
        """The local roots among the spans."""
        columns, flags = self._columns, self.flags
        rows = range(self.spans)
        places = list(compress(rows, flags.translate(_IS_ROOT)))
        if not places:
            return iter(())
        # One call of an itemgetter is the cheapest way to many items. Of one it gives
        # the item, so it is asked for the first once more.
        picked = itemgetter(places[0], *places)
        traces, names = self._traces.hex(" ", 16).split(), self._names
        numbers = picked(list(accumulate(columns.integers(0, "i"))))[1:]
        named = picked(columns.integers(28, "I"))[1:]
        lasted = picked(self.durations)[1:]
        return made(
            Trace,
            map(traces.__getitem__, numbers),
            map(names.__getitem__, named),
            picked(self.starts)[1:],
            [duration / 1e9 for duration in lasted],
            [flag & ERROR > 0 for flag in picked(flags)[1:]],
        )


def spans_of(
    heads: Heads, bodies: bytes, ids: bytes, trace: bytes | None = None
) -> bytes:
    """The spans, each as a field ``spans`` of OTLP's ``ScopeSpans``, in their order.

    Args:
        heads: Theirs.
        bodies: The blob of them.
        ids: As `pack_spans` made them.
        trace: Those of one trace alone.

    Raises:
        ValueError: They are damaged.
        LookupError: The same.
    """
    if len(ids) < 8 * heads.spans:
        raise ValueError("ids are missing")
    traces, numbers = heads.trace_ids, heads.shape_numbers
    members: list[list[int]] = [[] for _ in heads.shapes]
    for place, number in enumerate(numbers):
        members[number].append(place)
    wanted: dict[int, bytes] = {}
    parents, starts, durations = heads.parents, heads.starts, heads.durations
    content = Content(bodies)
    for (size, count, *places), rows in zip(heads.shapes, members, strict=True):
        columns = Columns(content, count, size)
        if trace is not None and not any(traces[row] == trace for row in rows):
            continue
        out = columns.rows()
        at_trace, at_parent, at_start = places
        if at_trace:
            own = (ids[8 * row : 8 * row + 8] for row in rows)
            _fill(out, size, at_trace, b"".join([traces[row] for row in rows]), 16)
            _fill(out, size, at_trace + 18, b"".join(own), 8)
            ends = (starts[row] + durations[row] for row in rows)
            began = struct.pack(f"<{count}Q", *[starts[row] for row in rows])
            _fill(out, size, at_start, began, 8)
            _fill(out, size, at_start + _END, struct.pack(f"<{count}Q", *ends), 8)
        if at_parent:
            above = (ids[8 * parents[row] : 8 * parents[row] + 8] for row in rows)
            _fill(out, size, at_parent, b"".join(above), 8)
        for number, row in enumerate(rows):
            if trace is None or traces[row] == trace:
                wanted[row] = bytes(out[size * number : size * number + size])
    return b"".join([wanted[row] for row in sorted(wanted)])


def _fill(out: bytearray, size: int, at: int, values: bytes, width: int) -> None:
    """Put ``width`` bytes into each row of ``out``, whose rows have ``size``."""
    for place in range(width):
        out[at + place :: size] = values[place::width]
