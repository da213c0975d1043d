"""Units that encode themselves say the very same as those that an encoder sees.

Each scenario runs three times: with a provider that takes encoded spans in a buffer,
so that the units in C are in use; with one that takes them as they come, which are
those in Python; and with one that takes none. What was sent is decoded by protobuf and
compared, ids and times aside; so are the metrics.
"""

import asyncio
import concurrent.futures.thread  # noqa: F401 -- or the SDK's meters hang in a fork
import time

import pytest
from opentelemetry import baggage, trace
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

import spanrun
from spanrun import semconv
from spanrun.clock import SystemClock
from spanrun.speed import FAST, Buffer
from spanrun.telemetry import setup
from spanrun.telemetry.account import Account
from spanrun.telemetry.metrics.aggregate import Aggregator
from spanrun.telemetry.native import NativeRecorder
from spanrun.telemetry.open_units import CallKind
from spanrun.telemetry.scope import OUR_SCOPE
from spanrun.telemetry.spans.encode import SpanEncoder
from spanrun.telemetry.spans.provider import NativeTracerProvider

KIND = CallKind(
    "POST",
    semconv.METRIC_HTTP_CLIENT_REQUEST_DURATION,
    {
        semconv.HTTP_REQUEST_METHOD: "POST",
        semconv.SERVER_ADDRESS: "service.example",
        semconv.SERVER_PORT: 443,
        semconv.URL_FULL: "https://user:hunter2@service.example/v1",
    },
)

RETRY = spanrun.Retry(on=ConnectionError, base=0, attempts=2)


WIRES = (*(("buffer",) if FAST else ()), "plain", None)


class Sent:
    """A recorder, and what it has sent: through the wire, or as objects."""

    def __init__(self, *, wire, exponential=False, account=None):
        self.fails = False
        self._take = self._take_plain
        if wire == "buffer":
            self._take = Buffer(self._begun, lambda *some: self._take_plain(some), 2000)
        self.by_itself = []
        self.as_objects = []
        resource, clock = Resource.get_empty(), SystemClock()
        self.aggregator = Aggregator(lambda: resource, exponential=exponential)
        tracers = NativeTracerProvider(
            self.as_objects.append,
            sampler=ALWAYS_ON,
            resource=resource,
            clock=clock,
            wires=self._wire if wire else None,
        )
        meters = MeterProvider([InMemoryMetricReader()], resource)
        self.recorder = NativeRecorder(
            tracers,
            meters,
            self.aggregator,
            clock=clock,
            account=account or Account(),
            snapshot=None,
        )

    def _wire(self, origin):
        return self._take if origin.scope == OUR_SCOPE else None

    def _take_plain(self, encoded):
        if self.fails:
            raise OSError("no wire")
        self.by_itself.append(encoded)

    def _begun(self, buffer):
        assert buffer.spans
        if self.fails:
            raise OSError("no wire")

    def spans(self):
        """All of them, as protobuf has them."""
        found = []
        if isinstance(self._take, Buffer) and self._take.spans:
            self.by_itself.append(self._take.take())
        for data, count in self.by_itself:
            fields = trace_pb2.ScopeSpans.FromString(data)
            assert len(fields.spans) == count
            found += fields.spans
        for span in self.as_objects:
            found += trace_pb2.ScopeSpans.FromString(SpanEncoder().span(span)).spans
        return found

    def told(self):
        """What they say, each with its way from the root, in an order of its own."""
        spans = self.spans()
        by_id = {span.span_id: span for span in spans}
        assert len(by_id) == len(spans)
        return sorted(self._one(span, by_id) for span in spans)

    def _one(self, span, by_id):
        way, above = [], span
        while above is not None:
            assert above.trace_id == span.trace_id
            way.append(above.name)
            parent = by_id.get(above.parent_span_id)
            if parent is not None:
                assert parent.start_time_unix_nano <= above.start_time_unix_nano
                assert above.end_time_unix_nano <= parent.end_time_unix_nano
            above = parent
        assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
        attributes = sorted(f"{pair.key}={_plain(pair)}" for pair in span.attributes)
        links = [_name(by_id.get(link.span_id)) for link in span.links]
        events = [
            (event.name, sorted(pair.key for pair in event.attributes))
            for event in span.events
        ]
        rest = span.kind, span.flags, span.status.code, span.status.message
        return f"{way} {attributes} {links} {events} {rest}"

    def metrics(self):
        """The series, with what can be told of them without their times."""
        told = {}
        for metric in self.aggregator.collect():
            if metric.name == "spanrun.loop.lag":
                continue  # as often as the machine has time for it
            for point in metric.data.data_points:
                key = metric.name, tuple(sorted(point.attributes.items()))
                is_time = metric.name == "spanrun.job.phase.time"
                value = getattr(point, "value", None)
                told[key] = bool(value) if is_time else value
                if hasattr(point, "count"):
                    told[key] = point.count
                    assert point.min <= point.sum / max(point.count, 1) <= point.max
                    ids = {span.span_id for span in self.spans()}
                    for exemplar in point.exemplars:
                        assert exemplar.span_id.to_bytes(8) in ids
        return told


