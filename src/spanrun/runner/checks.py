"""What a runner is given, checked: policies, observers, and a run's arguments."""

from __future__ import annotations

from random import Random
from typing import Final

from spanrun.checks import (
    above,
    each,
    flag,
    function,
    instance,
    offers,
    one_of,
    optional,
    plain,
    shown,
    whole,
)
from spanrun.clock import Clock
from spanrun.errors import ConfigurationError
from spanrun.policies.adaptive import AdaptiveLimit
from spanrun.policies.breaker import Breaker
from spanrun.policies.hedge import Hedge
from spanrun.policies.limit import Limit
from spanrun.policies.rate import RateLimit
from spanrun.policies.retry import Retry
from spanrun.policies.timeout import Timeout
from spanrun.runner.core import Policies
from spanrun.runner.engine import Engine
from spanrun.telemetry.observe import Observer

_CLOCK: Final = "a clock, such as spanrun.testing.FakeClock()"
_OBSERVERS: Final = "observers, such as [Progress()]"


def policies_of(
    limit: object,
    rate: object,
    retry: object,
    timeout: object,
    hedge: object,
    breaker: object,
    abandon_after: object,
) -> Policies:
    """The policies of a `Runner`; plain numbers become a `Limit` and a `Timeout`."""
    if not isinstance(limit, Limit | AdaptiveLimit):
        limit = Limit(whole("Runner", "limit", limit, 1))
    if timeout is not None and not isinstance(timeout, Timeout):
        timeout = Timeout(total=above("Runner", "timeout", timeout, 0))
    policy = optional(instance)
    return Policies(
        limit,
        policy("Runner", "rate", rate, RateLimit, "RateLimit(20, per=1.0)"),
        policy("Runner", "retry", retry, Retry, "Retry(on=ConnectionError)"),
        timeout,
        policy("Runner", "hedge", hedge, Hedge, "Hedge(at='p95')"),
        policy("Runner", "breaker", breaker, Breaker, "Breaker(failures=5)"),
        optional(above)("Runner", "abandon_after", abandon_after, 0),
    )


def observers_of(where: str, given: object) -> tuple[Observer, ...]:
    """The observers that are ``given``, in a list or the like."""
    found = each(where, "observers", given, _OBSERVERS)
    for place, one in enumerate(found):
        name = f"observers[{place}]"
        offers(where, name, one, "run_opened job_ended run_closed", "an observer")
    return found


def clock_of(where: str, given: Clock | None) -> Clock | None:
    """The clock that is ``given``."""
    optional(offers)(where, "clock", given, "now wall_ns", _CLOCK)
    return given


def random_of(where: str, given: Random | None) -> Random | None:
    """The generator that is ``given``."""
    optional(instance)(where, "random", given, Random, "a random.Random")
    return given


def engine_of(
    given: Engine | None, policies: Policies, **others: object
) -> Engine | None:
    """The engine that is ``given``; ``others`` are arguments that none goes with."""
    if given is None:
        return None
    from spanrun.runner.engine_core import check  # noqa: PLC0415 -- few use engines

    return check(given, policies, others)


def run_options(
    where: str,
    *,
    total: object,
    trace: object,
    key: object,
    priority: object,
    progress: object,
) -> int | None:
    """Check how a run is to be done; gives ``total`` back as a plain number."""
    one_of(where, "trace", trace, ("auto", "child", "linked"))
    optional(function)(where, "key", key, plain=True)
    optional(function)(where, "priority", priority, plain=True)
    flag(where, "progress", progress)
    return optional(whole)(where, "total", total, 0)


def call_options(runner: str, call: object, priority: object) -> float:
    """Check what `call` takes; gives ``priority`` back as a plain number."""
    function("call", "function", call)
    return rank(runner, priority)


def rank(runner: str, priority: object) -> float:
    """A job's ``priority`` as a plain number; that of True is 1."""
    number = int(priority) if isinstance(priority, bool) else plain(priority)
    if number is None:
        raise ConfigurationError(
            f"Runner {runner!r}: priority={shown(priority)}: must be a number, the "
            "higher the earlier"
        )
    return number
