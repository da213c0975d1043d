"""`settle`: what leaving a runner waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from spanrun.runner.feed import FedRun
from spanrun.runner.run import Run


async def settle(runs: Sequence[Run], *, cancel: bool) -> None:
    """Wait until each run is over; a cancellation stops them and comes out after."""
    for run in runs:
        # A stream that nobody reads any more would wait for its reader for ever.
        if cancel or isinstance(run, FedRun):
            run.stop("run")
    cancelled: asyncio.CancelledError | None = None
    for run in runs:
        try:
            await run.idle()
        except asyncio.CancelledError as error:
            cancelled = error
            for other in runs:
                other.stop("run")
    if cancelled is not None:
        raise cancelled
