"""What somebody else's telemetry raises ends no run and no job: counted, said once."""

import asyncio
import logging
import os
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.metrics import Meter, MeterProvider
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    Span,
    Tracer,
    TracerProvider,
    use_span,
)
from tests.telemetry.span.tracing import Ended
from tests.waiting import PATIENCE

import spanrun as sr
from spanrun.clients.http import HttpClient
from spanrun.clock import SystemClock
from spanrun.settings import load
from spanrun.telemetry import setup
from spanrun.telemetry.account import Account
from spanrun.telemetry.faults import Faults
from spanrun.telemetry.metric_pipe import Collector, MetricPipe
from spanrun.telemetry.metrics import preferences
from spanrun.telemetry.metrics.aggregate import Aggregator
from spanrun.telemetry.metrics.meters import OurMeterProvider
from spanrun.telemetry.span.provider import NativeTracerProvider
from spanrun.telemetry.units.native import NativeRecorder
from spanrun.telemetry.units.otel import OtelRecorder
from spanrun.testing import EmbeddingServer


class BrokenError(RuntimeError):
    """What they raise."""


class HostileSpan(Span):
    """The SDK's span, of which some methods raise."""

    def __init__(self, span: Any, fails: str) -> None:
        self._span = span
        self._fails = fails

    def _may_fail(self, name: str) -> Any:
        if name == self._fails:
            raise BrokenError(name)
        return self._span

    def end(self, end_time: int | None = None) -> None:
        self._may_fail("end").end(end_time)

    def get_span_context(self) -> Any:
        nothing = self._fails == "no context"
        return None if nothing else self._may_fail("get_span_context").context

    def set_attributes(self, attributes: Any) -> None:
        self._may_fail("set_attributes").set_attributes(attributes)

    def set_attribute(self, key: str, value: Any) -> None:
        self._may_fail("set_attribute").set_attribute(key, value)

    def add_event(
        self, name: str, attributes: Any = None, timestamp: int | None = None
    ) -> None:
        self._may_fail("add_event").add_event(name, attributes, timestamp)

    def update_name(self, name: str) -> None:
        self._may_fail("update_name").update_name(name)

    def is_recording(self) -> bool:
        return bool(self._may_fail("is_recording").is_recording())

    def set_status(self, status: Any, description: str | None = None) -> None:
        self._may_fail("set_status").set_status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Any = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: FBT001, FBT002 -- OpenTelemetry's signature
    ) -> None:
        self._may_fail("record_exception").record_exception(
            exception, attributes, timestamp, escaped
        )


class HostileTracers(TracerProvider):
    """The SDK's provider, of whose spans or tracers one thing raises."""

    def __init__(self, fails: str = "") -> None:
        self.kept = InMemorySpanExporter()
        self._fails = fails
        self._sdk = SdkTracerProvider(shutdown_on_exit=False)
        self._sdk.add_span_processor(SimpleSpanProcessor(self.kept))

    def get_tracer(self, *_: Any, **__: Any) -> Tracer:
        if self._fails == "get_tracer":
            raise BrokenError
        provider = self
        sdk = self._sdk.get_tracer("theirs")

        class HostileTracer(Tracer):
            def start_span(self, *args: Any, **options: Any) -> Any:
                if provider._fails == "start_span":
                    raise BrokenError
                if provider._fails == "no span":
                    return None
                return HostileSpan(sdk.start_span(*args, **options), provider._fails)

            start_as_current_span: Any = None

        return HostileTracer()

    def names(self) -> Counter[str]:
        return Counter(span.name for span in self.kept.get_finished_spans())


class HostileMeters(MeterProvider):
    """The SDK's provider, of whose meter or instruments one thing raises."""

    def __init__(self, fails: str = "") -> None:
        self._fails = fails
        self.reader = InMemoryMetricReader()
        self._sdk = SdkMeterProvider([self.reader], shutdown_on_exit=False)

    def get_meter(self, *_: Any, **__: Any) -> Meter:
        if self._fails == "get_meter":
            raise BrokenError
        fails, meter = self._fails, self._sdk.get_meter("theirs")

        class HostileInstrument:
            def __init__(self, instrument: Any) -> None:
                self._instrument = instrument

            def __getattr__(self, name: str) -> Any:
                if name == fails:
                    raise BrokenError(name)
                return getattr(self._instrument, name)

        class HostileMeter:
            def __getattr__(self, name: str) -> Any:
                if name == fails:
                    raise BrokenError(name)
                make = getattr(meter, name)
                return lambda *args, **opts: HostileInstrument(make(*args, **opts))

        hostile: Any = HostileMeter()
        return hostile


@pytest.fixture
def account() -> Account:
    return Account()


