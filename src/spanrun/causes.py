"""Walks over the errors of others, which may be circles: each one once, and bounded."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final, cast

_MOST: Final = 1_000
"""Errors that are looked at: a class of error may make new ones without an end."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """Give ``error``, its ``__cause__``, the cause of that, and so on."""
    seen: set[int] = set()
    why: BaseException | None = error
    while why is not None and id(why) not in seen and len(seen) < _MOST:
        seen.add(id(why))
        yield why
        why = why.__cause__


def origins(error: BaseException) -> Iterator[BaseException]:
    """Give ``error`` and all that it was made of, in no order.

    That is its cause, what is in it if it is a group, and its arguments: httpcore
    has the error that it translates for an argument, not for a cause.
    """
    waiting = [error]
    seen: dict[int, BaseException] = {}  # kept alive: a freed id comes again
    while waiting and len(seen) < _MOST:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen[id(each)] = each
        yield each
        parts: list[object] = [each.__cause__, *each.args]
        if isinstance(each, BaseExceptionGroup):
            parts += cast("BaseExceptionGroup[BaseException]", each).exceptions
        waiting += [part for part in parts if isinstance(part, BaseException)]


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Give ``error`` or, if it is a group, the errors in it that are none."""
    return islice(_leaves(error), _MOST)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    waiting = [error]
    groups: dict[int, BaseException] = {}  # kept alive: a freed id comes again
    while waiting and len(groups) < _MOST:
        each = waiting.pop()
        if not isinstance(each, BaseExceptionGroup):
            yield each
            continue
        group = cast("BaseExceptionGroup[BaseException]", each)
        if id(group) not in groups:
            groups[id(group)] = group
            waiting.extend(reversed(group.exceptions))
