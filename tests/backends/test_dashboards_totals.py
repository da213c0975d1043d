"""`promql.total`: what a counter grew by in the time shown, whatever it had before."""

import json
import subprocess
from pathlib import Path

import pytest
from dashboards import promql
from instrumentation.backends import servers
from tests.backends.conftest import needs
from tests.dashboards.reading import EXAMPLE
from tests.waiting import PATIENCE

from spanrun import semconv

JOBS = semconv.METRIC_SPANRUN_JOBS
RUNNER = semconv.SPANRUN_RUNNER_NAME

# One sample a minute for an hour; the time shown is the second half of it.
SERIES = {
    "ran before, goes on": ("0+10x60", 300),
    "began and ended within": ("_x40 0 1000 _x18", 1000),
    "ended before": ("0+10x20 _x39", None),
    "ended within, and ran before": ("0+10x40 _x19", 100),
    "stood still": ("7x60", 0),
    "lost its beginning": ("_x50 42 _x9", 42),
}


@pytest.mark.slow
def test_totals_count_what_happened_in_the_time_shown(tmp_path: Path) -> None:
    needs("prometheus")
    expression = promql.total(JOBS, [RUNNER])
    for name, value in (EXAMPLE | {"__range": "30m"}).items():
        expression = expression.replace(f"${name}", value)
    name = promql.series(JOBS)
    labels = f'service_name="{EXAMPLE["service"]}",spanrun_runner_name='
    test = {
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": f'{name}{{{labels}"{runner}"}}', "values": values}
                    for runner, (values, _) in SERIES.items()
                ],
                "promql_expr_test": [
                    {
                        "expr": expression,
                        "eval_time": "60m",
                        "exp_samples": [
                            {
                                "labels": f'{{spanrun_runner_name="{runner}"}}',
                                "value": grown,
                            }
                            for runner, (_, grown) in SERIES.items()
                            if grown is not None
                        ],
                    }
                ],
            }
        ]
    }
    path = tmp_path / "totals.yaml"
    path.write_text(json.dumps(test), encoding="utf-8")
    done = subprocess.run(
        [servers.locate("prometheus") / "promtool", "test", "rules", path],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
