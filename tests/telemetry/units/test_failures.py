"""The full stack is told once: on the attempt, or on a job that has none."""

from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode
from tests.telemetry.units.recording import Recording

import spanrun as sr


async def fails(_: object) -> None:
    raise ValueError("it is wrong")


def run(recording: Recording, **policies: Any) -> None:
    async def main() -> None:
        async with sr.Runner("a", clock=recording.clock, **policies) as runner:
            await runner.map(fails, [1], errors="collect")

    recording.run(main)


def exception(span: ReadableSpan) -> dict[str, Any]:
    (event,) = [each for each in span.events if each.name == "exception"]
    return dict(event.attributes or {})


def says_type_and_message(span: ReadableSpan) -> None:
    assert span.status.status_code is StatusCode.ERROR
    assert str(span.status.description).startswith("ValueError: ")
    assert str(span.status.description).endswith(" is wrong")
    assert (span.attributes or {})["error.type"] == "ValueError"


def test_a_job_with_attempts_says_type_and_message_and_its_attempts_the_stack(
    recording: Recording,
) -> None:
    run(recording, retry=sr.Retry(on=ValueError, attempts=2, base=1))
    job = recording.one("job a")
    says_type_and_message(job)
    assert [event.name for event in job.events] == ["spanrun.job.retry"]
    attempts = recording.named("attempt a")
    assert len(attempts) == 2
    for attempt in attempts:
        says_type_and_message(attempt)
        told = exception(attempt)
        assert told["exception.type"] == "ValueError"
        assert "in fails" in told["exception.stacktrace"]


def test_a_job_without_attempts_has_the_stack(recording: Recording) -> None:
    run(recording)
    job = recording.one("job a")
    says_type_and_message(job)
    told = exception(job)
    assert told["exception.message"].endswith(" is wrong")
    assert "in fails" in told["exception.stacktrace"]


def test_a_unit_has_the_stack(recording: Recording) -> None:
    with pytest.raises(ValueError), sr.unit("parse"):
        raise ValueError("it is wrong")
    unit = recording.one("parse")
    says_type_and_message(unit)
    assert "it is wrong" in exception(unit)["exception.stacktrace"]
