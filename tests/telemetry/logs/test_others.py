"""structlog and loguru, as the page on logs has them: each block of it is run."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.telemetry.export.receiver import Receiver, receiving
from tests.telemetry.logs.arrived import records, values

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "logs-of-a-job.md"
MAIN = """
async def main():
    async with sr.Runner("work") as runner:
        await runner.map(job, range(3), key=lambda number: f"n{number}")

sr.configure(logs="INFO")
sr.run(main())
assert sr.shutdown()
"""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def block(name: str) -> str:
    pattern = re.compile(rf"^```text {name}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    found = pattern.search(PAGE.read_text("utf-8"))
    assert found is not None
    return found[1]


def test_structlog(run_program: Any, receiver: Receiver):
    job = """
log = structlog.get_logger("app")
async def job(number):
    log.info("done", number=number, password="hunter2")
"""
    done = run_program(
        block("structlog") + job + MAIN, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url
    )
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in done.err.splitlines()]
    sent = records(receiver.requests)
    assert len(lines) == len(sent) == 3
    for line, record in zip(lines, sent, strict=True):
        assert (line["event"], line["spanrun_job_key"]) == (
            "done",
            f"n{line['number']}",
        )
        assert line["trace_id"] == record.trace_id.hex()
        body = {pair.key: pair.value for pair in record.body.kvlist_value.values}
        assert body["event"].string_value == "done"
        assert body["number"].int_value == line["number"]
        assert body["password"].string_value == "[redacted]"
        assert values(record)["spanrun.job.index"] == line["number"]


def test_loguru(run_program: Any, receiver: Receiver):
    job = """
async def job(number):
    logger.info("number {}", number)
"""
    done = run_program(
        block("loguru") + job + MAIN, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url
    )
    assert done.code == 0, done.err
    assert done.err.splitlines() == [f"INFO number {number}" for number in range(3)]
    sent = records(receiver.requests)
    assert [each.body.string_value for each in sent] == [
        f"number {number}" for number in range(3)
    ]
    for number, record in enumerate(sent):
        assert len(record.trace_id) == 16
        assert values(record)["spanrun.job.index"] == number
