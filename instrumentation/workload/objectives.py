"""What the shipped objectives and their alerts say of the workload."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from instrumentation.workload.found import Found
from instrumentation.workload.seen import shipped_groups
from spanrun.slo import Slo, load, records
from spanrun.slo.burn import Severity, burns
from spanrun.slo.rules import ALERT

_SHIPPED: Final = Path(__file__).parents[1] / "slo"
_HEALTH: Final = "spanrun-health"
_FOREIGN: Final = """\
apiVersion: openslo/v1
kind: SLO
metadata:
  name: answered
spec:
  service: workload
  indicator:
    spec:
      ratioMetric:
        counter: true
        bad:
          metricSource:
            type: prometheus
            spec:
              query: 'http_client_request_duration_seconds_count{WHERE,STATUS}'
        total:
          metricSource:
            type: prometheus
            spec:
              query: 'http_client_request_duration_seconds_count{WHERE}'
  timeWindow:
    - duration: 30d
      isRolling: true
  budgetingMethod: Occurrences
  objectives:
    - target: 0.99
"""


def _slo(name: str) -> Slo:
    (found,) = (
        each for each in load(sorted(_SHIPPED.glob("*.yaml"))) if each.name == name
    )
    return found


def _bad(told: Any) -> int:
    return int(told["jobs"] - told["ok"])


def ratios(found: Found) -> dict[str, float]:
    """The share of bad jobs of each of the four runners."""
    chosen = '{slo="runners-availability",service_name="workload"}'
    bad, total = records.bad(records.BASE), records.total(records.BASE)
    query = f"{bad}{chosen} / {total}{chosen}"
    rows = found.seen.rows(query)
    told = {
        row["metric"]["spanrun_runner_name"]: float(row["value"][1]) for row in rows
    }
    return {name: told[name] for name in found.truth}


def true_ratios(found: Found) -> dict[str, float]:
    """The same, as the outcomes say."""
    return found.of_each(lambda told: _bad(told) / told["jobs"])


def budget(found: Found) -> float:
    """What is left of the budget of all jobs."""
    told = _ask(found, "budget", _SHIPPED / "jobs.yaml")
    (left,) = (each for each in told["slos"] if each["slo"] == "jobs-availability")
    return float(left["budget_remaining"])


def true_budget(found: Found) -> float:
    """The same, as the outcomes say."""
    told = found.truth.values()
    bad = sum(map(_bad, told)) + found.others["err"]
    total = sum(each["jobs"] for each in told) + sum(found.others.values())
    return 1 - bad / total / _slo("jobs-availability").budget


def _ask(found: Found, command: str, path: Path) -> Any:
    """What `spanrun slo` says of the objectives in a file, asked of the server."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "spanrun", "slo", command, str(path), "--json"),
            *("--prometheus", found.seen.url),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if not done.stdout:
        raise RuntimeError(done.stderr)
    return {**json.loads(done.stdout), "code": done.returncode}


def checked(found: Found) -> str:
    """What `spanrun slo check` says of an objective over the HTTP client's metric."""
    port = found.truth["fetch"]["port"]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "answered.yaml"
        text = _FOREIGN.replace("WHERE", f'server_port="{port}"')
        status = 'http_response_status_code="500"'
        path.write_text(text.replace("STATUS", status), "utf-8")
        told = _ask(found, "check", path)
    return f"{told['code']}: met {told['slos'][0]['met']}"


def true_checked(found: Found) -> str:
    """Far more than one in a hundred requests was answered with 500."""
    bad = sum(told["warned"] for told in found.truth.values())
    calls = sum(told["calls"] for told in found.truth.values())
    return "99: met False" if bad > 0.01 * calls else "0: met True"


def firing(found: Found) -> list[Any]:
    """The alerts that fire for runners of the workload."""
    return [
        alert
        for alert in found.seen.api("alerts")["alerts"]
        if alert["labels"]["alertname"] == ALERT
        and alert["state"] == "firing"
        and alert["labels"].get("spanrun_runner_name") in found.truth
    ]


def burning(found: Found, severity: Severity) -> list[str]:
    """For whom an alert of that severity fires."""
    return sorted(
        alert["labels"]["spanrun_runner_name"]
        for alert in firing(found)
        if alert["labels"]["severity"] == severity
    )


def true_burning(found: Found, severity: Severity) -> list[str]:
    """For whom one must: all windows have the same jobs, and the least factor wins."""
    slo = _slo("runners-availability")
    least = min(factor for _, factor in burns(slo, severity)) * slo.budget
    return sorted(name for name, each in true_ratios(found).items() if each > least)


def telling(found: Found) -> int:
    """How many of them say whose budget burns, what is left, and what to do."""

    def tells(alert: Any) -> bool:
        told = alert["annotations"]
        words = (alert["labels"]["spanrun_runner_name"], "workload", "of the budget")
        text = told["description"]
        return (
            all(word in text for word in words)
            and "Most of the bad ones: " in text
            and told["runbook_url"].endswith("errors-burn-the-budget.md")
        )

    return sum(map(tells, firing(found)))


def evaluated(found: Found) -> int:
    """How many of the rules for jobs and telemetry are evaluated without an error."""
    return sum(
        rule["health"] == "ok"
        for group in found.seen.api("rules")["groups"]
        if group["name"] == _HEALTH
        for rule in group["rules"]
    )


def shipped() -> int:
    """How many of them there are."""
    (group,) = (each for each in shipped_groups() if each["name"] == _HEALTH)
    return len(group["rules"])
