"""Where a queue sends to, and how soon it tries again."""

import random
from typing import Any

from spanrun.telemetry.export.destination import Destination
from spanrun.telemetry.export.exporters import exporter
from spanrun.telemetry.export.outcome import Exporter
from spanrun.telemetry.queue.retry import Backoff


def to(url: str, **options: Any) -> dict[Any, Exporter]:
    """What sends traces and metrics to the receiver at ``url``."""
    return {
        signal: exporter(
            Destination(signal, "http/protobuf", f"{url}/v1/{signal}", **options)
        )
        for signal in ("traces", "metrics")
    }


def eager(base: float = 0.02, cap: float = 0.05) -> Backoff:
    """Waits, by chance but always the same, so little between two tries."""
    return Backoff(random.Random(1), base=base, cap=cap)
