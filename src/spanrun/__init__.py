"""Run async work where you can see every job.

Example:
    >>> import spanrun as sr
    >>> async def main() -> list[int]:
    ...     async with sr.Runner("squares", limit=8) as runner:
    ...         return await runner.map(square, range(4))
    >>> async def square(number: int) -> int:
    ...     return number * number
    >>> sr.run(main())
    [0, 1, 4, 9]
"""

from importlib.metadata import version as _version

__version__ = _version("spanrun")

from spanrun.errors import (
    ConfigurationError,
    DeadlineExceeded,
    JobCancelled,
    ServiceError,
    SpanrunError,
)
from spanrun.outcome import Err, Ok, Outcome, Timings
from spanrun.policies.adaptive import AdaptiveLimit
from spanrun.policies.breaker import Breaker
from spanrun.policies.hedge import Hedge
from spanrun.policies.limit import Limit
from spanrun.policies.rate import RateLimit
from spanrun.policies.retry import Retry
from spanrun.policies.timeout import Timeout
from spanrun.runner.bridge import run
from spanrun.runner.groups import batches
from spanrun.runner.runner import Runner
from spanrun.telemetry.instrument import instrumented, unit
from spanrun.telemetry.setup import configure, shutdown

__all__ = [
    "AdaptiveLimit",
    "Breaker",
    "ConfigurationError",
    "DeadlineExceeded",
    "Err",
    "Hedge",
    "JobCancelled",
    "Limit",
    "Ok",
    "Outcome",
    "RateLimit",
    "Retry",
    "Runner",
    "ServiceError",
    "SpanrunError",
    "Timeout",
    "Timings",
    "batches",
    "configure",
    "instrumented",
    "run",
    "shutdown",
    "unit",
]
