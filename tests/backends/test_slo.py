"""The shipped rules on a real Prometheus, after a real and short run.

The rules are evaluated each second instead of each minute, so that a test needn't
wait; counts of the longer windows are larger by that, ratios are not.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from instrumentation.backends import servers
from instrumentation.workload.seen import rules_file
from tests import solr
from tests.backends.conftest import needs
from tests.programs import plain_environ
from tests.waiting import PATIENCE

from spanrun.slo import groups, load, panels

solr_server = solr.solr_server

SHIPPED = sorted((Path(__file__).parents[2] / "instrumentation/slo").glob("*.yaml"))
GROUPED = {"service.name", "spanrun.runner.name"}
NAMES = {slo.name for slo in load(SHIPPED)}

SCRIPT = """
import asyncio, sys
import spanrun as sr
from spanrun.clients.embeddings import Embeddings
from spanrun.clients.solr import AsyncSolrClient
from spanrun.testing import EmbeddingServer

FAIL = sys.argv[2] == "failures"

async def job(number):
    await asyncio.sleep(0.001)
    if FAIL and number % 100 == 7:
        raise LookupError(number)

async def ask(solr, query):
    try:
        await solr.search({"q": query})
    except Exception:
        if not FAIL:
            raise

async def main():
    async with sr.Runner("short", limit=20) as runner:
        await runner.map(job, range(1_000), errors="collect")
    broken = 0.2 if FAIL else 0
    with EmbeddingServer(
        latency=0, jitter=0, rate_limited=0, unavailable=broken, retry_after=0.01
    ) as server:
        async with Embeddings(server.url + "/v1", model=server.model, batch=4) as made:
            await made.aget_text_embedding_batch([f"text {n}" for n in range(200)])
    async with AsyncSolrClient(sys.argv[1]) as solr:
        for _ in range(5):
            await ask(solr, "*:*")
        if FAIL:
            await ask(solr, "{!nonsense}x")

sr.configure(service_name="short", store="none")
sr.run(main())
"""


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Any]:
    """It has the rules of all shipped objectives."""
    needs("prometheus")
    with servers.prometheus({"rule_files": [str(rules_file(tmp_path))]}) as server:
        yield server


def ask(prometheus: Any, query: str) -> dict[str, float]:
    """Values by objective."""
    answer = httpx.get(
        f"{prometheus.url}/api/v1/query",
        params={"query": query},
        trust_env=False,
        verify=False,
    )
    rows = answer.json()["data"]["result"]
    return {row["metric"].get("slo", ""): float(row["value"][1]) for row in rows}


def run(prometheus: Any, solr_server: Any, what: str, kind: str) -> None:
    environ = plain_environ()
    environ["OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"] = (
        f"{prometheus.otlp_http}/v1/metrics"
    )
    if kind == "native":
        name = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"
        environ[name] = "base2_exponential_bucket_histogram"
    subprocess.run(
        [sys.executable, "-c", SCRIPT, solr_server.url, what],
        env=environ,
        check=True,
        timeout=PATIENCE,
    )


def settled(prometheus: Any, jobs: int) -> None:
    """Wait until the rules have seen the last of the jobs, and all else."""
    deadline = time.monotonic() + 60
    while True:
        total = ask(prometheus, "slo:total:increase_1m").get("jobs-availability")
        ratios = ask(prometheus, "slo:bad:ratio_period")
        if total == jobs and ratios.keys() == NAMES:
            return
        assert time.monotonic() < deadline, (total, ratios)
        time.sleep(0.2)


def recorded() -> set[str]:
    return {
        rule["record"]
        for group in groups(load(SHIPPED))["groups"]
        for rule in group["rules"]
        if "record" in rule
    }


@pytest.mark.parametrize("kind", ["classic", "native"])
def test_every_rule_and_panel_has_data_after_failures(
    kind: str, prometheus: Any, solr_server: Any
) -> None:
    run(prometheus, solr_server, "failures", kind)
    settled(prometheus, jobs=1_056)  # with 50 batches of texts and 6 calls of Solr
    for name in recorded():
        assert ask(prometheus, name).keys() == NAMES, name
    for panel in panels(".*"):
        shown = ask(prometheus, panel.expr).keys()
        if panel.title == "Time to exhaustion":  # of those that had bad events
            assert {"jobs-availability", "runners-availability"} <= shown
        else:
            assert shown == NAMES, panel.title

    total, bad = (ask(prometheus, f"slo:{n}:increase_1m") for n in ("total", "bad"))
    assert (total["solr-availability"], bad["solr-availability"]) == (6, 1)
    assert bad["jobs-availability"] == 10 + 1
    assert total["jobs-latency"] == 1_056 - 11
    assert total["embeddings-availability"] - bad["embeddings-availability"] == 50
    assert bad["embeddings-availability"] > 0


@pytest.mark.parametrize("kind", ["classic", "native"])
def test_without_failures_errors_are_zero_and_the_budget_is_whole(
    kind: str, prometheus: Any, solr_server: Any
) -> None:
    run(prometheus, solr_server, "no failures", kind)
    settled(prometheus, jobs=1_055)
    available = '{slo=~".*availability"}'
    whole = {name for name in NAMES if name.endswith("availability")}
    ratios = ask(prometheus, f"slo:bad:ratio_period{available}")
    assert ratios == dict.fromkeys(whole, 0)
    left = ask(prometheus, f"slo:budget_remaining:ratio{available}")
    assert left == dict.fromkeys(whole, 1)
    assert not ask(prometheus, 'ALERTS{slo=~".*availability"}')


def test_check_asks_the_server_without_any_rules(solr_server: Any) -> None:
    needs("prometheus")
    command = [sys.executable, "-m", "spanrun", "slo", "check", *map(str, SHIPPED)]
    with servers.prometheus() as prometheus:
        run(prometheus, solr_server, "failures", "classic")
        done = subprocess.run(
            [*command, "--prometheus", prometheus.url, "--json"],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 99, done.stderr
    slos = json.loads(done.stdout)["slos"]
    told = {each["slo"]: each for each in slos}
    jobs = told["jobs-availability"]
    assert (jobs["bad"], jobs["total"], jobs["met"]) == (11, 1_056, False)
    assert told["solr-availability"]["total"] == 6
    assert told["jobs-latency"]["met"]
    runners = [each for each in slos if each["slo"] == "runners-availability"]
    assert len(runners) > 1
    assert sum(each["bad"] for each in runners) == 11
    assert sum(each["total"] for each in runners) == 1_056
    assert all(each["group"].keys() == GROUPED for each in runners)
