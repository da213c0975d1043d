"""What a client does wrong is an error at once: it names the variable, no secret."""

import subprocess
from pathlib import Path

import pytest
from tests.telemetry.export.receiver import receiving, spans

import spanrun as sr
from spanrun.errors import ConfigurationError
from spanrun.settings import Protocol, SignalSettings
from spanrun.telemetry.export.destination import destination
from spanrun.telemetry.export.exporters import exporter

OTLP = "OTEL_EXPORTER_OTLP"
HTTP = SignalSettings("otlp", "http/protobuf", None)
GRPC = SignalSettings("otlp", "grpc", None)


@pytest.mark.parametrize("settings", [HTTP, GRPC], ids=["http", "grpc"])
@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ("authorization=Bearer%20hunter2%0Ax", "the header authorization: its value"),
        ("api-key=hunter2%C3%A4", "the header api-key: its value"),
        ("api-key=hunter2\x1b[31m", "the header api-key: its value"),
        ("api key=hunter2", "the header number 1: must be name=value"),
        ("a=b,=hunter2", "the header number 2: must be name=value"),
        ("a=b,hunter2", "the header number 2: must be name=value"),
        ("api-key: hunter2", "the header number 1: must be name=value"),
        ("content-length=5", "the header content-length: spanrun sets it itself"),
        ("transfer-encoding=chunked", "the header transfer-encoding: spanrun sets"),
        ("content-type=application/json", "the header content-type: spanrun sets"),
        ("content-encoding=gzip", "OTEL_EXPORTER_OTLP_COMPRESSION=gzip"),
    ],
)
def test_a_bad_header(settings: SignalSettings, headers: str, message: str):
    for variable in (f"{OTLP}_HEADERS", f"{OTLP}_TRACES_HEADERS"):
        with pytest.raises(ConfigurationError, match=f"^{variable}: ") as caught:
            destination("traces", settings, {variable: headers})
        assert message in str(caught.value)
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["grpc-timeout", "trace-bin"])
def test_a_header_of_grpcs_own(name: str):
    environ = {f"{OTLP}_HEADERS": f"{name}=hunter2"}
    with pytest.raises(ConfigurationError, match=f"the header {name}: is one of gRPC"):
        destination("traces", GRPC, environ)
    assert destination("traces", HTTP, environ).headers == {name: "hunter2"}


def test_the_type_that_is_sent_anyway_is_no_error():
    environ = {f"{OTLP}_HEADERS": "Content-Type=application/x-protobuf,x.y=z"}
    assert destination("traces", HTTP, environ).headers == {"x.y": "z"}


@pytest.mark.parametrize("seconds", ["1e300", "inf", "nan", "0"])
def test_a_timeout_that_no_socket_can_have(seconds: str):
    environ = {f"{OTLP}_TIMEOUT": seconds}
    with pytest.raises(ConfigurationError, match=f"^{OTLP}_TIMEOUT='{seconds}': must"):
        destination("traces", HTTP, environ)


@pytest.mark.parametrize(
    ("endpoint", "insecure"),
    [
        ("unix:/run/otel.sock", True),
        ("unix-abstract:otel", True),
        ("dns:///c:4317", False),
        ("HTTP://c:4317", True),
        ("https://c", False),
    ],
)
def test_what_grpc_speaks_tls_to(endpoint: str, *, insecure: bool):
    environ = {f"{OTLP}_ENDPOINT": endpoint}
    found = destination("traces", GRPC, environ)
    assert (found.url, found.insecure) == (endpoint, insecure)
    asked = {**environ, f"{OTLP}_INSECURE": "true"}
    plain = destination("traces", GRPC, asked).insecure
    assert plain is (endpoint != "https://c")


# --- the files for TLS


