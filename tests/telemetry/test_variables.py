"""Each ``OTEL_*`` variable, by what arrives at a receiver."""

import itertools
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from tests.telemetry.export.receiver import OK, Answer, Got, Receiver, receiving

from spanrun import semconv

pytestmark = pytest.mark.slow

WORK = "sr.configure()\nsr.run(work())\nassert sr.shutdown()\n"
SPANS = 21
"""Of `WORK`: a run and its jobs."""
OTLP = "OTEL_EXPORTER_OTLP"
DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE


class Arrived:
    """What is in the requests of a receiver."""

    def __init__(self, requests: list[Got]) -> None:
        self.requests = requests
        self.traces = [
            ExportTraceServiceRequest.FromString(got.body)
            for got in requests
            if got.path.endswith(("traces", "TraceService"))
        ]
        self.metrics = [
            ExportMetricsServiceRequest.FromString(got.body)
            for got in requests
            if got.path.endswith(("metrics", "MetricsService"))
        ]

    def spans(self, name: str | None = None) -> list[Any]:
        return [
            span
            for request in self.traces
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
            if name in (None, span.name)
        ]

    def resources(self) -> list[dict[str, str]]:
        """The attributes of each resource: of spans, then of metrics."""
        found = [each for request in self.traces for each in request.resource_spans]
        found += [each for request in self.metrics for each in request.resource_metrics]
        return [
            {pair.key: pair.value.string_value for pair in each.resource.attributes}
            for each in found
        ]

    def named(self, name: str) -> list[Any]:
        """The metric in each request that has it."""
        return [
            metric
            for request in self.metrics
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
        ]

    def jobs(self) -> float:
        """How many there were, by the newest point."""
        points = self.named(semconv.METRIC_SPANRUN_JOBS.name)[-1].sum.data_points
        return sum(point.as_int or point.as_double for point in points)


Run = Callable[..., Arrived]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
def run(run_program: Any, receiver: Receiver) -> Run:
    """Run a program with variables; what has arrived then."""

    def ran(text: str = WORK, **environ: str) -> Arrived:
        environ.setdefault(f"{OTLP}_ENDPOINT", receiver.url)
        done = run_program(text, **environ)
        assert (done.code, done.err) == (0, "")
        return Arrived(receiver.requests)

    return ran


@pytest.fixture
def endpoint_of(receiver: Receiver) -> dict[str, str]:
    return {f"{OTLP}_ENDPOINT": receiver.url}


# --- the SDK


def test_sdk_disabled(run: Run):
    assert run(OTEL_SDK_DISABLED="true").requests == []


def test_sdk_enabled(run: Run):
    found = run(OTEL_SDK_DISABLED="false")
    assert len(found.spans()) == SPANS
    assert found.jobs() == 20


def test_service_name(run: Run):
    found = run(OTEL_SERVICE_NAME="mine", OTEL_RESOURCE_ATTRIBUTES="service.name=other")
    assert {each["service.name"] for each in found.resources()} == {"mine"}
    assert found.traces
    assert found.metrics


def test_resource_attributes(run: Run):
    given = "service.name=of%20theirs,deployment.environment.name=prod,team=a%2Cb"
    found = run(OTEL_RESOURCE_ATTRIBUTES=given)
    assert found.traces
    assert found.metrics
    for each in found.resources():
        assert each["service.name"] == "of theirs"
        assert each["deployment.environment.name"] == "prod"
        assert each["team"] == "a,b"
    assert len({each["service.instance.id"] for each in found.resources()}) == 1


# --- samplers

BELOW = """
from opentelemetry import context, trace
def below(flags):
    parent = trace.SpanContext(1 + flags, 2, True, trace.TraceFlags(flags))
    held = trace.set_span_in_context(trace.NonRecordingSpan(parent))
    token = context.attach(held)
    sr.run(work(5))
    context.detach(token)

sr.configure()
sr.run(work(3))
below(0)
below(1)
assert sr.shutdown()
"""
ROOT, BELOW_0, BELOW_1 = 4, 6, 6
"""Spans without a parent, below one that wasn't sampled, below one that was."""


