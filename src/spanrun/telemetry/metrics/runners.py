"""`Runners`: the open runners, by a bounded number of names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import RLock
from typing import Final, TypeAlias

from spanrun.telemetry.forks import tell_after_fork
from spanrun.telemetry.log import Log
from spanrun.telemetry.metrics.policies import Reading, Readings

_log: Final = Log(__name__)

MAX_NAMES: Final = 250
"""Names of runners that metrics tell apart. Each has 7 series of one metric, so names
alone don't reach the limit of 2,000 for a metric."""
_OTHER: Final = "_OTHER"


@dataclass(frozen=True, slots=True)
class Gauges:
    """What a runner is doing at this moment, in jobs.

    Attributes:
        limit: How many may run.
        running: How many do.
        queued: How many wait to.
        backing_off: How many wait for another attempt.
        stuck: How many were cancelled and don't end.
        queue_age: Seconds that the one has waited that waits longest.
        policies: What its policies say of themselves.
    """

    limit: int
    running: int
    queued: int
    backing_off: int
    stuck: int
    queue_age: float = 0.0
    policies: Readings = field(default_factory=dict[Reading, float])

    def __add__(self, other: Gauges) -> Gauges:
        return Gauges(
            self.limit + other.limit,
            self.running + other.running,
            self.queued + other.queued,
            self.backing_off + other.backing_off,
            self.stuck + other.stuck,
            max(self.queue_age, other.queue_age),
            added(self.policies, other.policies),
        )


def added(some: Readings, more: Readings) -> dict[Reading, float]:
    """The sums of both."""
    every = some.keys() | more.keys()
    return {each: some.get(each, 0) + more.get(each, 0) for each in every}


ReadGauges: TypeAlias = Callable[[], Gauges]


class Runners:
    """The open runners, and what those of each name do.

    Attributes:
        now: What they did at the last reading, by name.
        policies: What the policies of each name said then. Counts go on after a
            runner is closed.
    """

    def __init__(self) -> None:
        self.now: Mapping[str, Gauges] = {}
        self._names: Final[set[str]] = set()
        self._is_full = False
        self._open: Final[set[tuple[str, ReadGauges]]] = set()
        self._closed: Final[dict[str, Gauges]] = {}
        self.policies: Mapping[str, Readings] = {}
        self._ended: Final[dict[str, Readings]] = {}
        self._lock = RLock()  # the garbage collector may close a runner in it
        tell_after_fork(self)

    def name_of(self, runner: str) -> str:
        """Return the name that the metrics of a runner have: its own, or ``_OTHER``.

        That is decided before anything is made for a name: programs make names up.
        """
        if runner in self._names:
            return runner
        if len(self._names) < MAX_NAMES:
            self._names.add(runner)
            return runner
        if not self._is_full:
            self._is_full = True
            _log.warning(
                "metrics tell runners of %d names apart: others, such as %r, have the "
                "name %s there. Name a runner by its kind of work",
                *(MAX_NAMES, runner, _OTHER),
            )
        return _OTHER

    def open(self, name: str, gauges: ReadGauges) -> None:
        """Report what a runner does, from now on."""
        self._open.add((name, gauges))

    def close(self, name: str, gauges: ReadGauges) -> None:
        """Report what it does now once more, and then no more."""
        with self._lock:
            last = self._closed[name] = gauges()
            self._open.discard((name, gauges))
            counted = {
                each: value
                for each, value in last.policies.items()
                if each.metric.instrument == "counter"
            }
            if counted:
                self._ended[name] = added(self._ended.get(name, {}), counted)

    def read(self) -> Mapping[str, Gauges]:
        """Add up what the runners of each name do now."""
        now: dict[str, Gauges] = {}
        with self._lock:
            for name, gauges in tuple(self._open):
                known, more = now.get(name), gauges()
                now[name] = more if known is None else known + more
            policies = dict(self._ended)
            for name, each in now.items():
                policies[name] = added(policies.get(name, {}), each.policies)
            while self._closed:
                name, last = self._closed.popitem()
                now.setdefault(name, last)
                policies[name] = {**last.policies, **policies.get(name, {})}
        self.now, self.policies = now, policies
        return now

    def after_fork(self) -> None:
        """In the child: the runners that are open are its parent's."""
        self._open.clear()
        self._closed.clear()
        self._names.clear()
        self._ended.clear()
        self._lock = RLock()
