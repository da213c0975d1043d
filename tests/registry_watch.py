"""Holds whatever any test captures against the registry, when its capture ends."""

import functools
from collections.abc import Iterator
from typing import Any

from spanrun.registry.read import (
    SCOPE,
    Problem,
    event_problems,
    point_problems,
    span_problems,
)
from spanrun.testing import Captured


def watch() -> None:
    """From now on a capture fails when it caught what isn't in the registry."""
    close = Captured.close
    if hasattr(close, "__wrapped__"):
        return

    @functools.wraps(close)
    def checked(captured: Captured) -> None:
        close(captured)
        found = list(problems(captured))
        assert not found, f"not as in instrumentation/registry: {found}"

    Captured.close = checked  # type: ignore[method-assign]


def problems(captured: Captured) -> Iterator[tuple[str, Problem]]:
    """What isn't as in the registry, and on which span or metric."""
    for span in tuple(captured._processor.ended):
        scope: Any = span.instrumentation_scope
        ours = scope is not None and scope.name == SCOPE
        about = span.name, span.kind.name.lower(), span.attributes or {}
        found = list(span_problems(*about, ours=ours))
        for event in span.events:
            found += event_problems(event.name, event.attributes or {}, ours=ours)
        yield from ((span.name, problem) for problem in found)
    for metric, points in (captured._last or {}).items():
        for point in points:
            for problem in point_problems(metric, point.attributes, ours=False):
                yield metric, problem
