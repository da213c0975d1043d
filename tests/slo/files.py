"""Objectives for the tests, as text and as rule files."""

from collections.abc import Sequence
from pathlib import Path

from spanrun.slo import Slo, groups, parse
from spanrun.slo.text import rule_file

AVAILABILITY = """\
apiVersion: openslo/v1
kind: SLO
metadata:
  name: demo
  displayName: Demo jobs return a value
spec:
  description: What it is for.
  service: demo
  indicator:
    metadata:
      name: outcome
    spec:
      ratioMetric:
        counter: true
        bad:
          metricSource:
            type: spanrun
            spec:
              metric: spanrun.jobs
              where:
                spanrun.job.outcome: [failed, timed_out]
        total:
          metricSource:
            type: spanrun
            spec:
              metric: spanrun.jobs
              where:
                spanrun.job.outcome: [ok, failed, timed_out]
  timeWindow:
    - duration: 30d
      isRolling: true
  budgetingMethod: Occurrences
  objectives:
    - target: 0.99
"""

LATENCY = """\
apiVersion: openslo/v1
kind: SLO
metadata:
  name: demo
spec:
  service: demo
  indicator:
    spec:
      thresholdMetric:
        metricSource:
          type: spanrun
          spec:
            metric: spanrun.job.duration
            where:
              spanrun.job.outcome: ok
  timeWindow:
    - duration: 30d
      isRolling: true
  budgetingMethod: Occurrences
  objectives:
    - op: lte
      value: 1
      target: 0.99
"""

OK = 'spanrun_jobs_total{spanrun_job_outcome="ok",instance="%s"}'
FAILED = 'spanrun_jobs_total{spanrun_job_outcome="failed",instance="%s"}'


def changed(text: str, old: str, new: str) -> str:
    """``text`` with ``old`` replaced, which must be there."""
    assert old in text, old
    return text.replace(old, new)


def one(text: str) -> Slo:
    (slo,) = parse(text)
    return slo


def rules_of(folder: Path, *texts: str) -> Path:
    """The rule file of these objectives."""
    return written(folder, [one(text) for text in texts])


def written(folder: Path, slos: Sequence[Slo]) -> Path:
    path = folder / "rules.yaml"
    path.write_text(rule_file(groups(slos)), encoding="utf-8")
    return path