async def works() -> None:
    """Everything that tells telemetry anything, and its results."""
    tried: Counter[int] = Counter()

    async def job(number: int) -> int:
        tried[number] += 1
        with sr.unit("parse", number=number) as parsing:
            parsing.set("more", "text")
            parsing.event("happened", number=number)
        if number == 1 and tried[number] == 1:
            raise LookupError(number)  # is tried again
        if number == 2:
            raise ValueError(number)
        if number == 3:
            raise asyncio.CancelledError
        return number

    retry = sr.Retry(on=LookupError, attempts=2, base=0.001)
    for trace in ("child", "linked"):
        tried.clear()
        async with sr.Runner("work", limit=2, retry=retry) as runner:
            outcomes = await runner.map(job, range(5), errors="collect", trace=trace)
            assert await runner.call(job, 7) == 7
        assert [type(each).__name__ for each in outcomes] == [
            *("Ok", "Ok", "Err", "Err", "Ok")
        ]
        assert outcomes[1].attempts == 2
    with EmbeddingServer(latency=0, jitter=0, rate_limited=0, unavailable=0) as server:
        client = HttpClient(server.url + "/v1")
        asked = {"input": ["a"], "model": server.model}
        assert (await client.post("/embeddings", asked))["data"]
        await client.aclose()


