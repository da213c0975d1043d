"""Real servers for the tests; without them a test is skipped, with the reason."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from instrumentation.backends import servers


def needs(name: str) -> None:
    """Skip the test when a backend isn't there; fail it where that is required."""
    reason = servers.why_missing(name)
    if reason is None:
        return
    if os.environ.get("SPANRUN_REQUIRE_BACKENDS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def _fresh(
    name: str, start: Callable[[], AbstractContextManager[Any]]
) -> Iterator[Any]:
    needs(name)
    with start() as server:
        yield server


@pytest.fixture
def jaeger() -> Iterator[Any]:
    yield from _fresh("jaeger", servers.jaeger)


@pytest.fixture
def prometheus() -> Iterator[Any]:
    yield from _fresh("prometheus", servers.prometheus)


@pytest.fixture
def collector_of(jaeger: Any, prometheus: Any) -> Iterator[Any]:
    """A collector that hands traces to Jaeger and metrics to Prometheus."""
    needs("otelcol")
    config = {
        "exporters": {
            "otlp_grpc": {
                "endpoint": jaeger.otlp_grpc.removeprefix("http://"),
                "tls": {"insecure": True},
            },
            "otlp_http": {
                "metrics_endpoint": f"{prometheus.otlp_http}/v1/metrics",
            },
        },
        "service": {
            "pipelines": {
                "traces": {"receivers": ["otlp"], "exporters": ["otlp_grpc"]},
                "metrics": {"receivers": ["otlp"], "exporters": ["otlp_http"]},
            }
        },
    }
    with servers.collector(config) as server:
        yield server