@pytest.mark.parametrize(
    ("sampler", "argument", "count"),
    [
        ("always_on", "", ROOT + BELOW_0 + BELOW_1),
        ("always_off", "", 0),
        ("traceidratio", "1", ROOT + BELOW_0 + BELOW_1),
        ("parentbased_always_on", "", ROOT + BELOW_1),
        ("parentbased_always_off", "", BELOW_1),
        ("parentbased_traceidratio", "1.0", ROOT + BELOW_1),
        ("", "", ROOT + BELOW_1),
    ],
)
def test_traces_sampler(run: Run, sampler: str, argument: str, count: int):
    # A slow or pinned trace is kept though it wasn't drawn; here none shall be.
    found = run(
        BELOW,
        OTEL_TRACES_SAMPLER=sampler,
        OTEL_TRACES_SAMPLER_ARG=argument,
        OTEL_METRICS_EXPORTER="none",
    )
    # A span may come twice: what was answered too late is sent again.
    kept = {span.span_id for span in found.spans() if not reason_of(span)}
    assert len(kept) == count


def reason_of(span: Any) -> str:
    """Why the trace was kept that wasn't drawn: on its local root alone."""
    return next(
        (
            pair.value.string_value
            for pair in span.attributes
            if pair.key == semconv.SPANRUN_SAMPLING_REASON
        ),
        "",
    )


@pytest.mark.parametrize("sampler", ["traceidratio", "parentbased_traceidratio"])
def test_a_ratio_draws_about_that_many_and_metrics_stay_exact(run: Run, sampler: str):
    program = (
        "async def many():\n"
        "    async with sr.Runner('work', limit=4) as runner:\n"
        "        await runner.map(double, range(2_000), trace='linked')\n"
        "sr.configure()\nsr.run(many())\nassert sr.shutdown()\n"
    )
    found = run(program, OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG="0.25")
    drawn = [span for span in found.spans("job work") if "th:c" in span.trace_state]
    assert 380 < len(drawn) < 620  # 6 standard deviations
    assert found.jobs() == 2_000


def test_metrics_are_exact_without_any_span(run: Run):
    found = run(OTEL_TRACES_SAMPLER="always_off")
    assert found.spans() == []
    assert found.jobs() == 20


def test_a_sampler_that_nobody_knows_is_said_and_all_is_kept(
    run_program: Any, receiver: Receiver, endpoint_of: dict[str, str]
):
    done = run_program(WORK, OTEL_TRACES_SAMPLER="dice", **endpoint_of)
    assert done.code == 0
    assert "dice" in done.err
    assert len(Arrived(receiver.requests).spans()) == SPANS


def test_a_ratio_that_is_none_is_said_and_all_is_kept(
    run_program: Any, receiver: Receiver, endpoint_of: dict[str, str]
):
    sampler = {
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "half",
    }
    done = run_program(WORK, **sampler, **endpoint_of)
    assert done.code == 0
    assert "OTEL_TRACES_SAMPLER_ARG='half': must be a number" in done.err
    assert len(Arrived(receiver.requests).spans()) == SPANS


# --- where it goes


def test_endpoint_is_a_base(run: Run, receiver: Receiver):
    found = run(**{f"{OTLP}_ENDPOINT": f"{receiver.url}/base/"})
    paths = {got.path for got in found.requests}
    assert paths == {"/base/v1/traces", "/base/v1/metrics"}


def test_endpoint_of_a_signal_is_taken_as_it_stands(run: Run, receiver: Receiver):
    found = run(
        **{
            f"{OTLP}_TRACES_ENDPOINT": f"{receiver.url}/here/traces",
            f"{OTLP}_METRICS_ENDPOINT": f"{receiver.url}/there/metrics",
        }
    )
    assert {got.path for got in found.requests} == {"/here/traces", "/there/metrics"}


def test_with_the_endpoint_of_one_signal_the_other_stays(run: Run, receiver: Receiver):
    found = run(
        **{
            f"{OTLP}_ENDPOINT": "",
            f"{OTLP}_TRACES_ENDPOINT": f"{receiver.url}/v1/traces",
        }
    )
    assert {got.path for got in found.requests} == {"/v1/traces"}


def test_headers(run: Run):
    found = run(
        **{
            f"{OTLP}_HEADERS": "api-key=a%20b,x-tenant=one",
            f"{OTLP}_METRICS_HEADERS": "api-key=other",
        }
    )
    traces = [got.headers for got in found.requests if got.path == "/v1/traces"]
    metrics = [got.headers for got in found.requests if got.path == "/v1/metrics"]
    assert {(each["api-key"], each["x-tenant"]) for each in traces} == {("a b", "one")}
    assert {(each["api-key"], each.get("x-tenant")) for each in metrics} == {
        ("other", None)
    }


