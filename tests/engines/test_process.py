"""`ProcessEngine`: workers that die, drivers that die, and what is told of both."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType

import pytest
from opentelemetry import baggage, context
from tests import programs
from tests.engines import jobs
from tests.engines.jobs import Once
from tests.telemetry.export.receiver import receiving
from tests.telemetry.test_variables import Arrived
from tests.waiting import killed_when_late, until

import spanrun as sr
from spanrun import recordings, semconv
from spanrun.engines import ProcessEngine
from spanrun.errors import ConfigurationError
from spanrun.testing import FakeClock

ROOT = Path(__file__).parents[2]


def program(*arguments, cwd, variables=MappingProxyType({}), **more):
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "SPANRUN_SUMMARY": "false"}
    environ.update(variables)
    return programs.start(
        [sys.executable, "-m", "tests.engines.program", *map(str, arguments)],
        cwd=cwd,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **more,
    )


def output_of(process):
    with killed_when_late(process):
        out, err = process.communicate()
    assert process.returncode == 0, err
    return out


@pytest.mark.parametrize("count", [200, 1_200], ids=["child", "linked"])
def test_each_outcome_has_its_trace_whoever_was_killed(tmp_path, count):
    folder = tmp_path / "killed"
    folder.mkdir()
    told = json.loads(output_of(program("killed", folder, count, cwd=tmp_path)))
    assert [each[:2] for each in told] == [[n, 2 * n] for n in range(count)]
    with recordings.open(tmp_path / ".spanrun") as recording:
        spans = list(recording.spans())
        recorded = list(recording.jobs())
        (run,) = recording.runs()
    # All of them are the driver's run, and each is there once.
    assert sorted(each.index for each in recorded) == list(range(count))
    of_jobs = {
        each.attributes["spanrun.job.index"]: each
        for each in spans
        if each.name == "job remote"
    }
    assert {index: each.trace_id for index, each in of_jobs.items()} == {
        index: trace for index, _, trace in told
    }
    ids = {each.span_id for each in spans}
    orphans = [each for each in spans if each.parent_id and each.parent_id not in ids]
    assert not orphans
    lost = [
        each
        for each in spans
        if each.name == "chunk remote" and "error.type" in each.attributes
    ]
    assert lost
    assert run.id in {each.attributes["spanrun.run.id"] for each in of_jobs.values()}


@pytest.mark.parametrize("ratio", ["1", "0.05"])
@pytest.mark.parametrize("count", [200, 1_200], ids=["child", "linked"])
def test_the_exemplars_of_jobs_are_spans_of_the_workers(tmp_path, count, ratio):
    folder = tmp_path / "killed"
    folder.mkdir()
    with receiving() as receiver:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": ratio,
        }
        output_of(program("killed", folder, count, cwd=tmp_path, variables=variables))
        arrived = Arrived(receiver.requests)
    exemplars = {
        (each.trace_id, each.span_id)
        for metric in arrived.named(semconv.METRIC_SPANRUN_JOB_DURATION.name)
        for point in metric.histogram.data_points
        for each in point.exemplars
    }
    assert exemplars or ratio != "1"
    spans = {(each.trace_id, each.span_id) for each in arrived.spans("job remote")}
    assert exemplars <= spans


def test_functions_and_classes_of_the_main_module_are_found(tmp_path):
    # By its path, as a user starts it.
    code = ROOT / "tests" / "engines" / "program.py"
    told = subprocess.run(
        [sys.executable, code, "main"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.stdout == "([1, 2, 3], 2, True)", told.stderr


def test_the_workers_of_a_killed_driver_end(tmp_path):
    process = program("waiting", tmp_path, cwd=tmp_path)
    with killed_when_late(process):
        until(lambda: len(list(tmp_path.glob("*.begun"))) == 2)
        workers = [int(each.stem) for each in tmp_path.glob("*.begun")]
        process.kill()
        process.communicate()
        until(lambda: not any(map(is_alive, workers)))


def test_sigterm_for_all_lets_the_driver_drain(tmp_path):
    """As a service manager sends it: to the workers as well."""
    process = program("drained", tmp_path, cwd=tmp_path, start_new_session=True)
    with killed_when_late(process):
        until((tmp_path / "begun").exists)
        os.killpg(process.pid, signal.SIGTERM)
        out, err = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, err
    assert "the last one was True" in out


def is_alive(process):
    try:
        state = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2]
    except FileNotFoundError:
        return False
    return state.split()[0] != "Z"


async def test_the_workers_are_gone_when_the_runner_is_closed():
    engine = ProcessEngine(2)
    async with sr.Runner("remote", limit=4, engine=engine) as runner:
        processes = set(await runner.map(jobs.where, range(100)))
    assert len(processes) == 2
    assert os.getpid() not in processes
    assert not any(map(is_alive, processes))


async def test_baggage_reaches_the_jobs():
    token = context.attach(baggage.set_baggage("tenant", "blue"))
    try:
        async with sr.Runner("remote", engine=ProcessEngine(1)) as runner:
            assert await runner.map(jobs.told, range(2)) == ["blue", "blue"]
    finally:
        context.detach(token)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"limit": 1}, "limit"),
        ({"clock": FakeClock()}, "clock"),
        ({"retry": sr.Retry(on=lambda _: True)}, "retry"),
        ({"engine": 2}, "engine"),
    ],
)
def test_what_an_engine_cant_do_is_refused_by_name(arguments, named):
    given = {"engine": ProcessEngine(2), **arguments}
    with pytest.raises(ConfigurationError, match=rf"Runner\({named}="):
        sr.Runner("remote", **given)


async def test_a_function_that_cant_be_sent_is_refused():
    async with sr.Runner("remote", engine=ProcessEngine(1)) as runner:

        async def local(number):
            return number

        with pytest.raises(ConfigurationError, match="at the top of a module"):
            await runner.map(local, [1])
        with pytest.raises(ConfigurationError, match="map"):
            await runner.call(jobs.double, 1)


async def test_a_run_ends_when_no_worker_can_be_started_and_another_one_goes_on(
    monkeypatch, tmp_path
):
    engine = ProcessEngine(1, lost_after=60)
    async with sr.Runner("remote", engine=engine) as runner:
        with monkeypatch.context() as patch:
            patch.setattr("spanrun.engines.process._CODE", "raise SystemExit(9)")
            with pytest.raises(sr.SpanrunError, match=r"can't be started.*exit code 9"):
                await runner.map(jobs.killing, [Once(1, str(tmp_path))])
        assert await runner.map(jobs.double, [1]) == [2]


async def test_workers_that_cant_start_are_said_so(monkeypatch):
    monkeypatch.setattr("spanrun.engines.process._CODE", "raise SystemExit(9)")
    with pytest.raises(sr.SpanrunError, match="exit code 9"):
        async with sr.Runner("remote", engine=ProcessEngine(2)):
            pass
