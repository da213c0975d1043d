import json
import os
import time

import httpx
import pytest
from instrumentation.backends import servers

# The real servers


def needs(name: str) -> None:
    reason = servers.why_missing(name)
    if reason is not None:
        if os.environ.get("SPANRUN_REQUIRE_BACKENDS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


def assert_gone(pid: int) -> None:
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def ask(url: str, body: object = None) -> bytes:
    method = "GET" if body is None else "POST"
    answer = httpx.request(
        method, url, json=body, timeout=10, trust_env=False, verify=False
    )
    answer.raise_for_status()
    return answer.content


def text(key: str, value: str) -> dict[str, object]:
    return {"key": key, "value": {"stringValue": value}}


TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
RESOURCE = {
    "attributes": [text("service.name", "shop"), text("service.instance.id", "one")]
}


def one_span() -> dict[str, object]:
    now = time.time_ns()
    span = {
        "traceId": TRACE_ID,
        "spanId": "b7ad6b7169203331",
        "name": "job",
        "kind": 1,
        "startTimeUnixNano": str(now - 1_000_000),
        "endTimeUnixNano": str(now),
    }
    spans = {"scope": {"name": "test"}, "spans": [span]}
    return {"resourceSpans": [{"resource": RESOURCE, "scopeSpans": [spans]}]}


def one_count() -> dict[str, object]:
    now = str(time.time_ns())
    exemplar = {
        "timeUnixNano": now,
        "asInt": "1",
        "traceId": TRACE_ID,
        "spanId": "b7ad6b7169203331",
    }
    point = {
        "startTimeUnixNano": now,
        "timeUnixNano": now,
        "asInt": "42",
        "exemplars": [exemplar],
    }
    counter = {"aggregationTemporality": 2, "isMonotonic": True, "dataPoints": [point]}
    metrics = {"scope": {"name": "test"}, "metrics": [{"name": "jobs", "sum": counter}]}
    return {"resourceMetrics": [{"resource": RESOURCE, "scopeMetrics": [metrics]}]}


@pytest.mark.slow
def test_jaeger_gives_back_a_trace():
    needs("jaeger")
    with servers.jaeger() as server:
        ask(f"{server.otlp_http}/v1/traces", one_span())
        found = json.loads(ask(f"{server.url}/api/traces?service=shop"))["data"]
        assert [trace["traceID"] for trace in found] == [TRACE_ID]
        assert found[0]["spans"][0]["operationName"] == "job"
    assert_gone(server.pid)


@pytest.mark.slow
def test_prometheus_gives_back_a_count_with_its_service():
    needs("prometheus")
    with servers.prometheus({"global": {"external_labels": {"x": "y"}}}) as server:
        ask(f"{server.otlp_http}/v1/metrics", one_count())
        answer = json.loads(ask(f"{server.url}/api/v1/query?query=jobs_total"))
        (series,) = answer["data"]["result"]
        assert series["value"][1] == "42"
        assert series["metric"]["service_name"] == series["metric"]["job"] == "shop"
        assert series["metric"]["service_instance_id"] == "one"
        config = json.loads(ask(f"{server.url}/api/v1/status/config"))
        assert 'x: "y"' in config["data"]["yaml"]
    assert_gone(server.pid)


@pytest.mark.slow
def test_collector_logs_what_it_receives():
    needs("otelcol")
    with servers.collector() as server:
        ask(f"{server.otlp_http}/v1/traces", one_span())
        deadline = time.monotonic() + 5
        while TRACE_ID not in (log := server.log_path.read_text()):
            assert time.monotonic() < deadline, log
            time.sleep(0.05)
    assert_gone(server.pid)


@pytest.mark.slow
def test_toxiproxy_delays_what_passes():
    needs("toxiproxy")
    with servers.toxiproxy() as server:
        upstream = server.url.removeprefix("http://")  # the API proxies itself
        proxy = {"name": "api", "listen": "127.0.0.1:0", "upstream": upstream}
        listen = json.loads(ask(f"{server.url}/proxies", proxy))["listen"]
        toxic = {"type": "latency", "attributes": {"latency": 300}}
        ask(f"{server.url}/proxies/api/toxics", toxic)
        begin = time.monotonic()
        assert ask(f"http://{listen}/version")
        assert time.monotonic() - begin >= 0.3
    assert_gone(server.pid)


@pytest.mark.slow
def test_solr_finds_the_nearest_vector():
    needs("solr")
    near, far = [1.0, *[0.1] * 255], [-1.0, *[0.1] * 255]
    with servers.solr() as server:
        docs = [
            {"id": "a", "title": "Near", "n_i": 3, "embedding": near},
            {"id": "b", "text": "far away", "embedding": far},
        ]
        ask(f"{server.url}/update?commit=true", docs)
        query = {"query": f"{{!knn f=embedding topK=1}}{near}", "fields": "id,n_i"}
        found = json.loads(ask(f"{server.url}/query", query))["response"]["docs"]
        assert found == [{"id": "a", "n_i": 3}]
        words = json.loads(ask(f"{server.url}/select?q=text:AWAY"))["response"]
        assert [doc["id"] for doc in words["docs"]] == ["b"]
    assert_gone(server.pid)
