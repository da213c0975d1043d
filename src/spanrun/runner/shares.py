"""`shares`: what each of several workers may do, if all are to do what one may."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from spanrun.errors import ConfigurationError
from spanrun.policies.adaptive import AdaptiveLimit
from spanrun.policies.limit import Limit
from spanrun.runner.core import Policies


def shares(policies: Policies, workers: int) -> list[Policies]:
    """The ``policies`` of each worker.

    Slots are divided. For tokens and retries workers ask the driver; what a job has for
    itself, such as a `Timeout`, each worker has in full; a `Breaker` and a `Hedge` go
    by what the worker itself has seen.

    Raises:
        ConfigurationError: There are fewer slots than workers.

    Example:
        >>> [each.limit for each in shares(Policies(Limit(5)), 2)]
        [Limit(concurrency=3, ageing=1.0), Limit(concurrency=2, ageing=1.0)]
    """
    limits = _limits(policies.limit, workers)
    return [replace(policies, limit=limit) for limit in limits]


def _limits(
    limit: Limit | AdaptiveLimit, workers: int
) -> Sequence[Limit | AdaptiveLimit]:
    most = limit.concurrency if isinstance(limit, Limit) else limit.max
    if most < workers:
        raise ConfigurationError(
            f"Runner(limit={limit}): an engine of {workers} workers needs a limit of "
            f"{workers} or more, one slot for each: raise it, or take fewer workers"
        )
    if isinstance(limit, Limit):
        return [replace(limit, concurrency=n) for n in _parts(most, workers)]
    least = _parts(limit.min, workers)
    start = _parts(limit.start, workers)
    highest = _parts(limit.max, workers)
    return [
        replace(limit, min=max(1, low), start=max(1, begin), max=high)
        for low, begin, high in zip(least, start, highest, strict=True)
    ]


def _parts(whole: int, workers: int) -> list[int]:
    """``whole`` in as many parts as there are workers, the first ones larger by 1."""
    each, more = divmod(whole, workers)
    return [each + (place < more) for place in range(workers)]
