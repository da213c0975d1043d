"""The shipped objectives, and the rules that are generated from them."""

from pathlib import Path

import pytest
import yaml
from tests.slo.promtool import check
from typer.testing import CliRunner

from spanrun import semconv
from spanrun.cli.app import app
from spanrun.slo import load
from spanrun.slo.annotations import RUNBOOKS
from spanrun.slo.model import Availability

ROOT = Path(__file__).parents[2]
SLOS = sorted((ROOT / "instrumentation" / "slo").glob("*.yaml"))
RULES = ROOT / "instrumentation" / "prometheus" / "rules"


def test_rules_are_up_to_date(tmp_path: Path) -> None:
    command = ["slo", "compile", *map(str, SLOS), "--out", str(tmp_path), "--health"]
    assert CliRunner().invoke(app, command).exit_code == 0
    fresh = {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()}
    there = {path.name: path.read_text("utf-8") for path in RULES.iterdir()}
    assert there == fresh, (
        "run: spanrun slo compile instrumentation/slo/*.yaml "
        "--out instrumentation/prometheus/rules --health"
    )


def test_prometheus_takes_all_of_them_together() -> None:
    check(*sorted(RULES.glob("*.yaml")))


@pytest.mark.parametrize("subject", ["jobs", "embeddings", "solr"])
def test_each_subject_has_availability_and_latency(subject: str) -> None:
    slos = load([ROOT / "instrumentation" / "slo" / f"{subject}.yaml"])
    assert [slo.name for slo in slos] == [
        f"{subject}-availability",
        f"{subject}-latency",
    ]


def test_a_cancelled_or_skipped_job_is_neither_good_nor_bad() -> None:
    jobs, latency = load([ROOT / "instrumentation" / "slo" / "jobs.yaml"])
    assert isinstance(jobs.indicator, Availability)
    total = jobs.indicator.total
    for outcome in semconv.SPANRUN_JOB_OUTCOME_VALUES:
        counts = outcome not in ("cancelled", "skipped")
        assert total[0].accepts(outcome) is counts
        bad = outcome in ("failed", "timed_out")
        assert jobs.indicator.part[0].accepts(outcome) is bad
        assert latency.indicator.total[0].accepts(outcome) is (outcome == "ok")


def test_run_books_are_there() -> None:
    """Each alert links to one, by the one address, which is a whole URL."""
    assert RUNBOOKS.startswith("http://")
    alerts = [
        rule
        for path in RULES.glob("*.yaml")
        for group in yaml.safe_load(path.read_text("utf-8"))["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    for alert in alerts:
        folder, _, page = alert["annotations"]["runbook_url"].rpartition("/")
        assert folder == RUNBOOKS
        assert alert["alert"] in (ROOT / "docs/how-to" / page).read_text("utf-8")
