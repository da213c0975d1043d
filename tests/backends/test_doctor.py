"""`spanrun doctor` finds nothing amiss with real backends, over HTTP and over gRPC."""

import json
import subprocess
import sys
from typing import Any

import pytest
from tests.programs import plain_environ
from tests.waiting import PATIENCE


def levels(tmp_path: Any, **variables: str) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "spanrun", "doctor", "--json"],
        env={**plain_environ(), **variables},
        cwd=tmp_path,
        capture_output=True,
        check=True,
        timeout=PATIENCE,
    )
    return {each["check"]: each["level"] for each in json.loads(done.stdout)["checks"]}


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_traces_to_jaeger(jaeger: Any, tmp_path: Any, protocol: str) -> None:
    url = jaeger.otlp_grpc if protocol == "grpc" else f"{jaeger.otlp_http}/v1/traces"
    found = levels(
        tmp_path,
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=url,
        OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=protocol,
    )
    assert found["traces"] == "ok"


def test_metrics_to_prometheus(prometheus: Any, tmp_path: Any) -> None:
    url = f"{prometheus.otlp_http}/v1/metrics"
    found = levels(tmp_path, OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=url)
    assert found["metrics"] == "ok"
