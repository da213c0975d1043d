"""Settings: who wins, what is refused, and what is said then."""

from pathlib import Path
from typing import Any

import pytest

from spanrun.errors import ConfigurationError
from spanrun.settings import load


def write(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, "utf-8")
    return folder


def test_without_anything_telemetry_stays_in_the_local_store() -> None:
    settings = load(environ={})
    assert (settings.traces.exporter, settings.metrics.exporter) == ("none", "none")
    assert settings.store == Path(".spanrun")
    assert settings.shutdown_timeout == 5.0


def test_an_endpoint_sends_both_signals_and_keeps_no_store() -> None:
    settings = load(environ={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"})
    assert (settings.traces.exporter, settings.metrics.exporter) == ("otlp", "otlp")
    assert settings.traces.endpoint is None  # the exporter reads the variable itself
    assert settings.store is None


def test_an_endpoint_for_one_signal_sends_that_one() -> None:
    variable = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
    settings = load(environ={variable: "http://127.0.0.1:4318/v1/traces"})
    assert (settings.traces.exporter, settings.metrics.exporter) == ("otlp", "none")


def test_argument_wins_over_ours_over_otels_over_the_file(tmp_path: Path) -> None:
    folder = write(tmp_path, "spanrun.toml", 'service_name = "file"')
    otel = {"OTEL_SERVICE_NAME": "otel"}
    ours = {**otel, "SPANRUN_SERVICE_NAME": "ours"}
    given = {"service_name": "argument"}
    won = [
        load(given, environ=ours, directory=folder),
        load(environ=ours, directory=folder),
        load(environ=otel, directory=folder),
        load(environ={}, directory=folder),
    ]
    assert [each.service_name for each in won] == ["argument", "ours", "otel", "file"]
    assert [each.origins["service_name"] for each in won] == [
        "argument",
        "SPANRUN_SERVICE_NAME",
        "OTEL_SERVICE_NAME",
        "spanrun.toml",
    ]


def test_pyprojects_table_is_read_where_there_is_no_file_of_ours(
    tmp_path: Path,
) -> None:
    folder = write(tmp_path, "pyproject.toml", '[tool.spanrun]\nstore = "kept"')
    assert load(environ={}, directory=folder).store == Path("kept")


def test_an_empty_variable_is_unset() -> None:
    assert load(environ={"OTEL_SERVICE_NAME": " "}).service_name == ""


def test_otels_milliseconds_and_our_seconds() -> None:
    otel = load(environ={"OTEL_METRIC_EXPORT_INTERVAL": "2500"})
    ours = load(environ={"SPANRUN_METRIC_INTERVAL": "2.5"})
    assert otel.metric_interval == ours.metric_interval == 2.5


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        (
            {"OTEL_TRACES_EXPORTER": "zipkin"},
            ("OTEL_TRACES_EXPORTER", "zipkin", "otlp"),
        ),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "udp"}, ("PROTOCOL", "udp", "grpc")),
        (
            {"OTEL_SDK_DISABLED": "maybe"},
            ("OTEL_SDK_DISABLED", "maybe", "true or false"),
        ),
        ({"SPANRUN_SHUTDOWN_TIMEOUT": "-1"}, ("SHUTDOWN_TIMEOUT", "-1", "above 0")),
        ({"SPANRUN_SHUTDOWN_TIMEOUT": "soon"}, ("soon", "must be a number")),
    ],
)
def test_a_wrong_value_is_named_with_where_it_comes_from(
    environ: dict[str, str], words: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(environ=environ)
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize("text", ['endpiont = "http://x"', "this is no toml"])
def test_a_file_that_cant_be_meant_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"spanrun\.toml"):
        load(environ={}, directory=write(tmp_path, "spanrun.toml", text))


def test_somebody_elses_broken_pyproject_is_not_our_business(tmp_path: Path) -> None:
    folder = write(tmp_path, "pyproject.toml", "broken = ")
    settings: Any = load(environ={}, directory=folder)
    assert settings.enabled


@pytest.mark.parametrize("name", ["store", "spool"])
@pytest.mark.parametrize("value", [object(), 5, True, ["a"], "a\0b"])
def test_what_is_no_folder_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{name}=.*\(from argument\): must"):
        load({name: value}, environ={})


def test_no_folder_at_all_is_no_store() -> None:
    assert load({"store": ""}, environ={}).store is None
    assert load({"store": Path("none")}, environ={}).store is None


@pytest.mark.parametrize(
    "line",
    ["service_name = 5", "store = true", "slow = true", "spool_bytes = 1.5"],
)
def test_a_file_is_held_to_the_same_as_arguments(tmp_path: Path, line: str) -> None:
    name, _, _ = line.partition(" ")
    with pytest.raises(ConfigurationError, match=rf"{name}=.* \(from spanrun\.toml\)"):
        load(environ={}, directory=write(tmp_path, "spanrun.toml", line))
