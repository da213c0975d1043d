"""What a page is given is what was recorded."""

import base64
import json
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.view.conftest import packed

from spanrun import recordings, semconv
from spanrun.recordings import Job, Span
from spanrun.semconv import SPANRUN_JOB_PHASE_VALUES
from spanrun.telemetry.recordings.records import TIMES
from spanrun.telemetry.recordings.summary import summary_of
from spanrun.view import data, feed
from spanrun.view.choice import choose
from spanrun.view.columns import micro, parts
from spanrun.view.feed import Limits
from spanrun.view.spans import chosen_spans


def job(number: int, duration: float, outcome: str = "ok") -> Job:
    phases = (0.0,) * 6 + (duration,)
    return Job("r", number, None, 0.0, duration, *phases, 1, outcome, None, None, None)


def span(trace: str, number: int) -> Span:
    ids = trace, f"{trace}{number}", None
    return Span(*ids, "s", "INTERNAL", number, number, "UNSET", "", {}, (), (), "")


def test_every_job_comes_back_from_the_page(pipeline: Path) -> None:
    found = packed(pipeline)
    told = json.loads(zlib.decompress(base64.b64decode(data.packed(found))))
    assert told == found
    texts, jobs, runs = told["texts"], told["jobs"], told["runs"]
    with recordings.open(pipeline) as recording:
        recorded = list(recording.jobs())
        began = {run.id: run.started_ns for run in recording.runs()}
        spans = sum(1 for _ in recording.spans())
    zero = min(began.values())
    assert len(recorded) == len(jobs["run"]) == 400
    assert len(told["spans"]["name"]) == spans
    for row, each in enumerate(recorded):
        assert runs[jobs["run"][row]]["id"] == each.run
        assert texts[jobs["key"][row]] == each.key
        assert texts[jobs["trace"][row]] == each.trace_id
        assert texts[jobs["error"][row]] == (each.error or "")
        assert told["outcomes"][jobs["outcome"][row]] == each.outcome
        start = (began[each.run] - zero) / 1e9 + each.submitted
        assert jobs["start"][row] / 1e6 == pytest.approx(start, abs=2e-6)


def test_a_jobs_span_has_its_attributes_in_its_row_and_once(pipeline: Path) -> None:
    found = packed(pipeline)
    texts, jobs, spans, runs = (
        found[name] for name in ("texts", "jobs", "spans", "runs")
    )
    with recordings.open(pipeline) as recording:
        recorded = {
            (span.trace_id, span.start_ns, span.name): dict(span.attributes)
            for span in recording.spans()
            if semconv.SPANRUN_JOB_INDEX in span.attributes
        }
        began = min(run.started_ns for run in recording.runs())
    told = {}
    for row, job in enumerate(spans["job"]):
        if job < 0:
            continue
        run = runs[jobs["run"][job]]
        own = json.loads(texts[spans["attributes"][row]] or "{}")
        key = spans["start"][row], texts[spans["name"][row]], jobs["index"][job]
        told[key] = own | {
            semconv.SPANRUN_JOB_KEY: texts[jobs["key"][job]],
            semconv.SPANRUN_RUNNER_NAME: run["runner"],
            semconv.SPANRUN_RUN_ID: run["id"],
            semconv.SPANRUN_JOB_INDEX: jobs["index"][job],
            semconv.SPANRUN_JOB_OUTCOME: found["outcomes"][jobs["outcome"][job]],
            semconv.SPANRUN_JOB_ATTEMPTS: jobs["attempts"][job],
        }
        assert not own.keys() & {*TIMES, semconv.SPANRUN_JOB_KEY}
    assert len(told) == len(recorded) == 400
    for (_, start, name), attributes in recorded.items():
        index = attributes[semconv.SPANRUN_JOB_INDEX]
        rest = {n: v for n, v in attributes.items() if n not in TIMES}
        assert told[round((start - began) / 1000), name, index] == rest


def test_the_phases_of_a_job_add_up_to_its_duration(pipeline: Path) -> None:
    jobs = packed(pipeline)["jobs"]
    for row, duration in enumerate(jobs["duration"]):
        total = sum(jobs[phase][row] for phase in SPANRUN_JOB_PHASE_VALUES)
        assert abs(total - duration) <= 1


def test_sums_by_runner_are_those_of_the_summary(pipeline: Path) -> None:
    found = packed(pipeline, limits=Limits(jobs=10, spans=20))
    assert len(found["jobs"]["run"]) == 10
    assert found["counts"]["jobs"] == 400
    assert found["counts"]["spans_shown"] <= 20 < found["counts"]["spans"]
    with recordings.open(pipeline) as recording:
        summary = summary_of(recording, recording.session().id)
    for told, stats in zip(found["runners"], summary.runners, strict=True):
        assert (told["name"], told["jobs"], told["ok"]) == (stats.name, 100, stats.ok)
        assert sum(told["phases"]) == micro(sum(stats.phases.values()))
    assert found["causes"]["all"]["sentence"] == summary.explanation.sentence


@given(st.lists(st.floats(0, 1e5), max_size=9))
def test_rounded_parts_have_the_rounded_sum(seconds: list[float]) -> None:
    assert sum(parts(tuple(seconds))) == micro(sum(seconds))


def test_of_too_many_jobs_the_bad_the_slow_and_a_sample_are_chosen() -> None:
    jobs = [job(n, n / 1000) for n in range(1000)]
    jobs[3] = job(3, 0.0, "failed")
    count, chosen = choose(jobs, 100)
    taken = [n for n in range(1000) if n in chosen]
    assert count == 1000
    assert len(taken) == 100
    assert 3 in taken
    assert set(range(926, 1000)) <= set(taken)
    assert len([n for n in taken if n < 900]) > 20


def test_a_page_bears_many_bad_jobs() -> None:
    count, chosen = choose((job(n, n, "failed") for n in range(500)), 100)
    assert count == 500
    assert sum(n in chosen for n in range(500)) == 100


def test_spans_are_dropped_by_whole_traces() -> None:
    spans = [span(trace, n) for n in range(5) for trace in "abcdefgh"]
    count, kept = chosen_spans(spans, {"c": 2.0, "f": 1.0}, 12)
    assert count == 40
    assert {each.trace_id for each in kept} == {"c", "f"}
    assert len(kept) == 10


def test_a_trace_that_is_too_large_is_cut() -> None:
    count, kept = chosen_spans([span("a", n) for n in range(50)], {}, 12)
    assert (count, len(kept)) == (50, 12)


def test_what_happened_beside_the_spans_is_there(pipeline: Path) -> None:
    found = packed(pipeline)
    texts, columns = found["texts"], found["events"]
    with recordings.open(pipeline) as recording:
        events = list(recording.events())
    assert [texts[kind] for kind in columns["kind"]] == [each.kind for each in events]
    assert {"blocked", "retry"} <= {each.kind for each in events}
    for row, event in enumerate(events):
        job = columns["job"][row]
        if event.index is not None and job >= 0:
            assert found["jobs"]["index"][job] == event.index
            assert found["runs"][found["jobs"]["run"][job]]["id"] == event.run
        if event.kind == "blocked":
            assert columns["value"][row] == micro(event.value["seconds"])
            text = texts[columns["text"][row]]
            assert text.startswith(event.value.get("function", ""))


def test_events_beyond_a_bound_are_left_out(
    pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MOST_EVENTS", 5)
    assert len(packed(pipeline)["events"]["kind"]) == 5
