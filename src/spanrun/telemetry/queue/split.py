"""Cut an encoded request in two, for a receiver that finds it too large."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from operator import attrgetter
from typing import Any, Final

from spanrun.telemetry.queue.contents import (
    SHAPES,
    data_of,
    decoded,
    points_of,
    scopes,
)
from spanrun.telemetry.queue.frame import Frame
from spanrun.telemetry.signals import Signal

_DELTA: Final = 1  # AGGREGATION_TEMPORALITY_DELTA


def halve(frame: Frame) -> tuple[Frame, Frame] | None:
    """The first half of the items in it, and the rest, each a request.

    Returns:
        None when there is one at most, or when the payload can't be read.
    """
    count = sum(map(len, _leaves(frame.signal, decoded(frame))))
    middle = count // 2
    if not middle:
        return None
    items = frame.items * middle // count
    first = _cut(frame, 0, middle)
    rest = _cut(frame, middle, count)
    return (
        replace(frame, payload=first, items=items),
        replace(frame, payload=rest, items=frame.items - items),
    )


def is_delta(frame: Frame) -> bool:
    """Whether there are metrics of delta temporality in it."""
    return frame.signal == "metrics" and any(
        getattr(data_of(metric), "aggregation_temporality", 0) == _DELTA
        for _, metrics in scopes("metrics", decoded(frame))
        for metric in metrics
    )


def _cut(frame: Frame, start: int, end: int) -> bytes:
    """The leaves ``start`` to ``end`` with all that stands above them."""
    request = decoded(frame)
    at = 0
    for leaves in _leaves(frame.signal, request):
        size = len(leaves)
        del leaves[max(0, min(size, end - at)) :]
        del leaves[: max(0, min(len(leaves), start - at))]
        at += size
    _prune(request, frame.signal)
    encoded: bytes = request.SerializeToString()
    return encoded


def _leaves(signal: Signal, request: Any) -> Iterator[Any]:
    """The lists of spans, of log records or of data points, in order."""
    for _, items in scopes(signal, request):
        if signal == "metrics":
            yield from map(points_of, items)
        else:
            yield items


def _prune(request: Any, signal: Signal) -> None:
    """Take off what has become empty."""
    _, resources, inside, items = SHAPES[signal]
    for resource in getattr(request, resources):
        for scope in getattr(resource, inside) if signal == "metrics" else ():
            _keep(scope.metrics, points_of)
        _keep(getattr(resource, inside), attrgetter(items))
    _keep(getattr(request, resources), attrgetter(inside))


def _keep(messages: Any, full: Callable[[Any], Any]) -> None:
    for place in range(len(messages) - 1, -1, -1):
        if not full(messages[place]):
            del messages[place]
