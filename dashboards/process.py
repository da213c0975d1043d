"""The processes that run the jobs: CPU, memory, garbage collection, descriptors."""

from collections.abc import Sequence
from typing import Final

from dashboards import panels, places
from dashboards import promql as q
from dashboards.board import Panel
from dashboards.panels import BYTES, SECONDS, Query, Text, each
from spanrun import semconv

IN_FLIGHT: Final = semconv.METRIC_SPANRUN_RUNNER_IN_FLIGHT
CPU: Final = semconv.METRIC_PROCESS_CPU_TIME
MEMORY: Final = semconv.METRIC_PROCESS_MEMORY_USAGE
FILES: Final = semconv.METRIC_PROCESS_OPEN_FILE_DESCRIPTOR_COUNT
COLLECTIONS: Final = semconv.METRIC_CPYTHON_GC_COLLECTIONS
COLLECTED: Final = semconv.METRIC_CPYTHON_GC_COLLECTED_OBJECTS
UNCOLLECTABLE: Final = semconv.METRIC_CPYTHON_GC_UNCOLLECTABLE_OBJECTS
PAUSE: Final = semconv.METRIC_SPANRUN_GC_DURATION

GENERATION: Final = semconv.CPYTHON_GC_GENERATION
PROCESS: Final = (semconv.SERVICE_NAME, semconv.SERVICE_INSTANCE_ID)


def processes() -> Sequence[Panel]:
    """What the processes use, one line for each."""
    return (*_usage(), *_collector())


def _usage() -> Sequence[Panel]:
    return (
        panels.lines(
            "Jobs by process",
            Text(
                "Jobs that run in each process: the workers of an engine have an id "
                "each, and their driver runs none.",
                "one of them has all while another has none: that one's event loop is "
                "blocked, or it doesn't answer.",
                "See its *CPU by process*, and `spanrun top` on its machine.",
            ),
            each("jobs"),
            Query(q.now(IN_FLIGHT, PROCESS), q.legend(*PROCESS)),
            to=[places.STAND_STILL],
        ),
        panels.lines(
            "CPU by process",
            Text(
                "Processors that each process keeps busy.",
                "1 for long: one event loop has no more than one. Its *Loop lag* "
                "grows with it.",
                "A second process, fewer jobs at once, or `asyncio.to_thread` for what "
                "computes outside of Python.",
            ),
            each("CPUs"),
            Query(q.rate(CPU, PROCESS), q.legend(*PROCESS)),
        ),
        panels.lines(
            "Memory by process",
            Text(
                "Memory of each process that is not swapped out.",
                "it grows for as long as the process lives, or is near what the "
                "container may have.",
                "Fewer jobs at once; a `stream` instead of a `map`, whose results "
                "all stay.",
            ),
            BYTES,
            Query(q.now(MEMORY, PROCESS), q.legend(*PROCESS)),
            to=[places.STAND_STILL],
        ),
        panels.lines(
            "Open descriptors by process",
            Text(
                "Files and connections that each process has open.",
                "it grows on and on: something isn't closed. It is near `ulimit -n`: "
                "connections will fail.",
                "One client for all jobs, closed at the end; or a higher `ulimit -n`.",
            ),
            each("descriptors"),
            Query(q.now(FILES, PROCESS), q.legend(*PROCESS)),
            to=[places.CLIENTS, places.STAND_STILL],
        ),
    )


def _collector() -> Sequence[Panel]:
    return (
        panels.lines(
            "Pauses by the garbage collector",
            Text(
                "99 of 100 runs of the garbage collector stopped the process for less "
                "than this, by generation.",
                "above 0.1 s: the loop is blocked, and nobody's code is guilty.",
                "Fewer objects that stay: `gc.freeze()` after the start, results "
                "that leave the process instead of lists of them.",
            ),
            SECONDS,
            Query(q.quantile(0.99, PAUSE, [GENERATION]), q.legend(GENERATION)),
        ),
        panels.lines(
            "Runs of the garbage collector",
            Text(
                "Runs a second, by generation.",
                "generation 2 each second: many objects stay.",
                "See *Pauses by the garbage collector*: only long ones matter.",
            ),
            each("runs/s"),
            Query(q.rate(COLLECTIONS, [GENERATION]), q.legend(GENERATION)),
        ),
        panels.lines(
            "Objects of the garbage collector",
            Text(
                "Objects a second that it has freed, and that it could not free.",
                "many freed: objects that refer to each other in a circle. Any that "
                "it could not free is lost memory.",
                "`gc.set_debug(gc.DEBUG_SAVEALL)`, in a test, tells which they are.",
            ),
            each("objects/s"),
            Query(q.rate(COLLECTED), "freed"),
            Query(q.rate(UNCOLLECTABLE), "could not be freed"),
        ),
    )
