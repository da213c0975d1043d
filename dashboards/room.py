"""Is there room? Slots and jobs under way, and how full batches are."""

from collections.abc import Sequence
from typing import Final

from dashboards import panels, places
from dashboards import promql as q
from dashboards.board import Panel
from dashboards.panels import HALF, SECONDS, SHARE, Query, Text, each
from spanrun import semconv

ACTIVE: Final = semconv.METRIC_SPANRUN_JOB_ACTIVE
IN_FLIGHT: Final = semconv.METRIC_SPANRUN_RUNNER_IN_FLIGHT
LIMIT: Final = semconv.METRIC_SPANRUN_RUNNER_LIMIT
STUCK: Final = semconv.METRIC_SPANRUN_RUNNER_STUCK
LATE: Final = semconv.METRIC_SPANRUN_JOB_LATE
SIZE: Final = semconv.METRIC_SPANRUN_BATCH_SIZE
BATCH: Final = semconv.METRIC_SPANRUN_BATCH_DURATION
RUNNER: Final = semconv.SPANRUN_RUNNER_NAME
STATE: Final = semconv.SPANRUN_JOB_STATE


def slots() -> str:
    """The share of each runner's limit that is in use."""
    return q.ratio(q.now(IN_FLIGHT, [RUNNER]), q.now(LIMIT, [RUNNER]))


def room() -> Sequence[Panel]:
    """Jobs under way, and what they may have."""
    return (
        panels.lines(
            "Slots in use by runner",
            Text(
                "Jobs that hold a slot, as a share of the limit.",
                "a line at 100 % while jobs wait in phase `limit`: that runner sets "
                "the pace.",
                "Raise its limit, if the service bears it.",
            ),
            SHARE,
            Query(slots(), q.legend(RUNNER)),
            width=2 * HALF,
            to=[places.WHERE],
        ),
        panels.lines(
            "In flight against the limit",
            Text(
                "Jobs that hold a slot, and how many slots there are. An adaptive "
                "limit moves.",
                "in flight lies on the limit while jobs wait: the limit is what "
                "slows. The limit falls: an adaptive one found the service slower.",
                "Raise the limit if the service bears it; look at the service if "
                "an adaptive limit fell.",
            ),
            each("jobs"),
            Query(q.now(IN_FLIGHT, [RUNNER]), f"{q.legend(RUNNER)} in flight"),
            Query(q.now(LIMIT, [RUNNER]), f"{q.legend(RUNNER)} limit"),
        ),
        panels.lines(
            "Jobs under way by state",
            Text(
                "Jobs submitted and not ended: queued, running, or backing off "
                "between two attempts.",
                "`backing_off` grows: the service fails. `queued` grows: jobs "
                "come in faster than they end.",
                "For back-off read *Failures by error type*; for the queue, *In "
                "flight against the limit*.",
            ),
            each("jobs"),
            Query(q.now(ACTIVE, [STATE]), q.legend(STATE)),
            stacked=True,
        ),
        panels.lines(
            "Cancelled, and still there",
            Text(
                "Jobs that were cancelled 5 s ago or earlier and have not ended, "
                "abandoned ones included.",
                "anything above 0: such a job swallows its cancellation, or cleans "
                "up for long, and keeps a slot.",
                "The log names the job, and shows where it waits. Let its code "
                "raise `CancelledError`; `abandon_after` bounds the wait.",
            ),
            each("jobs"),
            Query(q.now(STUCK, [RUNNER]), f"{q.legend(RUNNER)} stuck"),
        ),
        panels.lines(
            "Ended after all",
            Text(
                "Jobs that ended in a second after they had been abandoned; their "
                "results were dropped.",
                "many: `abandon_after` is shorter than their clean-up takes.",
                "Raise `abandon_after` of the runner, or shorten the clean-up.",
            ),
            each("jobs/s"),
            Query(q.rate(LATE, [RUNNER]), q.legend(RUNNER)),
        ),
    )


def batches() -> Sequence[Panel]:
    """What `map_batches` makes of items."""
    mean = q.ratio(q.sum_rate(SIZE, [RUNNER]), q.count_rate(SIZE, [RUNNER]))
    return (
        panels.lines(
            "Items in a batch",
            Text(
                "The mean size of the batches of `map_batches`. Empty where no "
                "runner makes batches.",
                "far below the `size` asked for: batches leave half empty, since "
                "`max_wait` is short or items come slowly.",
                "Raise `max_wait`, or accept it: small batches answer sooner.",
            ),
            each("items"),
            Query(mean, q.legend(RUNNER)),
        ),
        panels.lines(
            "Batch duration",
            Text(
                "95 of 100 batches took less than this, from being put together "
                "to their result. Empty where no runner makes batches.",
                "it grows while the size doesn't: the service became slower.",
                "See the service's own latency in *Clients*.",
            ),
            SECONDS,
            Query(q.quantile(0.95, BATCH, [RUNNER]), q.legend(RUNNER), exemplars=True),
            to=[places.CLIENTS],
        ),
    )