@pytest.mark.parametrize("variable", [f"{OTLP}_TIMEOUT", f"{OTLP}_TRACES_TIMEOUT"])
def test_timeout(run_program: Any, variable: str):
    """A request that takes longer is given up, and made once more."""
    requests, again = itertools.count(1), threading.Event()

    def answer(got: Got) -> Answer:
        if got.path == "/v1/traces":
            if next(requests) == 1:
                again.wait()
                return Answer(0)  # nobody is there any more
            again.set()
        return OK

    program = (
        "import logging; logging.disable(logging.CRITICAL)\n"
        "sr.configure()\nsr.run(work())\n"
        "from spanrun.telemetry import setup\n"
        "assert setup.telemetry().flush(60), setup.telemetry().status()\n"
        "assert sr.shutdown()\n"
    )
    with receiving(answer) as receiver:
        environ = {f"{OTLP}_ENDPOINT": receiver.url, variable: "0.3"}
        done = run_program(program, **environ)
    assert (done.code, done.err) == (0, "")
    traces = [got for got in receiver.requests if got.path == "/v1/traces"]
    assert len(traces) == 2
    assert len(receiver.taken) == SPANS


@pytest.mark.parametrize(
    ("given", "encodings"),
    [
        ({f"{OTLP}_COMPRESSION": "gzip"}, {"gzip"}),
        ({f"{OTLP}_COMPRESSION": "none"}, {None}),
        (
            {f"{OTLP}_COMPRESSION": "gzip", f"{OTLP}_METRICS_COMPRESSION": "none"},
            {"gzip", None},
        ),
    ],
)
def test_compression(run: Run, given: dict[str, str], encodings: set[str | None]):
    found = run(**given)
    assert {got.headers.get("content-encoding") for got in found.requests} == encodings
    assert len(found.spans()) == SPANS


@contextmanager
def grpc_receiving(credentials: Any = None) -> Iterator[tuple[str, list[Got]]]:
    """A gRPC server on loopback that takes both signals: its address, and what came."""
    requests: list[Got] = []

    def method(service: str) -> Any:
        def export(body: bytes, context: grpc.ServicerContext) -> bytes:
            metadata = {key: str(value) for key, value in context.invocation_metadata()}
            requests.append(Got(service, metadata, body))
            return b""

        return grpc.method_handlers_generic_handler(
            service, {"Export": grpc.unary_unary_rpc_method_handler(export)}
        )

    services = [
        f"opentelemetry.proto.collector.{name}.v1.{name.capitalize()}Service"
        for name in ("trace", "metrics")
    ]
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool, handlers=[method(service) for service in services])
        if credentials is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        yield f"127.0.0.1:{port}", requests
        server.stop(0).wait()


def test_protocol_grpc(run: Run):
    with grpc_receiving() as (address, requests):
        run(
            **{
                f"{OTLP}_ENDPOINT": f"http://{address}",
                f"{OTLP}_PROTOCOL": "grpc",
                f"{OTLP}_HEADERS": "api-key=k",
                f"{OTLP}_COMPRESSION": "gzip",
            }
        )
    found = Arrived(requests)
    assert len(found.spans()) == SPANS
    assert found.jobs() == 20
    assert {got.headers["api-key"] for got in requests} == {"k"}


def test_protocol_of_one_signal(run: Run):
    with grpc_receiving() as (address, requests):
        found = run(
            **{
                f"{OTLP}_TRACES_ENDPOINT": f"http://{address}",
                f"{OTLP}_TRACES_PROTOCOL": "grpc",
                f"{OTLP}_PROTOCOL": "http/protobuf",
            }
        )
    assert len(Arrived(requests).spans()) == SPANS
    assert found.spans() == []
    assert found.jobs() == 20


def test_insecure_is_for_an_address_without_a_scheme(run: Run):
    with grpc_receiving() as (address, requests):
        run(
            **{
                f"{OTLP}_ENDPOINT": address,
                f"{OTLP}_PROTOCOL": "grpc",
                f"{OTLP}_INSECURE": "true",
            }
        )
    assert len(Arrived(requests).spans()) == SPANS


