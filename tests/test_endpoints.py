"""What an endpoint is taken for, over HTTP and gRPC."""

import pytest

from spanrun.endpoints import endpoint_fault, is_grpc_target, url_of
from spanrun.errors import ConfigurationError
from spanrun.settings import load

BASE = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
METRICS = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://c:4318", "http://c:4318/v1/traces"),
        ("http://c:4318/", "http://c:4318/v1/traces"),
        ("http://c/x/", "http://c/x/v1/traces"),
        ("http://c:4318?key=k", "http://c:4318/v1/traces?key=k"),
        ("https://me:pw@c/x?a=1&b=%20", "https://me:pw@c/x/v1/traces?a=1&b=%20"),
    ],
)
def test_the_path_is_added_before_the_query(endpoint: str, url: str) -> None:
    assert url_of(endpoint, "traces", whole=False) == url
    assert url_of(endpoint, "traces", whole=True) == endpoint


@pytest.mark.parametrize(
    ("environ", "hints"),
    [
        ({BASE: "http://c:4318/v1/traces"}, (BASE, "end it before /v1/traces", TRACES)),
        ({BASE: "http://c/x/v1/metrics/?k=v"}, ("before /v1/metrics/", METRICS)),
        ({"SPANRUN_ENDPOINT": "http://c/v1/traces"}, ("SPANRUN_ENDPOINT", TRACES)),
        ({METRICS: "http://c/v1/traces"}, (METRICS, "traces go", "/v1/metrics")),
        ({BASE: "http://c:99999"}, (BASE, "1 to 65535", "http://host:4318")),
        ({BASE: f"http://{'a' * 64}.com"}, (BASE, "label", "http://host:4318")),
        ({TRACES: "http://c/a b"}, (TRACES, "' '")),
        ({BASE: "c:4318"}, (BASE, "must begin with http://")),
        ({BASE: "otlp://me:hunter2@c"}, ("endpoint='otlp://c'", BASE)),
    ],
)
def test_a_bad_one_is_named_with_what_to_write(
    environ: dict[str, str], hints: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(environ=environ)
    for hint in hints:
        assert hint in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_bad_one_of_a_signal_that_is_not_sent_is_no_error() -> None:
    load(environ={TRACES: "http://c:99999", "OTEL_TRACES_EXPORTER": "none"})


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://c:4317",
        "https://c/",
        "c:4317",
        "[::1]:4317",
        "dns:///c:4317",
        "dns://8.8.8.8/c:4317",
        "dns:c:4317",
        "unix:/run/otel.sock",
        "unix:///run/otel.sock",
        "unix-abstract:otel",
        "ipv4:10.0.0.1:4317,10.0.0.2:4317",
    ],
)
def test_what_grpc_takes(endpoint: str) -> None:
    assert endpoint_fault(endpoint, "traces", protocol="grpc", whole=False) is None


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        ("http://c:4317/v1/traces", "no path"),
        ("https://c/x", "no path"),
        ("c:4317/x", "no path"),
        ("http://c?k=v", "no path"),
        ("http://c:0", "http://host:4317"),
        ("c:port", "1 to 65535"),
        ("ho st:4317", "' '"),
        ("a..b:4317", "label"),
        ("dns:///a..b:4317", "label"),
        ("unix:/run/otel sock", "a space"),
        ("ftp://c", "http://host:4317"),
    ],
)
def test_what_it_does_not(endpoint: str, message: str) -> None:
    fault = endpoint_fault(endpoint, "traces", protocol="grpc", whole=False)
    assert fault is not None
    assert message in fault


def test_what_is_a_target_of_grpcs_own() -> None:
    assert is_grpc_target("dns:///c")
    assert not is_grpc_target("c:4317")
    assert not is_grpc_target("dns")
