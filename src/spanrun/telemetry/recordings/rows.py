"""Rows of the store's file, checked as they are read: anybody may have written them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, cast

from spanrun.telemetry.recordings.records import Run, Session

_Types = tuple[type | tuple[type, ...], ...]
_NONE: Final = type(None)
_SESSION: Final[_Types] = (str, int, int, int, str, int)
_RUN: Final[_Types] = (
    str, str, str, (int, _NONE), (str, _NONE), int, (int, _NONE), int,
    (int, float), (int, float), int, (str, _NONE),
)  # fmt: skip


def session_of(row: Sequence[Any]) -> Session:
    """A session.

    Raises:
        TypeError: The row is damaged.
    """
    _check(row, _SESSION)
    return Session(*row)


def run_of(row: Sequence[Any]) -> Run:
    """A run.

    Raises:
        TypeError: The row is damaged.
        ValueError: The same.
    """
    _check(row, _RUN)
    if (policies := row[-1]) is not None and not are_policies(policies):
        raise ValueError(f"{policies!r:.80} are no policies")
    run = Run(*row)
    return replace(run, calls=bool(run.calls))


def _check(row: Sequence[Any], types: _Types) -> None:
    for value, kind in zip(row, types, strict=True):
        if not isinstance(value, kind):
            raise TypeError(f"{value!r:.80} is no value of its column")


def are_policies(text: object) -> bool:
    """Whether it is an object of JSON in which a fixed limit has a number."""
    try:
        policies: Any = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return False
    if not isinstance(policies, dict):
        return False
    limit: Any = cast("dict[str, Any]", policies).get("limit")
    if not isinstance(limit, dict):
        return True
    found = cast("dict[str, Any]", limit)
    return found.get("type") != "Limit" or isinstance(found.get("concurrency"), int)
