"""What is refused by the runner, its policies, telemetry, `async_utils`, testing."""

import io
import json
import math
import random
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from tests.construction.subjects import double, several
from tests.construction.values import (
    ABOVE_0,
    AT_LEAST_0,
    CLOCK,
    FLAG,
    FUNCTION,
    MAPPING,
    OBSERVERS,
    ON,
    PLAIN,
    SHARE,
    SOURCE,
    TEXT,
    WHOLE,
    WHOLE_ABOVE_0,
    Coroutine,
    Kind,
    Wrong,
    only,
    optional,
    refused,
)

import spanrun as sr
from spanrun.checks import shown
from spanrun.engines import ProcessEngine
from spanrun.ingest.stages import Split


def gives(value: Any) -> Callable[[Any], Any]:
    """A function that gives ``value``."""

    def given(_: Any) -> Any:
        return value

    return given


NO_RANKS: Final = ("high", None, math.nan, math.inf, [1], 1j)
KEPT: Final = Kind(("run.checkpoint", 1, True, sr.Checkpoint), (None,))
RUN: Final = {
    "function": refused(FUNCTION) | only(several),
    "items": SOURCE,
    "trace": Kind(("x", None, 1, True), ("auto", "child", "linked")),
    "checkpoint": KEPT,
    "progress": FLAG,
}
RANKED: Final = {
    "total": optional(WHOLE),
    "key": Kind(PLAIN.without(None).wrong, (None, str)),
    "priority": Kind(
        (
            *PLAIN.without(None).wrong,
            *(Wrong(gives(value), shown(value)) for value in NO_RANKS),
        ),
        (None, int, float, np.int64, np.float32, bool),
    ),
}
BATCHED: Final = {
    "size": WHOLE_ABOVE_0,
    "max_wait": optional(ABOVE_0),
    "split_on": Kind((True, "x", 5, BaseException, (ValueError, 1)), (None, False)),
}
ERRORS: Final = Kind(("ignore", None, True, 1), ("raise", "collect"))
POLICIES: Final = {
    "limit": Kind(
        ("3", None, True, 2.5, math.nan, math.inf, 0, -1, sr.Timeout(1)),
        (3, np.int64(3), sr.Limit(2), sr.AdaptiveLimit()),
    ),
    "rate": Kind((20, "20/s", True, sr.RateLimit), (None, sr.RateLimit(2))),
    "retry": Kind((3, True, 0, ValueError, sr.Retry), (None, sr.Retry(on=OSError))),
    "timeout": Kind(
        ("5", True, 0, -1, math.nan, math.inf, sr.Timeout),
        (None, 5, 0.5, np.int64(5), np.float32(0.5), sr.Timeout(total=1)),
    ),
    "hedge": Kind((2, True, "p95", sr.Hedge), (None, sr.Hedge())),
    "breaker": Kind((True, 5, sr.Breaker), (None, sr.Breaker())),
    "abandon_after": optional(ABOVE_0),
    "observers": OBSERVERS,
    "clock": CLOCK,
}
WITH_SERVER: Final = {
    "latency": AT_LEAST_0,
    "jitter": AT_LEAST_0,
    "rate_limited": Kind(SHARE.wrong, (0, 0.5)),
    "unavailable": Kind(SHARE.wrong, (0, 0.5)),
    "retry_after": AT_LEAST_0,
    "seed": WHOLE.without(-1),
    "token": optional(TEXT),
    "poison": optional(TEXT),
}
NEXT: Final = {
    "status": Kind(("503", None, True, 99, 600), (503,)),
    "times": WHOLE_ABOVE_0,
}
SPOIL: Final = {"fault": Kind(("x", None, 1), ("hang",)), "times": WHOLE_ABOVE_0}
POINTS: Final = {"metric": TEXT, "attributes": optional(MAPPING)}

