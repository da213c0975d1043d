"""The items of ``spanrun run``: of a file, or of standard input as they come."""

from __future__ import annotations

import asyncio
import csv
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal, TextIO, TypeAlias

Format: TypeAlias = Literal["jsonl", "csv", "lines"]

STDIN: Final = "-"
_FORMATS: Final[dict[str, Format]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
}
_AHEAD: Final = 64
"""Items of standard input that are read before a job wants them."""


class BadItemError(Exception):
    """An item can't be read; says in which line and why."""


def format_of(name: str) -> Format:
    """By the end of a file's name; lines of text where that says nothing."""
    return _FORMATS.get(Path(name).suffix.lower(), "lines")


def items_of(file: TextIO, form: Format) -> Iterator[Any]:
    """The items in ``file``, one at a time: blank lines are none.

    Raises:
        BadItemError: In between, at the first one that can't be read.
    """
    try:
        if form == "csv":
            yield from csv.DictReader(file, strict=True)
        else:
            yield from _lines(file, is_json=form == "jsonl")
    except UnicodeDecodeError as error:
        raise BadItemError("it is no text in UTF-8") from error
    except csv.Error as error:
        raise BadItemError(f"it is no CSV: {error}") from error


def _lines(file: TextIO, *, is_json: bool) -> Iterator[Any]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            yield json.loads(line) if is_json else line.rstrip("\r\n")
        except (ValueError, RecursionError) as error:
            raise BadItemError(f"line {number} is no JSON: {error}") from error


async def as_they_come(items: Iterator[Any]) -> AsyncIterator[Any]:
    """The same, where waiting for the next one would block the event loop.

    A thread waits for it, which doesn't keep the process: nothing else breaks off
    the reading of a pipe.
    """
    queue: asyncio.Queue[tuple[Any, BaseException | None]] = asyncio.Queue(_AHEAD)
    loop = asyncio.get_running_loop()

    def put(item: Any, error: BaseException | None = None) -> None:
        asyncio.run_coroutine_threadsafe(queue.put((item, error)), loop).result()

    def read() -> None:
        # The loop may be closed: nobody wants the rest then.
        with suppress(RuntimeError, asyncio.CancelledError):
            try:
                for item in items:
                    put(item)
            except Exception as error:  # noqa: BLE001 -- raised below
                put(None, error)
            else:
                put(None, StopAsyncIteration())

    threading.Thread(target=read, name="spanrun-items", daemon=True).start()
    while True:
        item, error = await queue.get()
        if isinstance(error, StopAsyncIteration):
            return
        if error is not None:
            raise error
        yield item