def of_tls(certificates: Path) -> dict[str, str]:
    return {
        f"{OTLP}_CERTIFICATE": str(certificates / "server.pem"),
        f"{OTLP}_CLIENT_CERTIFICATE": str(certificates / "client.pem"),
        f"{OTLP}_CLIENT_KEY": str(certificates / "client.key"),
    }


def test_certificate_and_client_certificate(run: Run, certificates: Path):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    tls.load_verify_locations(certificates / "client.pem")
    tls.verify_mode = ssl.CERT_REQUIRED
    with receiving(tls=tls) as receiver:
        run(**of_tls(certificates), **{f"{OTLP}_ENDPOINT": receiver.url})
    found = Arrived(receiver.requests)
    assert len(found.spans()) == SPANS
    assert found.jobs() == 20


def test_certificates_over_grpc_which_is_not_insecure_by_default(
    run: Run, certificates: Path
):
    read = {path.name: path.read_bytes() for path in certificates.iterdir()}
    credentials = grpc.ssl_server_credentials(
        [(read["server.key"], read["server.pem"])],
        root_certificates=read["client.pem"],
        require_client_auth=True,
    )
    with grpc_receiving(credentials) as (address, requests):
        run(
            **of_tls(certificates),
            **{f"{OTLP}_ENDPOINT": address, f"{OTLP}_PROTOCOL": "grpc"},
        )
    assert len(Arrived(requests).spans()) == SPANS


def test_without_the_certificate_nothing_is_sent_to_a_stranger(
    run_program: Any, certificates: Path
):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    with receiving(tls=tls) as receiver:
        program = "sr.configure()\nsr.run(work())\nprint(sr.shutdown())\n"
        done = run_program(program, **{f"{OTLP}_ENDPOINT": receiver.url})
    assert done.out.split() == ["False"]
    assert "SSLCertVerificationError" in done.err
    assert receiver.requests == []


# --- exporters


@pytest.mark.parametrize(
    ("traces", "metrics", "paths"),
    [
        ("otlp", "otlp", {"/v1/traces", "/v1/metrics"}),
        ("none", "otlp", {"/v1/metrics"}),
        ("otlp", "none", {"/v1/traces"}),
        ("none", "none", set[str]()),
    ],
)
def test_exporters(run: Run, traces: str, metrics: str, paths: set[str]):
    found = run(OTEL_TRACES_EXPORTER=traces, OTEL_METRICS_EXPORTER=metrics)
    assert {got.path for got in found.requests} == paths


