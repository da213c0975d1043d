"""Events, packed for the disk, and read again.

There are few: a batch of them is JSON, compressed, so that a burst of retries is one
statement for the file and not thousands.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any, Final

from spanrun.telemetry.observe import RunEvent
from spanrun.telemetry.recordings.columns import Content, blob
from spanrun.telemetry.redact import redact

MAX_STACK: Final = 8 * 1024
"""Characters of a stack: of a longer one the innermost frames, which come last."""
MAX_TEXT: Final = 1024
"""Characters of each text in an event's value."""


def pack_events(events: Sequence[RunEvent]) -> bytes:
    """Pack events; texts are redacted here, and cut.

    Raises:
        TypeError: A value is nothing that JSON has.
        ValueError: The same.
    """
    rows = [
        (
            event.time_ns,
            event.kind,
            event.run,
            event.index,
            {name: _bounded(value) for name, value in event.value.items()},
            None if event.stack is None else redact(_innermost(event.stack)),
        )
        for event in events
    ]
    return blob(json.dumps(rows).encode())


def _innermost(stack: str) -> str:
    """Its last lines, whole: a secret that is cut would not be found any more."""
    if len(stack) <= MAX_STACK:
        return stack
    return stack[-MAX_STACK:].partition("\n")[2]


def _bounded(value: Any) -> Any:
    return redact(value)[:MAX_TEXT] if isinstance(value, str) else value


def events_of(rows: bytes) -> Iterator[RunEvent]:
    """The events of a batch, in the order in which they came.

    Raises:
        ValueError: The batch is damaged.
        TypeError: The same.
        zlib.error: The same.
        struct.error: The same.
    """
    found: list[Any] = [RunEvent(*row) for row in json.loads(Content(rows).rest())]
    if not all(_is_event(event) and _is_told(*event[1:5:3]) for event in found):
        raise TypeError("it has no events in it")
    return iter(found)


def _is_event(event: Any) -> bool:
    kinds: tuple[Any, ...] = (int, str, str | None, int | None, dict, str | None)
    return all(map(isinstance, event, kinds))


def _is_told(kind: str, value: Mapping[str, Any]) -> bool:
    """Whether a reader finds in it what belongs to its kind."""
    needed = {"seconds"} if kind == "blocked" else set[str]()
    if "function" in value:
        needed |= {"file", "line"}
    texts = all(isinstance(value.get(name, ""), str) for name in ("function", "file"))
    # Some instructions are of no line, and stores of before may say so.
    numbers = value.get("seconds", 0), value.get("line") or 0, value.get("limit", 0)
    return texts and needed <= value.keys() and all(map(_is_number, numbers))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and isfinite(value)
