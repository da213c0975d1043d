"""`spanrun config`: each setting, and where its value comes from."""

from dataclasses import fields

from tests.cli.conftest import Cli

from spanrun.cli.exits import Exit
from spanrun.settings import Settings


def shown(cli: Cli) -> dict[str, str]:
    result = cli("config", "--show-origin")
    assert (result.code, result.err) == (Exit.OK, "")
    return dict(line.split(maxsplit=1) for line in result.out.splitlines())


def test_every_setting_is_shown(cli: Cli):
    inside = {"enabled", "traces", "metrics", "log_records", "origins"}
    wanted = {each.name for each in fields(Settings)} - inside
    assert wanted < shown(cli).keys()


def test_a_value_is_shown_with_where_it_comes_from(cli: Cli):
    (cli.folder / "spanrun.toml").write_text("metric_interval = 3\n", "utf-8")
    cli.environ["SPANRUN_SLOW"] = "2.5"
    cli.environ["OTEL_SERVICE_NAME"] = "ingest"
    found = shown(cli)
    assert found["slow"] == "2.5  (SPANRUN_SLOW)"
    assert found["service_name"] == "ingest  (OTEL_SERVICE_NAME)"
    assert found["metric_interval"] == "3.0  (spanrun.toml)"
    assert found["spool_bytes"] == "268435456  (default)"


def test_each_signal_has_its_own_endpoint_and_no_secret_is_shown(cli: Cli):
    own = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
    cli.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://one:4318"
    cli.environ[own] = "http://me:hidden@two:4318/x"
    found = shown(cli)
    assert found["traces_endpoint"] == f"http://two:4318/x  ({own})"
    assert found["metrics_endpoint"] == (
        "http://one:4318/v1/metrics  (OTEL_EXPORTER_OTLP_ENDPOINT)"
    )
    assert "hidden" not in cli("config", "--json").out


def test_as_json_it_is_one_object(cli: Cli):
    cli.environ["SPANRUN_SLOW"] = "2.5"
    found = cli("config", "--json").json
    assert found["slow"] == {"value": 2.5, "origin": "SPANRUN_SLOW"}
    assert found["store"] == {"value": ".spanrun", "origin": "default"}


def test_a_setting_that_can_not_work_is_named(cli: Cli):
    cli.environ["SPANRUN_SLOW"] = "fast"
    result = cli("config")
    assert result.code == Exit.CONFIGURATION
    assert "slow='fast' (from SPANRUN_SLOW)" in result.err
