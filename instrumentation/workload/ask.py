"""Run the workload beside real servers, and ask them what an on-call engineer asks.

    python -m instrumentation.workload.ask [--jobs 400] [--seed 1] [--write]

It prints a table: each question, where it is answered, the value, and the truth, as the
workload told it. ``--write`` puts it into the documentation.

Exit codes: 0 each value is the truth; 1 one isn't, or a server didn't start; 69 a
backend isn't built.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx
from dashboards.reading import queries

from instrumentation import stack
from instrumentation.backends import servers
from instrumentation.workload.found import SERVICE, Found
from instrumentation.workload.questions import QUESTIONS, Question, shown
from instrumentation.workload.seen import Seen, rules_file

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "reference" / "on-call-questions.md"
NEEDED: Final = ("prometheus", "jaeger", "otelcol")

_NOT_BUILT: Final = 69
_PATIENCE: Final = 300.0
_SETTLED: Final = 2.5  # seconds in which the rules see the last point
_TRIES: Final = 20
_COUNTED: Final = (
    'sum(max_over_time(spanrun_jobs_total{spanrun_job_outcome=~"ok|failed|timed_out"}'
    "[1h]))"
)
_RECORDED: Final = 'sum(slo:total:increase_1m{slo="runners-availability"})'
_BEGIN: Final = "<!-- measured: begin (make questions ARGS=--write) -->\n"
_END: Final = "<!-- measured: end -->"


@contextmanager
def asked(jobs: int = 400, seed: int = 1, solr: str = "") -> Generator[Found]:
    """Run it all, and stay beside the servers as long as the block lasts."""
    with ExitStack() as block:
        folder = Path(block.enter_context(TemporaryDirectory(prefix="spanrun-asked-")))
        config = stack.prometheus_config() | {"rule_files": [str(rules_file(folder))]}
        prometheus = block.enter_context(servers.prometheus(config))
        jaeger = block.enter_context(servers.jaeger())
        collector = block.enter_context(servers.collector())
        client = block.enter_context(
            httpx.Client(timeout=_PATIENCE, trust_env=False, verify=False)  # noqa: S501
        )
        start = time.time() - 1
        before = Seen(client, prometheus.url, SERVICE, start, time.time())
        answered = {"before": _answered(before)}
        clean = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
        environ = {
            **clean,
            "PYTHONPATH": str(ROOT),
            "OTEL_METRIC_EXPORT_INTERVAL": "200",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{jaeger.otlp_http}/v1/traces",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{prometheus.otlp_http}/v1/metrics",
            "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": f"{collector.otlp_http}/v1/logs",
            "SPANRUN_LOGS": "warning",
            "SPANRUN_SLOW": "0.35",
        }
        arguments = ["--jobs", str(jobs), "--seed", str(seed)]
        arguments += ["--solr", solr] if solr else []
        with subprocess.Popen(
            [sys.executable, "-m", "instrumentation.workload", *arguments],
            env=environ,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as program:
            meanwhile = Seen(client, prometheus.url, SERVICE, start, time.time() + 5)
            answered["during"] = _answered(meanwhile)
            out, error = program.communicate(timeout=_PATIENCE)
        told = _told(program.returncode, out, error)
        seen = _settled(client, prometheus.url, start)
        answered["after"] = _answered(seen)
        logs = collector.log_path.read_text("utf-8")
        yield Found(seen, jaeger.url, logs, told["runners"], told["others"], answered)


def _settled(client: httpx.Client, url: str, start: float) -> Seen:
    """It as the rules have seen the last point."""
    for left in reversed(range(_TRIES)):
        time.sleep(_SETTLED)
        seen = Seen(client, url, SERVICE, start, time.time())
        counted = seen.now(_COUNTED)
        if not left or (counted and counted == seen.now(_RECORDED)):
            return seen
    raise AssertionError


def _told(code: int, out: str, error: str) -> Any:
    """What the workload says that happened."""
    told: dict[str, Any] = json.loads(out) if code == 0 else {}
    if not told.get("delivered"):
        raise RuntimeError(f"the workload ended with {code}: {error[-2_000:]}")
    return told


def _answered(seen: Seen) -> int:
    """How many of the dashboards' queries are answered, if with nothing."""
    count = 0
    for each in queries():
        try:
            seen.rows(seen.expression(each))
        except httpx.HTTPStatusError:
            continue
        count += 1
    return count


def table(found: Found) -> tuple[str, list[Question]]:
    """The answers as Markdown, and the questions whose answer isn't the truth."""
    lines: list[str] = []
    wrong: list[Question] = []
    section = ""
    for question in QUESTIONS:
        if question.section != section:
            section = question.section
            head = "| question | where | value | truth |\n|---|---|---|---|"
            lines.append(f"{'' if not lines else chr(10)}## {section}\n\n{head}")
        value, truth = question.value(found), question.truth(found)
        if not question.holds(value, truth):
            wrong.append(question)
        cells = (question.text, question.where, shown(value), shown(truth))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n", wrong


def write(text: str, command: str) -> None:
    """Put the table into the page, with the machine and the command."""
    from bench.report import machine

    about = machine()
    place = f"{about['system']}, {about['cores']} cores, {about['processor']}"
    head = f"`{command}` · {about['python']} · {place}\n\n"
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    PAGE.write_text(f"{before}{_BEGIN}\n{head}{text}\n{_END}{after}", "utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Ask, and print; returns the exit code."""
    parser = argparse.ArgumentParser(description="What on-call engineers ask.")
    parser.add_argument("--jobs", type=int, default=400, help="of each runner")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="into the documentation")
    options = parser.parse_args(argv)
    try:
        with asked(options.jobs, options.seed) as found:
            text, wrong = table(found)
    except servers.BackendMissingError as missing:
        print(f"questions: {missing}", file=sys.stderr)
        return _NOT_BUILT
    print(text)
    for question in wrong:
        print(f"not the truth: {question.text}", file=sys.stderr)
    if options.write and not wrong:
        write(text, 'make questions ARGS="--write"')
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