ROWS: Final[Mapping[str, Mapping[str, Kind]]] = {
    "AdaptiveLimit": {
        "start": WHOLE_ABOVE_0,
        "min": Kind((*WHOLE_ABOVE_0.wrong, 17), (1, np.int64(3))),
        "max": Kind((*WHOLE_ABOVE_0.wrong, 15), (16, np.int64(300))),
        "ageing": AT_LEAST_0,
        "on": ON,
    },
    "Breaker": {
        "failures": WHOLE_ABOVE_0,
        "ratio": SHARE,
        "window": ABOVE_0.without(math.inf) | Kind((), (math.inf,)),
        "open_for": ABOVE_0,
        "probes": WHOLE_ABOVE_0,
        "on": ON,
        "on_change": optional(PLAIN),
    },
    "Checkpoint": {
        "path": Kind((1, None, "", b"x", True), ("x", Path("x"))),
        "key": optional(PLAIN),
        "failed": Kind(("never", None, True, 1), ("again", "keep")),
        "only_failed": FLAG,
        "max_crashes": optional(WHOLE_ABOVE_0),
        "commit": Kind(("all", None, True, 1), ("group", "each")),
        "durability": Kind(("fire", None, True, 1), ("process", "power")),
        "codec": Kind((json.dumps, "json", 1), (None, json)),
        "command": Kind((1, None, b"x"), ("", "python embed.py")),
    },
    "Hedge": {
        "at": Kind(("p42", "2", *ABOVE_0.wrong[1:]), (2, 0.5, "p50", np.float32(2))),
        "max": WHOLE_ABOVE_0,
        "share": ABOVE_0,
    },
    "Limit": {"concurrency": WHOLE_ABOVE_0, "ageing": AT_LEAST_0},
    "RateLimit": {
        "rate": ABOVE_0 | only("10/s"),
        "per": ABOVE_0,
        "burst": WHOLE_ABOVE_0,
        "name": optional(TEXT),
    },
    "Retry": {
        "on": ON,
        "attempts": WHOLE_ABOVE_0,
        "base": AT_LEAST_0,
        "cap": Kind(AT_LEAST_0.without(math.inf).wrong, (1, math.inf, np.int64(3))),
        "retry_after_cap": AT_LEAST_0.without(math.inf) | Kind((), (math.inf,)),
        "budget": optional(ABOVE_0),
        "reserve": WHOLE,
        "outage": optional(ABOVE_0),
    },
    "Timeout": {"attempt": optional(ABOVE_0), "total": optional(ABOVE_0)},
    "Runner": {
        "name": TEXT,
        **POLICIES,
        "random": Kind((1, "seed", random, random.Random), (None, random.Random(1))),
        "engine": Kind((2, "ray", ProcessEngine), (None, ProcessEngine(2))),
    },
    "ProcessEngine": {
        "workers": optional(WHOLE_ABOVE_0),
        "chunk": optional(WHOLE_ABOVE_0),
        "lost_after": ABOVE_0,
    },
    "RayEngine": {
        "workers": WHOLE_ABOVE_0,
        "address": optional(TEXT),
        "cpus": ABOVE_0,
        "chunk": optional(WHOLE_ABOVE_0),
        "lost_after": ABOVE_0,
    },
    "Runner.call": {
        "function": refused(FUNCTION),
        "priority": Kind(NO_RANKS, (1, -2, 0.5, True, np.int64(2))),
    },
    "Runner.map": {**RUN, **RANKED, "errors": ERRORS},
    "Runner.map_batches": {**RUN, **BATCHED, "errors": ERRORS},
    "Runner.stream": {**RUN, **RANKED, "ordered": FLAG},
    "Runner.stream_batches": {
        **RUN,
        **BATCHED,
        "total": optional(WHOLE),
        "ordered": FLAG,
    },
    "batches": {
        "items": SOURCE,
        "size": WHOLE_ABOVE_0,
        "max_wait": optional(ABOVE_0),
    },
    "configure": {
        "service_name": only(1, b"x", ["x"]),
        "endpoint": only(1, b"x", "localhost:4318"),
        "protocol": only(1, "udp"),
        "store": only(1, b"x", ["x"]),
        "summary": only(1, "yes", b"x", ["auto"]),
        "logs": only(-1, 1.5, "loud", b"x", ["INFO"]),
    },
    "Report.save": {"path": only(1, None, b"x")},
    "Report.text": {"width": WHOLE_ABOVE_0},
    "instrumented": {
        "function": Kind(("x", 1, Coroutine(), Split, several), (len, double)),
        "name": optional(TEXT),
    },
    "run": {
        "main": only(1, "x", double),
        "grace": AT_LEAST_0.without(math.inf) | Kind((), (math.inf,)),
        "debug": optional(FLAG),
    },
    "shutdown": {"timeout": optional(AT_LEAST_0)},
    "unit": {"name": TEXT},
    "asyncio_run": {"coro": only(1, None, "x", double)},
    "batch_gather": {
        "tasks": Kind((1, "x", Coroutine()), ([],)),
        "batch_size": WHOLE_ABOVE_0,
        "verbose": Kind(FLAG.wrong, (False,)),
    },
    "chunks": {"iterable": Kind((1, None), ([], "ab")), "size": WHOLE_ABOVE_0},
    "asyncio_module": {"show_progress": FLAG},
    "get_asyncio_module": {"show_progress": FLAG},
    "run_async_tasks": {
        "tasks": Kind((1, "x", Coroutine()), ([],)),
        "show_progress": Kind(FLAG.wrong, (False,)),
        "progress_bar_desc": TEXT,
    },
    "run_jobs": {
        "jobs": Kind((1, "x", Coroutine()), ([],)),
        "show_progress": Kind(FLAG.wrong, (False,)),
        "workers": WHOLE_ABOVE_0,
        "desc": optional(TEXT.without("")),
    },
    "Captured": {"clock": CLOCK},
    "Captured.children": {"parent": only(1, None, "job")},
    "Captured.count": POINTS,
    "Captured.find": {"name": optional(TEXT), "attributes": optional(MAPPING)},
    "Captured.parent": {"child": only(1, None, "job")},
    "Captured.points": POINTS,
    "Captured.span": {
        "name": refused(optional(TEXT)),
        "attributes": refused(optional(MAPPING)),
    },
    "Captured.totals": {"metric": TEXT, "by": TEXT},
    "Captured.value": POINTS,
    "capture": {"clock": CLOCK},
    "ChatServer": {**WITH_SERVER, "reply": optional(PLAIN)},
    "ChatServer.fail_next": NEXT,
    "ChatServer.spoil_next": SPOIL,
    "EmbeddingServer": {**WITH_SERVER, "embed": optional(PLAIN)},
    "EmbeddingServer.fail_next": NEXT,
    "EmbeddingServer.spoil_next": SPOIL,
    "FakeClock": {
        "start": AT_LEAST_0.without(-1, -0.5) | Kind((), (-1,)),
        "patience": AT_LEAST_0,
    },
    "FakeClock.advance": {"seconds": AT_LEAST_0},
    "FakeClock.at_step": {"step": WHOLE_ABOVE_0, "call": PLAIN},
    "FakeClock.run": {
        "main": only(1, "x", double),
        "debug": optional(FLAG),
        "context": only(1, "x", {}),
    },
    "Progress": {
        "stream": Kind((1, "x", io.StringIO), (None, io.StringIO(), sys.stderr)),
        "bars": optional(FLAG),
    },
}