@pytest.fixture(scope="module")
def keys(certificates: Path) -> Path:
    """The folder of certificates, with a key that is encrypted, and one of both."""
    subprocess.run(
        [
            *("openssl", "pkey", "-in", "client.key", "-aes256"),
            *("-passout", "pass:hunter2", "-out", "locked.key"),
        ],
        cwd=certificates,
        check=True,
        capture_output=True,
    )
    both = [(certificates / f"client.{end}").read_text() for end in ("pem", "key")]
    (certificates / "both.pem").write_text("".join(both))
    locked = (certificates / "locked.key").read_text()
    (certificates / "locked.pem").write_text(both[0] + locked)
    (certificates / "noise.pem").write_text("nonsense")
    return certificates


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize(
    ("files", "named", "message"),
    [
        ({"CERTIFICATE": "noise.pem"}, "CERTIFICATE", "not a PEM file"),
        ({"CERTIFICATE": "none.pem"}, "CERTIFICATE", "no such file"),
        ({"CLIENT_KEY": "client.key"}, "CLIENT_KEY", f"set {OTLP}_CLIENT_CERTIFICATE"),
        (
            {"CLIENT_KEY": "locked.key", "CLIENT_CERTIFICATE": "client.pem"},
            "CLIENT_KEY",
            "is encrypted",
        ),
        ({"CLIENT_CERTIFICATE": "locked.pem"}, "CLIENT_CERTIFICATE", "is encrypted"),
        ({"CLIENT_CERTIFICATE": "client.pem"}, "CLIENT_CERTIFICATE", "not a PEM file"),
        (
            {"CLIENT_KEY": "server.key", "CLIENT_CERTIFICATE": "client.pem"},
            "CLIENT_KEY",
            "isn't that of the certificate",
        ),
        (
            {"CLIENT_KEY": "noise.pem", "CLIENT_CERTIFICATE": "client.pem"},
            "CLIENT_KEY",
            "not a PEM file",
        ),
    ],
)
def test_a_file_that_can_not_be_used(
    keys: Path, protocol: Protocol, files: dict[str, str], named: str, message: str
):
    environ = {f"{OTLP}_{name}": str(keys / file) for name, file in files.items()}
    environ[f"{OTLP}_ENDPOINT"] = "https://c:4318"
    with pytest.raises(ConfigurationError, match=f"^{OTLP}_{named}='") as caught:
        destination("traces", SignalSettings("otlp", protocol, None), environ)
    assert message in str(caught.value)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_key_may_be_in_the_file_of_its_certificate(keys: Path, protocol: Protocol):
    environ = {
        f"{OTLP}_ENDPOINT": "https://c:4318",
        f"{OTLP}_CLIENT_CERTIFICATE": str(keys / "both.pem"),
    }
    exporter(destination("traces", SignalSettings("otlp", protocol, None), environ))


# --- and `configure` raises them


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        (f"{OTLP}_HEADERS", "api-key=hunter2%0Ax"),
        (f"{OTLP}_ENDPOINT", f"http://me:hunter2@{'c' * 64}.example:4318"),
        (f"{OTLP}_ENDPOINT", "http://me:hunter2@c:65536"),
        (f"{OTLP}_ENDPOINT", "http://me:hunter2@c /"),
        (f"{OTLP}_ENDPOINT", "http://me:hunter2@c\x1b[2J"),
        ("ALL_PROXY", "socks5://me:hunter2@p:1080"),
        ("https_proxy", "http://me:hunter2@p:0"),
    ],
)
def test_configure_raises_it(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    protocol: str,
    name: str,
    value: str,
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(f"{OTLP}_ENDPOINT", "https://c.example:4318")
    monkeypatch.setenv(f"{OTLP}_PROTOCOL", protocol)
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name) as caught:
        sr.configure()
    assert "hunter2" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_query_stays_behind_the_path():
    with receiving() as receiver:
        environ = {f"{OTLP}_ENDPOINT": f"{receiver.url}/x?tenant=a%20b"}
        sending = exporter(destination("traces", HTTP, environ))
        assert sending.send(spans([1])).verdict == "delivered"
        sending.close()
    assert receiver.requests[0].path == "/x/v1/traces?tenant=a%20b"
