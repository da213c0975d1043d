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
from typing import TYPE_CHECKING

__version__ = _version("spanrun")

from spanrun import lazy
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
from spanrun.runner.checkpoint.checkpoint import Checkpoint
from spanrun.runner.groups import batches
from spanrun.runner.runner import Runner
from spanrun.runner.stream import Stream
from spanrun.telemetry.instrument import instrumented, unit
from spanrun.telemetry.observe import Observer
from spanrun.telemetry.observe import RunInfo as RunInfo  # observers are given one
from spanrun.telemetry.setup import configure, shutdown

if TYPE_CHECKING:
    from spanrun.runner.progress import Progress
    from spanrun.runner.summary import report
else:
    __getattr__, __dir__ = lazy.names(
        __name__,
        {"runner.progress": ("Progress",), "runner.summary": ("report",)},
    )

__all__ = [
    "AdaptiveLimit",
    "Breaker",
    "Checkpoint",
    "ConfigurationError",
    "DeadlineExceeded",
    "Err",
    "Hedge",
    "JobCancelled",
    "Limit",
    "Observer",
    "Ok",
    "Outcome",
    "Progress",
    "RateLimit",
    "Retry",
    "Runner",
    "ServiceError",
    "SpanrunError",
    "Stream",
    "Timeout",
    "Timings",
    "batches",
    "configure",
    "instrumented",
    "report",
    "run",
    "shutdown",
    "unit",
]
