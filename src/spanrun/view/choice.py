"""Which jobs go into a page, where there are more than it can bear."""

from __future__ import annotations

from array import array
from collections.abc import Container, Iterable
from heapq import nlargest
from typing import Final

from spanrun.telemetry.recordings.records import Job

MOST_JOBS: Final = 100_000


def choose(jobs: Iterable[Job], most: int = MOST_JOBS) -> tuple[int, Container[int]]:
    """Count ``jobs``, and choose ``most`` of them by their places.

    Half of them are those that aren't ok, the slowest first; then come the slowest, up
    to three quarters; the rest is spread evenly over all.

    Returns:
        How many there are, and the places of the chosen.
    """
    durations = array("d")
    bad = array("q")
    for place, job in enumerate(jobs):
        durations.append(job.duration)
        if job.outcome != "ok":
            bad.append(place)
    count = len(durations)
    if count <= most:
        return count, range(count)
    chosen = set(nlargest(most // 2, bad, key=durations.__getitem__))
    slow = nlargest(most * 3 // 4, range(count), key=durations.__getitem__)
    chosen.update(slow[: most * 3 // 4 - len(chosen)])
    others = [place for place in range(count) if place not in chosen]
    room = most - len(chosen)
    chosen.update(others[n * len(others) // room] for n in range(room))
    return count, chosen