def _name(span):
    return None if span is None else span.name


def _plain(pair):
    kind = pair.value.WhichOneof("value")
    value = getattr(pair.value, kind)
    return f"{kind}" if kind == "double_value" else f"{kind}:{value}"


async def plain():
    async with spanrun.Runner("plain", limit=3) as runner:
        await runner.map(asyncio.sleep, [0] * 7)


async def linked():
    async with spanrun.Runner("linked", limit=3) as runner:
        await runner.map(asyncio.sleep, [0] * 7, trace="linked")


async def retried():
    tries = iter(range(100))

    async def job(number):
        if number == 3 and next(tries) < 2:
            raise ConnectionError("down")
        await asyncio.sleep(0)
        return number

    retry = spanrun.Retry(on=ConnectionError, base=0)
    async with spanrun.Runner("retried", limit=2, retry=retry) as runner:
        assert await runner.map(job, range(7)) == list(range(7))
        assert await runner.map(job, range(7), trace="linked") == list(range(7))


async def failing():
    async def job(number):
        await asyncio.sleep(0)
        if number == 2:
            raise ValueError("password=hunter2")
        if number == 4:
            raise ConnectionError("gone")
        if number == 5:
            asyncio.current_task().cancel()
            await asyncio.sleep(0)

    for policy in (None, RETRY):
        async with spanrun.Runner("failing", limit=2, retry=policy) as runner:
            await runner.map(job, range(7), errors="collect")


async def calls():
    recorder = setup.recorder_or_off()

    async def job(number):
        with recorder.call(KIND) as call:
            call.set(semconv.HTTP_RESPONSE_STATUS_CODE, (200, 503)[number % 2])
            if number == 3:
                call.set(semconv.HTTP_RESPONSE_BODY_SIZE, bool(number))  # equal to 1
            if number == 4:
                call.set(semconv.HTTP_RESPONSE_BODY_SIZE, 1)
            if number == 5:
                call.set(semconv.HTTP_RESPONSE_BODY_SIZE, 1.0)
            if number == 6:
                call.fail("503")
            if number == 9:
                call.span.set_attribute(semconv.HTTP_RESPONSE_BODY_SIZE, True)  # noqa: FBT003 -- OpenTelemetry's signature
                call.span.set_attribute("several", [1, 2])
            if number == 7:
                call.span.add_event("seen", {"number": number})
            await asyncio.sleep(0)
            if number == 8:
                raise ValueError("no")

    async with spanrun.Runner("calls", limit=2) as runner:
        await runner.map(job, range(20), errors="collect")


async def users_own():
    async def job(number):
        span = trace.get_current_span()
        if number == 1:
            span.set_attribute("mine", "token=abcdefghijklmnopqrstuvwxyz123456")
        if number == 2:
            span.add_event("mine")
        if number == 3:
            span.update_name("another")
        if number == 4:
            span.set_status(trace.StatusCode.ERROR, "said so")
        if number == 5:
            span.add_link(span.get_span_context())
        with spanrun.unit("inner", number=number):
            baggage.set_baggage("a", "b")
            await asyncio.sleep(0)

    for policy in (None, RETRY):
        async with spanrun.Runner("own", limit=2, retry=policy) as runner:
            await runner.map(job, range(7))
            await runner.map(job, range(7), key=lambda number: f"key {number}")


