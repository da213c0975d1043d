"""Events, packed for the disk, and read again.

There are few: a batch of them is JSON, compressed, so that a burst of retries is one
statement for the file and not thousands.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
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
    for event in found:
        if type(event.time_ns) is not int or type(event.value) is not dict:
            raise TypeError("it has no events in it")
    return iter(found)
