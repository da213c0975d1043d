"""One program uses all there is: each name of the registry leaves it, and no other."""

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanrun import semconv
from spanrun.registry.check import Findings, attributes_of
from spanrun.registry.read import SCOPE, span_problems
from spanrun.telemetry.otlp_file import Placed

PROGRAM = """
import logging
import time
from spanrun.async_utils import run_jobs
from spanrun.clients.chat import Chat
from spanrun.clients.embeddings import Embeddings
from spanrun.engines import ProcessEngine
from spanrun.stores.sqlite import SqliteStore
from spanrun.telemetry.threads import Worker
from spanrun.testing.chat_server import ChatServer
from spanrun.testing.embedding_server import EmbeddingServer

calm = {"latency": 0, "jitter": 0, "rate_limited": 0, "unavailable": 0}
failed_once = set()

async def all_kinds(number):
    if number == 1 and number not in failed_once:
        failed_once.add(number)
        raise ConnectionError("again, please")
    if number == 2:
        raise ValueError("never")
    if number == 3:
        await asyncio.sleep(60)
    if number == 4:
        raise asyncio.CancelledError
    if number == 5:
        time.sleep(0.15)
    return number

async def twice(numbers):
    return [number * 2 for number in numbers]

async def slow_at_first(number, seen=set()):
    if number not in seen:
        seen.add(number)
        await asyncio.sleep(60)

class Busy(ConnectionError):
    retry_after = 0.001

async def is_back_soon(number, calls=[]):
    calls.append(number)
    if len(calls) % 4:
        raise Busy

class Later(ConnectionError):
    retry_after = 0.2

async def pauses_others(number, calls=[]):
    calls.append(number)
    if len(calls) == 1:
        raise Later

def embed(texts):
    return [[1.0, 2.0] for _ in texts], len(texts)

@sr.instrumented
async def parse():
    with sr.unit("inner"):
        await asyncio.sleep(0)

async def main():
    async with sr.Runner("sent", engine=ProcessEngine(1)) as runner:
        await runner.map(asyncio.sleep, [0, 0])
    policies = {
        "retry": sr.Retry(on=ConnectionError, attempts=2, base=0.001, cap=0.001),
        "timeout": sr.Timeout(total=0.3),
    }
    async with sr.Runner("kinds", limit=3, **policies) as runner:
        for trace in ("child", "linked"):
            failed_once.clear()
            await runner.map(
                all_kinds, range(8), errors="collect", trace=trace, key=str
            )
        await runner.map_batches(twice, range(8), size=4)
    outage = sr.Retry(on=Busy, attempts=2, base=0.001, cap=0.001, outage=60)
    async with sr.Runner("gone", limit=1, retry=outage) as runner:
        await runner.map(is_back_soon, [1])
    later = sr.Retry(on=Later, attempts=2)
    async with sr.Runner("paused", limit=1, retry=later) as runner:
        await runner.map(pauses_others, [1, 2])
    breaker = sr.Breaker(on=ValueError, failures=1)
    async with sr.Runner("broken", limit=1, breaker=breaker) as runner:
        await runner.map(all_kinds, [2, 0], errors="collect")
    async with sr.Runner("hedged", hedge=sr.Hedge(at=0.01, share=1)) as runner:
        await runner.call(slow_at_first, 1)
    policies = {
        "limit": sr.AdaptiveLimit(start=1, max=8),
        "rate": sr.RateLimit(100_000),
    }
    async with sr.Runner("adaptive", **policies) as runner:
        await runner.map(asyncio.sleep, [0] * 400)
    async with sr.Runner("again") as runner:
        for _ in range(2):
            kept = sr.Checkpoint("again.checkpoint")
            await runner.map(all_kinds, [1], checkpoint=kept)
    async with SqliteStore("documents.db", 2, "m") as store:
        await store.count()
    await parse()
    await run_jobs([asyncio.sleep(0)], desc="Sleeping")
    with ChatServer(**calm) as server:
        chat = Chat(
            f"{server.url}/v1", model="m", api_key="k", temperature=0.5, max_tokens=9
        )
        async with chat:
            await chat.achat("Hello.")
    options = {
        "model": "m",
        "api_key": "k",
        "encoding": "base64",
        "retry": sr.Retry(on=Exception, attempts=2, base=0.001, cap=0.001),
    }
    with EmbeddingServer(embed=embed, **calm) as server:
        url = f"{server.url}/v1"
        async with Embeddings(url, **options) as model:
            await model.aget_text_embedding("one text")
    async with Embeddings(url, **options) as model:
        try:
            await model.aget_text_embedding("one text")
        except Exception as error:
            assert "connect" in str(error).lower(), error

def fails_once(calls=[]):
    calls.append(1)
    if len(calls) == 1:
        raise RuntimeError("a log handler, say")

sr.configure(service_name="all", logs="INFO")
logging.getLogger("all").warning("a record")
Worker("all", fails_once).join(0.01)
sr.run(main())
assert sr.shutdown()
"""