async def others():
    async def job(number):
        await asyncio.sleep(0)
        return number

    async def batch(numbers):
        await asyncio.sleep(0)
        return numbers

    async with spanrun.Runner("others", limit=2, timeout=10) as runner:
        assert await runner.call(job, 1) == 1
        assert await runner.map_batches(batch, range(9), size=2) == list(range(9))
        async with runner.stream(job, range(5)) as outcomes:
            traces = {outcome.trace_id async for outcome in outcomes}
        assert 0 not in traces


async def at_the_limits():
    async with spanrun.Runner("long" * 5_000) as runner:
        await runner.map(asyncio.sleep, [0, 0])

    async def ends(number):
        await asyncio.sleep(0)
        with setup.recorder_or_off().call(KIND) as call:
            if number == 2:
                call.span.end()
            if number == 3:
                call.span.update_name("another")
            call.set("number", number)
        if number == 1:
            trace.get_current_span().end()

    for policy in (None, RETRY):
        async with spanrun.Runner("ends", limit=2, retry=policy) as runner:
            await runner.map(ends, range(400))


SCENARIOS = (plain, linked, retried, failing, calls, users_own, others, at_the_limits)


@pytest.mark.parametrize("exponential", [False, True], ids=["explicit", "exponential"])
@pytest.mark.parametrize("work", SCENARIOS)
def test_both_ways_say_the_same(work, exponential, monkeypatch):
    # On a busy machine any step may block the loop, and say so in one of the ways.
    monkeypatch.setattr("spanrun.runner.core.THRESHOLD", float("inf"))
    ways = []
    for wire in WIRES:
        sent = Sent(wire=wire, exponential=exponential)
        with setup.use(sent.recorder):
            spanrun.run(work())
        ways.append((sent.told(), sent.metrics()))
        assert bool(sent.by_itself) is (wire is not None)
        assert not any(b"hunter2" in data for data, _ in sent.by_itself)
    for spans, metrics in ways[1:]:
        assert spans == ways[0][0]
        assert metrics == ways[0][1]


with_any_wire = pytest.mark.parametrize("wire", WIRES[:-1])


@with_any_wire
def test_an_index_of_any_size_arrives(wire):
    sent = Sent(wire=wire)

    async def main():
        async with spanrun.Runner("big") as runner:
            for first in (0, 126, 16_382, (1 << 21) - 2, (1 << 28) - 2):
                run = runner.stream(asyncio.sleep, [0] * 4)
                run._run._submitted = first
                run._run._due = first
                async with run as outcomes:
                    seen = [outcome.index async for outcome in outcomes]
                assert seen == [first + i for i in range(4)]

    with setup.use(sent.recorder):
        spanrun.run(main())
    told = [
        pair.value.int_value
        for span in sent.spans()
        for pair in span.attributes
        if pair.key == semconv.SPANRUN_JOB_INDEX
    ]
    firsts = (0, 126, 16_382, (1 << 21) - 2, (1 << 28) - 2)
    assert sorted(told) == sorted(first + i for first in firsts for i in range(4))


@with_any_wire
def test_the_times_are_the_ledgers(wire):
    sent = Sent(wire=wire)

    async def main():
        async with spanrun.Runner("timed", limit=2) as runner:
            return await runner.map(
                asyncio.sleep, [0.01] * 5, errors="collect", trace="linked"
            )

    before = time.time_ns()
    with setup.use(sent.recorder):
        outcomes = spanrun.run(main())
    spans = {int.from_bytes(span.trace_id): span for span in sent.spans()}
    for outcome in outcomes:
        span = spans[outcome.trace_id]
        seconds = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9
        assert seconds == pytest.approx(outcome.timings.duration, abs=2e-9)
        assert before <= span.start_time_unix_nano <= time.time_ns()
        told = {p.key: p.value.double_value for p in span.attributes}
        for phase, part in outcome.timings.phases():
            assert told[f"spanrun.job.time.{phase}"] == part


@with_any_wire
def test_a_fault_inside_breaks_no_job_and_is_counted(wire):
    account = Account()
    sent = Sent(wire=wire, account=account)

    async def job(number):
        with setup.recorder_or_off().call(KIND):
            await asyncio.sleep(0)
        return number

    async def main():
        sent.fails = True
        async with spanrun.Runner("faulty", retry=RETRY) as runner:
            return await runner.map(job, range(3))

    with setup.use(sent.recorder):
        assert spanrun.run(main()) == [0, 1, 2]
    assert account.dropped["traces", "internal_error"] == 6
