"""`Template`: encoded spans, with places that are filled in each time.

Of spans of one kind most bytes are the same. They are made once, by `SpanEncoder`,
from an example; the ids, times and numbers of each span go in between, in one call
of `struct`.
"""

from __future__ import annotations

# ruff: noqa: E741 -- the places of a template have no better names
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

from opentelemetry.trace import DEFAULT_TRACE_STATE, Link, SpanKind, TraceFlags

from spanrun.telemetry.span.wire import varint
from spanrun.telemetry.spans.encode import SpanEncoder
from spanrun.telemetry.spans.origin import Origin
from spanrun.telemetry.spans.recorded import Recorded

Place: TypeAlias = tuple[str, bytes]
"""The format of what can change, and the bytes of the example there."""

Encode: TypeAlias = Callable[..., bytes]

# What stands in an example: such as nothing else in a span is.
TRACE: Final = bytes.fromhex("a7f13c86d9e24b05b1c47e9d3a68f20c")
OWN: Final = bytes.fromhex("d3916be8f0475ac2")
ABOVE: Final = bytes.fromhex("8be4720dc95f31a6")
ATTEMPT: Final = bytes.fromhex("6fc82e04b1d97a35")
START: Final = 0x3DC6_91A7_58E2_0BF4
END: Final = 0x3DC6_91A7_6B14_93D8
INDEX: Final = 0x0ABC_DE37
MOST: Final = 1 << 28
"""An index below this fits into a varint of four bytes.

What needs less has zeros in front, as the wire format allows. So all are as long.
"""
SECONDS: Final = tuple(
    number / 0x1234_5679 for number in range(0x2DEB_A3C1, 0x2DEB_A3C8)
)

_TIMES: Final = (("Q", struct.pack("<Q", START)), ("Q", struct.pack("<Q", END)))
_NUMBERS: Final = (
    ("I", varint(INDEX)),
    *(("d", struct.pack("<d", seconds)) for seconds in SECONDS),
)
_INHERITED: Final = TraceFlags(TraceFlags.SAMPLED), DEFAULT_TRACE_STATE
_encoder: Final = SpanEncoder()


class Template:
    """Encodes what differs from an example in some places only, of fixed sizes.

    Args:
        example: An encoded message.
        places: What can change in it, in order.

    Attributes:
        pack: Takes the first of ``constants``, what is in the first place, the
            second constant, and so on; the last one ends it.
        constants: What stands between the places.
        text: The example.
        at: Where the places begin in it; -1 for one of no bytes.

    Raises:
        ValueError: The example doesn't have those bytes.

    Example:
        >>> template = Template(b"id=12345678;", [("8s", b"12345678")])
        >>> first, last = template.constants
        >>> template.pack(first, b"abcdefgh", last)
        b'id=abcdefgh;'
    """

    __slots__ = ("at", "constants", "pack", "text")

    def __init__(self, example: bytes, places: Iterable[Place]) -> None:
        constants: list[bytes] = []
        at: list[int] = []
        form, begin = "<", 0
        for code, value in places:
            end = example.index(value, begin)
            at.append(end if value else -1)
            constants.append(example[begin:end])
            form += f"{end - begin}s{code}"
            begin = end + len(value)
        constants.append(example[begin:])
        self.text: Final = example
        self.at: Final = tuple(at)
        self.constants: Final = tuple(constants)
        self.pack: Final = struct.Struct(f"{form}{len(constants[-1])}s").pack


def example(
    origin: Origin,
    own: bytes,
    above: bytes | None,
    name: str,
    links: Sequence[Link] = (),
    kind: SpanKind = SpanKind.INTERNAL,
    raw: dict[str, Any] | None = None,
) -> Recorded:
    """A span that has ended, to encode others after."""
    span = Recorded(
        *(origin, TRACE, own, above, _INHERITED, name, kind, START, raw or {}, links)
    )
    span.end_ns = END
    return span


def _encoded(example: Recorded) -> bytes:
    return _encoder.span(example, _raise)


def _raise(_: object, error: Exception) -> None:
    raise error


def child_template(example: Recorded) -> Template:
    """Of spans like ``example``: trace id, own and parent's id, and times.

    Args:
        example: One with `TRACE`, `OWN`, `ABOVE`, `START` and `END`.
    """
    places = (("16s", TRACE), ("8s", OWN), ("8s", ABOVE), *_TIMES)
    return Template(_encoded(example), places)


def child_encoder(template: Template) -> Encode:
    """Fills a `child_template`."""
    pack = template.pack
    a, b, c, d, e, f = template.constants

    def encode(
        trace: bytes, own: bytes, above: bytes, start_ns: int, end_ns: int
    ) -> bytes:
        return pack(a, trace, b, own, c, above, d, start_ns, e, end_ns, f)

    return encode


def job_template(job: Recorded, attempt: Recorded | None = None) -> Template:
    """Of jobs' spans like ``job``, and each one's only attempt behind it.

    In it are trace id, own and parent's id (none in a root), start and end, the index
    as a varint of four bytes read as a number, the seconds of the phases, and the
    attempt's trace id, own and parent's id, start and end.

    Args:
        job: An example with `TRACE`, `OWN`, maybe `ABOVE`, the times and numbers.
        attempt: An example below that one, with `ATTEMPT` as its id.
    """
    parent: Place = ("0s", b"") if job.above is None else ("8s", ABOVE)
    places = [("16s", TRACE), ("8s", OWN), parent, *_TIMES, *_NUMBERS]
    if attempt is None:
        return Template(_encoded(job), places)
    places += [("16s", TRACE), ("8s", ATTEMPT), ("8s", OWN), *_TIMES]
    return Template(_encoded(job) + _encoded(attempt), places)


def job_encoder(template: Template, *, attempt: bool) -> Encode:
    """Fills a `job_template`: each thing is given once.

    What it makes takes the attempt's id, start and end, whether there is one or not.
    """
    return _pair_encoder(template) if attempt else _job_encoder(template)


# fmt: off
def _job_encoder(template: Template) -> Encode:
    pack = template.pack
    a, b, c, d, e, f, g, h, i, j, k, l, m, n = template.constants

    def encode(
        trace: bytes, own: bytes, above: bytes, start_ns: int, end_ns: int, index: int,
        parts: tuple[float, ...], *_: object,
    ) -> bytes:
        q, r, s, t, u, v, w = parts
        return pack(
            a, trace, b, own, c, above, d, start_ns, e, end_ns, f, index,
            g, q, h, r, i, s, j, t, k, u, l, v, m, w, n,
        )

    return encode


def _pair_encoder(template: Template) -> Encode:
    pack = template.pack
    a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, x, y, z = template.constants

    def encode(
        trace: bytes, own: bytes, above: bytes, start_ns: int, end_ns: int, index: int,
        parts: tuple[float, ...], attempt: bytes, began_ns: int, over_ns: int,
    ) -> bytes:
        q, r, s, t, u, v, w = parts
        return pack(
            a, trace, b, own, c, above, d, start_ns, e, end_ns, f, index,
            g, q, h, r, i, s, j, t, k, u, l, v, m, w,
            n, trace, o, attempt, p, own, x, began_ns, y, over_ns, z,
        )

    return encode
