"""What the telemetry pages say of a batch: whose child, and of which run."""

from typing import Literal

import pytest
from tests.docs.pages import DOCS

import spanrun as sr
from spanrun import semconv
from spanrun.testing import Captured


async def same(items: list[int]) -> list[int]:
    return items


async def run_batches(trace: Literal["child", "linked"]) -> None:
    async with sr.Runner("pairs") as runner:
        await runner.map_batches(same, range(4), size=2, trace=trace)


def test_the_pages_say_so() -> None:
    reference = (DOCS / "reference" / "telemetry.md").read_text("utf-8")
    assert "One group of a batched map; its jobs are its children." in reference
    text = " ".join((DOCS / "explanation" / "telemetry.md").read_text("utf-8").split())
    assert "A batch's jobs are always children of the batch." in text
    assert "In a linked run each batch begins a trace. Batches carry no links" in text


@pytest.mark.parametrize("trace", ["child", "linked"])
async def test_a_batch_s_jobs_are_its_children(
    trace: Literal["child", "linked"], spanrun_capture: Captured
) -> None:
    await run_batches(trace)
    batches = spanrun_capture.find("batch pairs")
    assert len(batches) == 2
    for batch in batches:
        (job,) = spanrun_capture.children(batch)
        assert job.name == "job pairs"
        assert job.links == ()


async def test_in_a_linked_run_a_batch_begins_a_trace_without_links(
    spanrun_capture: Captured,
) -> None:
    await run_batches("linked")
    for batch in spanrun_capture.find("batch pairs"):
        assert not batch.parent_id
        assert batch.links == ()


@pytest.mark.parametrize("trace", ["child", "linked"])
async def test_a_batch_and_its_jobs_have_the_run_s_id_and_the_batch_s_index(
    trace: Literal["child", "linked"], spanrun_capture: Captured
) -> None:
    await run_batches(trace)
    run_id = spanrun_capture.span("run pairs").attributes[semconv.SPANRUN_RUN_ID]
    batches = spanrun_capture.find("batch pairs")
    for index, batch in enumerate(batches):
        for span in (batch, *spanrun_capture.children(batch)):
            assert span.attributes[semconv.SPANRUN_RUN_ID] == run_id
            assert span.attributes[semconv.SPANRUN_BATCH_INDEX] == index


async def test_in_one_trace_a_batch_is_a_child_of_the_run(
    spanrun_capture: Captured,
) -> None:
    await run_batches("child")
    run = spanrun_capture.span("run pairs")
    for batch in spanrun_capture.find("batch pairs"):
        assert batch.is_child_of(run)
        assert batch.links == ()