class Emitted:
    """What has left a program: names, by what they are the names of."""

    def __init__(self, collector):
        self.findings = Findings()
        self.findings.check(
            Placed("", request) for request in (*collector.traces, *collector.metrics)
        )
        self.attributes = set()
        self.spans = set()
        self.events = set()
        self.metrics = set()
        for request in collector.traces:
            for resource in request.resource_spans:
                self.attributes |= attributes_of(resource.resource).keys()
                for scope in resource.scope_spans:
                    assert scope.scope.name == SCOPE
                    for span in scope.spans:
                        self._span(span)
        for request in collector.metrics:
            for resource in request.resource_metrics:
                for scope in resource.scope_metrics:
                    self._metrics(scope.metrics)
        self._logs(collector.logs)

    def _logs(self, requests):
        for request in requests:
            for resource in request.resource_logs:
                for scope in resource.scope_logs:
                    for record in scope.log_records:
                        self.attributes |= attributes_of(record).keys()

    def _span(self, span):
        attributes = attributes_of(span)
        self.attributes |= attributes.keys()
        kind = Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower()
        self.spans |= {
            place
            for place, signal in semconv.SPANS.items()
            if set(signal.required) <= attributes.keys()
            and not span_problems(span.name, kind, attributes, ours=True)
        }
        for event in span.events:
            self.events.add(event.name)
            self.attributes |= attributes_of(event).keys()

    def _metrics(self, metrics):
        for metric in metrics:
            self.metrics.add(metric.name)
            data = getattr(metric, metric.WhichOneof("data"))
            for point in data.data_points:
                self.attributes |= attributes_of(point).keys()


@pytest.fixture
def emitted(collector, run_program):
    def run(**environ):
        ended = run_program(
            PROGRAM,
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_RESOURCE_ATTRIBUTES="service.version=1.2.3",
            SPANRUN_LOOP_THRESHOLD="0.1",
            **environ,
        )
        assert not ended.code, ended.err
        return Emitted(collector)

    return run


NOT_HERE = {
    **dict.fromkeys(
        [
            "db.collection.name",
            "db.response.status_code",
        ],
        "needs Solr: tests/backends/test_solr.py and tests/clients/",
    ),
    "spanrun.http.time.tls": "needs TLS: tests/clients/",
    "db.query.text": "queries hold values: no code sets it",
    "gen_ai.embeddings.dimension.count": "no code sets it",
    "spanrun.run.jobs.skipped": "no code skips a job",
}
"""Names that the program can't emit, and why. When it does, they go from here."""


@pytest.mark.slow
def test_all_that_is_emitted_is_in_the_registry_and_all_of_it_is_emitted(emitted):
    emitted()
    found = emitted(
        OTEL_TRACES_SAMPLER="parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG="0"
    )
    assert [str(each) for each in found.findings] == []
    missing = {
        *(set(semconv.ATTRIBUTES) - found.attributes),
        *(set(semconv.SPANS) - found.spans),
        *(set(semconv.EVENTS) - found.events),
        *({metric.name for metric in semconv.METRICS} - found.metrics),
    }
    assert sorted(missing) == sorted(NOT_HERE)
