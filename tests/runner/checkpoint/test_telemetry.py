"""What is told of a run that goes on from another one."""

import pytest

import spanrun as sr
from spanrun import semconv


async def double(item):
    return item * 2


async def run(path, items, **options):
    async with sr.Runner("kept", limit=4, **options) as runner:
        return await runner.map(
            double, items, checkpoint=sr.Checkpoint(path), trace="child"
        )


class Heard:
    """An observer."""

    def __init__(self):
        self.runs, self.ended, self.events = [], [], []

    def run_opened(self, run):
        self.runs.append(run)

    def job_ended(self, run, outcome):
        self.ended.append(outcome.index)

    def run_closed(self, run):
        pass

    def happened(self, event):
        self.events.append(event)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.checkpoint"


async def test_the_span_links_to_the_earlier_runs_and_says_what_it_took_over(
    path, spanrun_capture
):
    await run(path, range(5))
    await run(path, range(7))
    first, second = spanrun_capture.find("run kept")
    assert semconv.SPANRUN_RUN_RESUMED_FROM not in first.attributes
    assert not first.links
    (link,) = second.links
    assert link == (first.trace_id, first.span_id)
    run_id = first.attributes[semconv.SPANRUN_RUN_ID]
    assert second.attributes[semconv.SPANRUN_RUN_RESUMED_FROM] == run_id
    assert second.attributes[semconv.SPANRUN_RUN_RESUMED_RESULTS] == 5


async def test_metrics_count_each_job_once_over_both_runs(path, spanrun_capture):
    await run(path, range(5))
    await run(path, range(7))
    by = semconv.SPANRUN_JOB_OUTCOME
    assert spanrun_capture.totals("spanrun.jobs", by=by)["ok"] == 7


async def test_observers_hear_of_what_runs_alone_and_of_the_earlier_run(path):
    first, second = Heard(), Heard()
    await run(path, range(5), observers=[first])
    found = await run(path, range(7), observers=[second])
    assert found == [0, 2, 4, 6, 8, 10, 12]
    assert first.ended == [0, 1, 2, 3, 4]
    assert not first.events
    assert second.ended == [5, 6]
    (event,) = second.events
    assert (event.kind, event.run) == ("resumed", second.runs[0].id)
    assert event.value == {"earlier": first.runs[0].id, "results": 5}