@pytest.mark.parametrize(
    "fails",
    [
        *("get_tracer", "start_span", "no span", "end", "get_span_context"),
        *("no context", "set_attributes", "add_event"),
        *("is_recording", "set_status"),
    ],
)
def test_of_the_applications_tracers(
    fails: str, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    tracers = HostileTracers(fails)
    recorder = OtelRecorder(tracers, HostileMeters(), account=account)
    with setup.use(recorder):
        asyncio.run(works())
    assert account.dropped[("traces", "internal_error")] >= 1
    assert len(said(caplog)) == 1
    if fails in ("set_attributes", "add_event", "set_status"):
        assert tracers.names()["job work"] == 12  # without what failed


@pytest.mark.parametrize(
    "fails",
    [
        *("get_meter", "create_counter", "create_histogram", "add", "record"),
        *("create_observable_gauge", "create_observable_counter"),
        "create_observable_up_down_counter",
    ],
)
def test_of_the_applications_meters(
    fails: str, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    tracers = HostileTracers()
    recorder = OtelRecorder(tracers, HostileMeters(fails), account=account)
    with setup.use(recorder):
        asyncio.run(works())
    assert account.dropped[("metrics", "internal_error")] >= 1
    assert len(said(caplog)) == 1
    assert tracers.names()["job work"] == 12


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name.startswith("spanrun")
    ]


def test_nothing_hostile_loses_nothing(account: Account) -> None:
    tracers = HostileTracers()
    with setup.use(OtelRecorder(tracers, HostileMeters(), account=account)):
        asyncio.run(works())
    assert not account.dropped
    assert tracers.names() == {
        "run work": 2,
        "job work": 12,
        "attempt work": 14,
        "parse": 14,
        "POST": 1,
    }


class HostileSampler(Sampler):
    """Raises, or gives nonsense."""

    def __init__(self, gives: object) -> None:
        self._gives = gives

    def should_sample(self, *_: Any, **__: Any) -> Any:
        if self._gives == "raises":
            raise BrokenError
        return self._gives

    def get_description(self) -> str:
        return "hostile"


class Anything:
    """A result of a sampler, with these attributes."""

    def __init__(self, **attributes: object) -> None:
        self.__dict__.update(attributes)


class HostileIds(IdGenerator):
    """Raises, or gives nonsense."""

    def __init__(self, gives: object) -> None:
        self._gives = gives

    def generate_span_id(self) -> Any:
        if self._gives == "raises":
            raise BrokenError
        return self._gives

    generate_trace_id = generate_span_id

    def is_trace_id_random(self) -> bool:
        raise BrokenError


class HostileProcessor(SpanProcessor):
    """Raises whatever it is told."""

    def on_start(self, *_: Any, **__: Any) -> None:
        raise BrokenError

    def on_end(self, *_: Any) -> None:
        raise BrokenError


NONSENSE: dict[str, dict[str, Any]] = {
    "sampler raises": {"sampler": HostileSampler("raises")},
    "sampler gives nothing": {"sampler": HostileSampler(None)},
    "sampler decides nothing": {
        "sampler": HostileSampler(
            Anything(decision=None, attributes={}, trace_state=None)
        )
    },
    "sampler has no tracestate": {
        "sampler": HostileSampler(
            Anything(decision=Decision.RECORD_ONLY, attributes={}, trace_state=5)
        )
    },
    "id generator raises": {"id_generator": HostileIds("raises")},
    "id generator gives nothing": {"id_generator": HostileIds(None)},
    "processor raises": {},
}


@pytest.mark.parametrize("case", NONSENSE)
def test_in_our_own_provider(
    case: str, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    ended = Ended()
    tracers = NativeTracerProvider(
        ended.buffer, failed=partial(Faults(account), "traces"), **NONSENSE[case]
    )
    if case == "processor raises":
        tracers.add_span_processor(HostileProcessor())
    recorder = NativeRecorder(
        tracers,
        HostileMeters(),
        Aggregator(lambda: tracers.resource),
        clock=SystemClock(),
        account=account,
        snapshot=None,
    )
    with setup.use(recorder):
        asyncio.run(works())
    assert account.dropped[("traces", "internal_error")] >= 1
    assert len(said(caplog)) == 1
    assert Counter(ended.names)["job work"] == 12


class HostileParent(NonRecordingSpan):
    """The current span when a runner of ours runs."""

    def __init__(self) -> None:
        super().__init__(INVALID_SPAN_CONTEXT)

    def get_span_context(self) -> Any:
        raise BrokenError


def test_of_who_made_the_current_span(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    failed = partial(Faults(account), "traces")
    tracers = NativeTracerProvider(failed=failed)
    with use_span(HostileParent()):
        span: Any = tracers.get_tracer("ours").start_span("a")
    assert span.parent is None
    assert account.dropped[("traces", "internal_error")] >= 1
    assert len(said(caplog)) == 1


PLUGINS = """
[opentelemetry_resource_detector]
hostile = hostile:Detector
[opentelemetry_propagator]
hostile = hostile:Propagator
[opentelemetry_tracer_provider]
hostile = hostile:broken
[opentelemetry_meter_provider]
hostile = hostile:broken
"""
HOSTILE = """
from opentelemetry.sdk.resources import ResourceDetector
from opentelemetry.propagators.textmap import TextMapPropagator
class Detector(ResourceDetector):
    def __init__(self):
        super().__init__(raise_on_error=True)
    def detect(self):
        raise LookupError("detector")
class Propagator(TextMapPropagator):
    fields = set()
    def extract(self, *_, **__):
        raise LookupError("propagator")
    inject = extract
def broken():
    raise LookupError("provider")
"""
CLIENT = """
from spanrun.clients.http import HttpClient
from spanrun.testing import EmbeddingServer
async def call(_):
    with EmbeddingServer(latency=0, jitter=0, rate_limited=0, unavailable=0) as server:
        client = HttpClient(server.url + "/v1")
        asked = {"input": ["a"], "model": server.model}
        answer = await client.post("/embeddings", asked)
        await client.aclose()
        return len(answer["data"])
async def calls():
    async with sr.Runner("work") as runner:
        return await runner.map(call, [1])
"""


@pytest.mark.slow
@pytest.mark.parametrize("configured", [True, False])
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "hostile"),
        ("OTEL_PROPAGATORS", "hostile"),
        ("OTEL_PROPAGATORS", "tracecontext,misspelled"),
        ("OTEL_PYTHON_TRACER_PROVIDER", "hostile"),
        ("OTEL_PYTHON_TRACER_PROVIDER", "misspelled"),
        ("OTEL_PYTHON_METER_PROVIDER", "misspelled"),
    ],
)
def test_of_what_a_variable_names(
    run_program: Any,
    collector: Any,
    tmp_path: Path,
    variable: str,
    value: str,
    *,
    configured: bool,
) -> None:
    about = tmp_path / "hostile-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: hostile\nVersion: 1")
    (about / "entry_points.txt").write_text(PLUGINS)
    (tmp_path / "hostile.py").write_text(HOSTILE)
    paths = filter(None, (str(tmp_path), os.environ.get("PYTHONPATH")))
    configure = f"sr.configure(endpoint={collector.url!r})\n" if configured else ""
    done = run_program(
        configure + CLIENT + "print(sr.run(calls()))\nsr.shutdown()",
        **{variable: value, "PYTHONPATH": os.pathsep.join(paths)},
    )
    assert (done.code, done.out) == (0, "[1]\n"), done.err
    if configured:
        assert len(collector.spans("job work")) == 1
        assert any("spanrun: " in line for line in done.err.splitlines())


def test_instruments_of_other_libraries_cost_no_metric_of_ours(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    """As when a callback takes so long that the SDK gives up the whole collection."""
    settings = load(environ={})

    class Failing(Collector):
        def now(self) -> Any:
            raise BrokenError

    failing = Failing(preferences.temporality(settings.temporality), {})
    ours = OurMeterProvider(Resource.get_empty(), settings)
    ours.get_meter("ours").create_counter("kept").add(1)
    left: list[str] = []

    class Here:
        waits = False

        def spans(self, batch: Any) -> None:
            raise NotImplementedError

        def metrics(self, snapshot: Any, *, keep: bool) -> None:
            for resource in snapshot.resource_metrics:
                for scope in resource.scope_metrics:
                    left.extend(metric.name for metric in scope.metrics)

    aggregator = Aggregator(Resource.get_empty)
    collectors = (failing, ours.collector)
    pipe = MetricPipe(Here(), account, 60, collectors, aggregator)
    try:
        assert pipe.flush(PATIENCE)
    finally:
        pipe.close(10)
    assert "kept" in left
    assert account.dropped[("metrics", "internal_error")] >= 1
    assert len(said(caplog)) == 1