def test_console_exporters(run_program: Any, endpoint_of: dict[str, str]):
    both = {"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "console"}
    done = run_program(WORK, **both, **endpoint_of)
    assert (done.code, done.err) == (0, "")
    assert done.out.count('"name": "job work"') == 20
    assert f'"name": "{semconv.METRIC_SPANRUN_JOBS.name}"' in done.out


def test_one_signal_on_the_console_and_the_other_sent(
    run_program: Any, receiver: Receiver, endpoint_of: dict[str, str]
):
    done = run_program(WORK, OTEL_TRACES_EXPORTER="console", **endpoint_of)
    assert (done.code, done.err) == (0, "")
    assert done.out.count('"name": "job work"') == 20
    found = Arrived(receiver.requests)
    assert found.spans() == []
    assert found.jobs() == 20


def test_otlp_without_an_endpoint_goes_to_its_default(run_program: Any):
    program = (
        "sr.configure()\n"
        "from spanrun.telemetry import setup\n"
        "status = setup.telemetry().status()\n"
        "print({s: each.destination for s, each in status.signals.items()})\n"
    )
    done = run_program(program, OTEL_TRACES_EXPORTER="otlp")
    assert done.out.strip() == "{'traces': 'http://localhost:4318/v1/traces'}"


# --- metrics


def test_metric_export_interval(run: Run):
    program = (
        "import time\n"
        "from spanrun.telemetry import setup\n"
        "def handed_over():\n"
        "    return setup.telemetry().status().signals['metrics'].produced\n"
        "sr.configure()\n"
        "sr.run(work())\n"
        "WAIT\n"
        "assert sr.shutdown()\n"
    )
    found = run(program.replace("WAIT", "time.sleep(1)"))
    seldom = len(found.metrics)
    (*_, last) = found.named(semconv.METRIC_SPANRUN_JOBS.name)
    (point, *_) = last.sum.data_points
    took = (point.time_unix_nano - point.start_time_unix_nano) / 1e9
    # The runner opened and closed, the end, and where it counted a snapshot a second.
    assert seldom <= 4 + int(took)
    wait = "seen = set()\nwhile len(seen) < 10: seen.add(handed_over())"
    often = run(program.replace("WAIT", wait), OTEL_METRIC_EXPORT_INTERVAL="100")
    assert len(often.metrics) >= 9


@pytest.mark.parametrize(
    ("preference", "counter", "observed"),
    [
        ("cumulative", CUMULATIVE, CUMULATIVE),
        ("delta", DELTA, DELTA),
        ("lowmemory", DELTA, CUMULATIVE),
    ],
)
def test_temporality_preference(run: Run, preference: str, counter: Any, observed: Any):
    found = run(
        "sr.configure()\nsr.run(work())\nsr.run(work(5))\nassert sr.shutdown()\n",
        OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=preference,
    )

    def of(metric: semconv.Metric, kind: str) -> Any:
        told = found.named(metric.name)
        return {getattr(each, kind).aggregation_temporality for each in told}

    assert of(semconv.METRIC_SPANRUN_JOBS, "sum") == {counter}
    assert of(semconv.METRIC_SPANRUN_JOB_DURATION, "histogram") == {counter}
    assert of(semconv.METRIC_SPANRUN_TELEMETRY_ITEMS, "sum") == {observed}
    assert of(semconv.METRIC_SPANRUN_JOB_ACTIVE, "sum") == {CUMULATIVE}
    told = [
        sum(point.as_int or point.as_double for point in each.sum.data_points)
        for each in found.named(semconv.METRIC_SPANRUN_JOBS.name)
    ]
    assert (sum(told) if counter == DELTA else told[-1]) == 25


@pytest.mark.parametrize(
    ("aggregation", "kind"),
    [
        ("explicit_bucket_histogram", "histogram"),
        ("base2_exponential_bucket_histogram", "exponential_histogram"),
    ],
)
def test_default_histogram_aggregation(run: Run, aggregation: str, kind: str):
    program = (
        "sr.configure()\n"
        "from opentelemetry import metrics\n"
        "theirs = metrics.get_meter('theirs').create_histogram('theirs')\n"
        "theirs.record(3)\n" + WORK.partition("\n")[2]
    )
    found = run(
        program, OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION=aggregation
    )
    for name in (semconv.METRIC_SPANRUN_JOB_DURATION.name, "theirs"):
        assert {each.WhichOneof("data") for each in found.named(name)} == {kind}
        points = getattr(found.named(name)[-1], kind).data_points
        assert sum(point.count for point in points) == (1 if name == "theirs" else 20)


def exemplars(found: Arrived) -> list[Any]:
    return [
        exemplar
        for each in found.named(semconv.METRIC_SPANRUN_JOB_DURATION.name)
        for point in each.histogram.data_points
        for exemplar in point.exemplars
    ]


@pytest.mark.parametrize("kind", ["always_on", "trace_based", ""])
def test_metrics_exemplar_filter(run: Run, kind: str):
    found = run(OTEL_METRICS_EXEMPLAR_FILTER=kind)
    traces = {span.trace_id for span in found.spans()}
    assert exemplars(found)
    assert {exemplar.trace_id for exemplar in exemplars(found)} <= traces


def test_metrics_exemplar_filter_off(run: Run):
    found = run(OTEL_METRICS_EXEMPLAR_FILTER="always_off")
    assert found.jobs() == 20
    assert exemplars(found) == []


# --- propagation

PROPAGATING = """
from opentelemetry import baggage, context, propagate, trace
sr.configure()
async def job(_):
    carrier = {}
    propagate.inject(carrier)
    span = trace.get_current_span().get_span_context()
    print(sorted(carrier), carrier.get("traceparent", "").split("-")[1:3] == [
        format(span.trace_id, "032x"), format(span.span_id, "016x")])
async def main():
    async with sr.Runner("work") as runner: await runner.map(job, [1])
context.attach(baggage.set_baggage("tenant", "one"))
sr.run(main())
assert sr.shutdown()
"""


@pytest.mark.parametrize(
    ("propagators", "told"),
    [
        ("", "['baggage', 'traceparent'] True"),
        ("tracecontext", "['traceparent'] True"),
        ("baggage", "['baggage'] False"),
        ("none", "[] False"),
    ],
)
def test_propagators(
    run_program: Any, endpoint_of: dict[str, str], propagators: str, told: str
):
    done = run_program(PROPAGATING, OTEL_PROPAGATORS=propagators, **endpoint_of)
    assert (done.code, done.err) == (0, "")
    assert done.out.strip() == told


# --- limits

MUCH = """
from opentelemetry import trace
sr.configure()
tracer = trace.get_tracer("theirs")
many = {f"k{n}": "x" * 100 for n in range(10)}
context = trace.SpanContext(1, 2, True)
links = [trace.Link(context, many) for _ in range(10)]
with tracer.start_as_current_span("much", attributes=many, links=links) as span:
    for _ in range(10):
        span.add_event("event", many)
with sr.unit("ours", **many): pass
assert sr.shutdown()
"""


def lengths(pairs: Any) -> set[int]:
    return {len(pair.value.string_value) for pair in pairs if pair.key[0] == "k"}


def much(found: Arrived) -> Any:
    (span,) = found.spans("much")
    return span


def test_without_limits_all_is_there(run: Run):
    span = much(run(MUCH))
    assert lengths(span.attributes) == {100}
    assert [len(each) for each in (span.attributes, span.events, span.links)] == [
        10
    ] * 3
    assert len(span.events[0].attributes) == len(span.links[0].attributes) == 10


def test_attribute_value_length_limit(run: Run):
    found = run(MUCH, OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT="7")
    span = much(found)
    assert lengths(span.attributes) == {7}
    assert lengths(span.events[0].attributes) == {7}
    assert lengths(span.links[0].attributes) == {7}
    (ours,) = found.spans("ours")
    assert lengths(ours.attributes) == {7}


def test_span_attribute_value_length_limit(run: Run):
    span = much(run(MUCH, OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT="7"))
    assert lengths(span.attributes) == {7}
    assert lengths(span.events[0].attributes) == {100}


def test_attribute_count_limit(run: Run):
    span = much(run(MUCH, OTEL_ATTRIBUTE_COUNT_LIMIT="3"))
    assert (len(span.attributes), span.dropped_attributes_count) == (3, 7)
    assert len(span.events[0].attributes) == len(span.links[0].attributes) == 3


def test_span_attribute_count_limit(run: Run):
    span = much(run(MUCH, OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT="3"))
    assert (len(span.attributes), span.dropped_attributes_count) == (3, 7)
    assert len(span.events[0].attributes) == 10


def test_span_event_count_limit(run: Run):
    span = much(run(MUCH, OTEL_SPAN_EVENT_COUNT_LIMIT="4"))
    assert (len(span.events), span.dropped_events_count) == (4, 6)


def test_span_link_count_limit(run: Run):
    span = much(run(MUCH, OTEL_SPAN_LINK_COUNT_LIMIT="4"))
    assert (len(span.links), span.dropped_links_count) == (4, 6)


def test_event_attribute_count_limit(run: Run):
    event = much(run(MUCH, OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT="2")).events[0]
    assert (len(event.attributes), event.dropped_attributes_count) == (2, 8)


def test_link_attribute_count_limit(run: Run):
    link = much(run(MUCH, OTEL_LINK_ATTRIBUTE_COUNT_LIMIT="2")).links[0]
    assert (len(link.attributes), link.dropped_attributes_count) == (2, 8)


# --- what can't work is said, with the variable


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_SDK_DISABLED", "perhaps"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_METRICS_EXPORTER", "statsd"),
        ("OTEL_TRACES_EXPORTER", "prometheus"),
        (f"{OTLP}_PROTOCOL", "http/json"),
        (f"{OTLP}_COMPRESSION", "brotli"),
        (f"{OTLP}_TIMEOUT", "soon"),
        (f"{OTLP}_CERTIFICATE", "nowhere.pem"),
        (f"{OTLP}_TRACES_CLIENT_KEY", "nowhere.key"),
        (f"{OTLP}_METRICS_TEMPORALITY_PREFERENCE", "sideways"),
        (f"{OTLP}_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "pie"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "often"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "some"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "many"),
    ],
)
def test_nonsense(
    run_program: Any, endpoint_of: dict[str, str], variable: str, value: str
):
    done = run_program("sr.configure()", **endpoint_of, **{variable: value})
    assert done.code == 1
    last = done.err.strip().splitlines()[-1]
    assert last.startswith("spanrun.errors.ConfigurationError: ")
    assert variable in last
    assert value in last
