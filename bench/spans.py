"""What a span costs, ours beside the SDK's: `python -m bench.spans`.

The spans are those of a job: below a run, with eleven attributes of which nine
differ from job to job. Every round times all contestants in turn, and a ratio is
taken within its round, since the machine has other things to do as well. What
counts is CPU time.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

if __package__ in {None, ""}:  # run as a script
    sys.path.insert(0, str(Path(__file__).parent.parent))

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import Span, SpanKind, Tracer, set_span_in_context

from spanrun import semconv
from spanrun.telemetry.span import Buffer, Scope
from spanrun.telemetry.span.provider import NativeTracerProvider
from spanrun.telemetry.span.tracer import NativeTracer

BATCH = 512
TIMES = (
    semconv.SPANRUN_JOB_TIME_QUEUE,
    semconv.SPANRUN_JOB_TIME_LIMIT,
    semconv.SPANRUN_JOB_TIME_RATE_LIMIT,
    semconv.SPANRUN_JOB_TIME_BACKOFF,
    semconv.SPANRUN_JOB_TIME_BUSY,
    semconv.SPANRUN_JOB_TIME_LOOP_LAG,
    semconv.SPANRUN_JOB_TIME_SERVICE,
)
Bench: TypeAlias = Callable[[], object]


class Keep(SpanProcessor):
    """Holds the last spans, as a processor does until they are encoded."""

    def __init__(self) -> None:
        self.ended: deque[ReadableSpan] = deque(maxlen=BATCH)

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)


def attributes(index: int) -> dict[str, Any]:
    return {
        semconv.SPANRUN_RUNNER_NAME: "embed",
        semconv.SPANRUN_JOB_INDEX: index,
        semconv.SPANRUN_JOB_OUTCOME: "ok",
        semconv.SPANRUN_JOB_ATTEMPTS: 1,
        **{key: random.random() for key in TIMES},
    }


def by_api(tracer: Tracer, run: Span, given: list[dict[str, Any]]) -> Bench:
    """As any library starts and ends a span."""
    context = set_span_in_context(run)

    def spans() -> None:
        for each in given:
            tracer.start_span("job embed", context, attributes=each).end()

    return spans


def by_scope(scope: Scope, run: Span, given: list[dict[str, Any]]) -> Bench:
    """As spanrun's own recorder does it."""
    context, internal = set_span_in_context(run), SpanKind.INTERNAL.value

    def spans() -> None:
        start = scope.start
        for each in given:
            start("job embed", internal, context, 1.0, each).finish(2.0)

    return spans


def contestants() -> Iterator[tuple[str, Bench]]:
    """Those that start, end and encode `BATCH` spans. The first is the measure."""
    given = [attributes(index) for index in range(BATCH)]
    kept = Keep()
    stock = TracerProvider(resource=Resource.get_empty(), shutdown_on_exit=False)
    stock.add_span_processor(kept)
    tracer = stock.get_tracer("bench")
    sdk = by_api(tracer, tracer.start_span("run embed"), given)

    def and_encode() -> None:
        sdk()
        encode_spans(list(kept.ended)).SerializeToString()

    yield "SDK", and_encode
    yield "SDK, not encoded", sdk
    buffer = Buffer(lambda _: None, lambda each: each.take(), 1 << 20)
    ours = NativeTracerProvider(buffer, resource=Resource.get_empty())
    native = ours.get_tracer("bench")
    assert isinstance(native, NativeTracer)
    run = native.start_span("run embed")
    yield "native, by the API", by_api(native, run, given)
    yield "native, as units do", by_scope(native.scope, run, given)


def measure(title: str, contestants: Iterator[tuple[str, Bench]], rounds: int) -> None:
    """Print a table of medians, and of the ratios to the first contestant."""
    benches = dict(contestants)
    costs: dict[str, list[float]] = {name: [] for name in benches}
    for bench in benches.values():
        bench()
    for _ in range(rounds):
        for name, bench in benches.items():
            gc.collect()
            begun = time.thread_time_ns()
            for _ in range(10):
                bench()
            spent = time.thread_time_ns() - begun
            costs[name].append(spent / 1e3 / (10 * BATCH))
    first = next(iter(costs.values()))
    print(
        f"\n{title:<28}{'µs a span':>10}{'range':>16}{'times cheaper':>16}{'range':>14}"
    )
    for name, spent in costs.items():
        ratios = [base / own for base, own in zip(first, spent, strict=True)]
        print(
            f"{name:<28}{statistics.median(spent):>10.2f}"
            f"{f'{min(spent):.2f}-{max(spent):.2f}':>16}"
            f"{statistics.median(ratios):>16.1f}"
            f"{f'{min(ratios):.1f}-{max(ratios):.1f}':>14}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    measure("start, end and encode", contestants(), rounds)


if __name__ == "__main__":
    main()
