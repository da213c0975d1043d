"""Whether service level objectives are met, as a page shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spanrun.slo import Slo
from spanrun.slo.local import Part, check_run
from spanrun.telemetry.recordings.read import Recording


def objectives(
    recording: Recording, part: Part, slos: Sequence[Slo]
) -> list[dict[str, Any]]:
    """Judge objectives by what was done in ``part``.

    Raises:
        ConfigurationError: What an objective counts isn't recorded.
        StoreError: The recording can't be read.
    """
    return [
        {
            "name": each.name,
            "total": each.total,
            "bad": each.bad,
            "ratio": each.ratio,
            "budget": each.slo.budget,
            "remaining": each.remaining,
            "met": each.met,
        }
        for each in check_run(recording, part, slos)
    ]
