"""Programs of other makers and of spanrun that send to `spanrun view --listen`."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from math import fsum
from pathlib import Path

import pytest
from instrumentation.backends import inventory, servers
from tests.programs import plain_environ
from tests.view.conftest import Browser
from tests.waiting import until

from spanrun import recordings
from spanrun.recordings import Recording
from spanrun.telemetry.recordings.otlp_store import OtlpStore
from spanrun.view.data import data_of
from spanrun.view.grpc_receiver import GrpcReceiver
from spanrun.view.intake import Intake
from spanrun.view.receiver import Receiver

HERE = Path(__file__).parent


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    receiver = Receiver(OtlpStore(tmp_path / "received"), "127.0.0.1", 0)
    receiver.start()
    yield receiver
    receiver.close()


@pytest.fixture
def grpc_receiver(tmp_path: Path) -> Iterator[GrpcReceiver]:
    receiver = GrpcReceiver(OtlpStore(tmp_path / "received"), "127.0.0.1", 0)
    receiver.start()
    yield receiver
    receiver.close()


def run(*argv: str, folder: Path, **more: str) -> str:
    done = subprocess.run(
        argv,
        cwd=folder,
        env={**plain_environ(), **more},
        check=True,
        timeout=120,
        capture_output=True,
        text=True,
    )
    return done.stdout


def opened(receiver: Intake) -> Recording:
    return recordings.open(receiver.store.path)


def check_the_shop(receiver: Intake, spans: int) -> None:
    with opened(receiver) as recording:
        (session,) = recording.sessions()
        (its_run,) = recording.runs()
        assert (session.command, its_run.runner) == ("shop", "checkout")
        jobs = list(recording.jobs())
        assert [job.index for job in jobs] == [*range(20)]
        assert [job.outcome for job in jobs].count("ok") == 19
        assert (jobs[7].error_type, jobs[7].error) == ("LookupError", "no such cart")
        assert all(job.duration == job.service > 0 for job in jobs)
        trace = recording.trace(jobs[3].trace_id or "")
        assert len(trace) == spans
        assert trace[0].attributes["cart"] == 3


def check_its_signals(receiver: Intake) -> None:
    """Its logs are at their spans, and its metrics are panels."""
    with opened(receiver) as recording:
        data = data_of(recording)
    logs, spans, text = data["logs"], data["spans"], data["texts"]
    said = [text[place] for place in logs["text"]]
    assert said == ["the shop opens", "no such cart: 7"]
    assert (logs["level"], logs["span"][0]) == ([9, 17], -1)
    span = logs["span"][1]
    assert json.loads(text[spans["attributes"][span]]) == {"cart": 7}
    assert json.loads(text[logs["attributes"][1]])["cart"] == 7
    assert text[logs["trace"][1]] == text[spans["trace"][span]]
    panels = {each["title"]: each for each in data["metrics"]["panels"]}
    sold, sizes, carts = (
        panels[f"shop.{each}"] for each in ("sold", "cart.size", "open")
    )
    seconds = data["metrics"]["width"] / 1e6
    amounts = {
        name: fsum(value * seconds for value in values if value)
        for name, values in sold["lines"]
    }
    assert amounts == pytest.approx({"card": 15, "cash": 5}, rel=0.01)
    assert (sold["unit"], sizes["unit"], carts["unit"]) == ("cart/s", "item", "cart")
    assert [name for name, _ in sizes["lines"]] == ["p50", "p95", "p99"]
    assert [(name, values[-1]) for name, values in carts["lines"]] == [("all", 20)]
    counts = data["counts"]
    assert (counts["logs"], counts["logs_shown"]) == (2, 2)
    assert counts["points"] == counts["points_shown"] == receiver.counts["metrics"] >= 4


@pytest.mark.parametrize("form", ["proto", "json"])
def test_a_stock_sdk(receiver: Receiver, tmp_path: Path, form: str) -> None:
    program = str(HERE / "sending.py")
    run(sys.executable, program, receiver.url, form, folder=tmp_path)
    check_the_shop(receiver, 2)
    check_its_signals(receiver)


def test_a_stock_sdk_over_grpc(grpc_receiver: GrpcReceiver, tmp_path: Path) -> None:
    """Its traces are compressed by gzip."""
    program = str(HERE / "sending.py")
    run(sys.executable, program, grpc_receiver.url, "grpc", folder=tmp_path)
    check_the_shop(grpc_receiver, 2)
    check_its_signals(grpc_receiver)


def test_a_program_in_node(receiver: Receiver, tmp_path: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("there is no node")
    program = str(HERE / "sending.mjs")
    assert run("node", program, receiver.url, folder=tmp_path) == "200 {}"
    check_the_shop(receiver, 1)


def test_a_program_in_go(receiver: Receiver, tmp_path: Path) -> None:
    """With OpenTelemetry's own SDK: see `sending_go/`."""
    require("sending")
    program = inventory.locate("sending") / "sending"
    run(str(program), receiver.url, folder=tmp_path)
    check_the_shop(receiver, 2)
    check_its_signals(receiver)


def test_a_collector_forwards_over_grpc(
    grpc_receiver: GrpcReceiver, tmp_path: Path
) -> None:
    """As its exporter does by default: compressed by gzip, in batches."""
    require("otelcol")
    pipeline = {"receivers": ["otlp"], "exporters": ["otlp_grpc"]}
    to = {"endpoint": grpc_receiver.url.removeprefix("http://")}
    config = {
        "exporters": {"otlp_grpc": {**to, "tls": {"insecure": True}}},
        "service": {
            "pipelines": dict.fromkeys(("traces", "metrics", "logs"), pipeline)
        },
    }
    counts = grpc_receiver.counts
    with servers.collector(config) as collector:
        program = str(HERE / "sending.py")
        run(sys.executable, program, collector.otlp_grpc, "grpc", folder=tmp_path)
        until(lambda: counts["spans"] == 40)
        until(lambda: counts["logs"] == 2)
        until(lambda: counts["metrics"] >= 4)
    check_the_shop(grpc_receiver, 2)
    check_its_signals(grpc_receiver)


def require(backend: str) -> None:
    reason = inventory.why_missing(backend)
    if reason is not None:
        if os.environ.get("SPANRUN_REQUIRE_BACKENDS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.mark.parametrize(
    ("form", "encoding"), [("proto", "proto"), ("proto", "json"), ("grpc", "proto")]
)
def test_a_collector_forwards(
    receiver: Receiver, tmp_path: Path, form: str, encoding: str
) -> None:
    require("otelcol")
    names = ("traces", "metrics", "logs")
    pipeline = {"receivers": ["otlp"], "exporters": ["otlp_http"]}
    config = {
        "exporters": {"otlp_http": {"endpoint": receiver.url, "encoding": encoding}},
        "service": {"pipelines": dict.fromkeys(names, pipeline)},
    }
    with servers.collector(config) as collector:
        program = str(HERE / "sending.py")
        to = collector.otlp_grpc if form == "grpc" else collector.otlp_http
        run(sys.executable, program, to, form, folder=tmp_path)
        until(lambda: receiver.counts["spans"] == 40)
        until(lambda: receiver.counts["logs"] == 2)
        until(lambda: receiver.counts["metrics"] >= 4)
    check_the_shop(receiver, 2)
    check_its_signals(receiver)


def test_the_page_says_that_others_have_no_phases(
    receiver: Receiver,
    tmp_path: Path,
    browse: Browser,
    page_of: Callable[[Path], Path],
    sizes: Path,
) -> None:
    run(
        sys.executable, str(HERE / "sending.py"), receiver.url, "proto", folder=tmp_path
    )
    note = ("eval", "document.querySelector('main > .note')?.textContent ?? ''")
    title = ("eval", "document.querySelector('h1').textContent")
    said, sentence = browse(page_of(receiver.store.path), note, title)
    assert "These are spans of another SDK, which have no phases" in said
    assert sentence
    (said,) = browse(page_of(sizes), note)
    assert "another SDK" not in said


def test_spanrun_itself(receiver: Receiver, tmp_path: Path) -> None:
    """What it sends is what it keeps."""
    both = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "SPANRUN_STORE": str(tmp_path / "kept"),
        "SPANRUN_SUMMARY": "false",
    }
    run(sys.executable, str(HERE / "pipeline.py"), "60", folder=tmp_path, **both)
    with recordings.open(tmp_path / "kept") as kept, opened(receiver) as received:
        ours = {(job.run, job.index): job for job in kept.jobs()}
        theirs = {(job.run, job.index): job for job in received.jobs()}
        assert theirs.keys() == ours.keys()
        assert len(ours) == 240
        for key, job in ours.items():
            same = theirs[key]
            assert same.seconds == job.seconds
            assert same.duration == pytest.approx(job.duration, abs=2e-9)
            assert same[2:3] + same[12:] == job[2:3] + job[12:]
        assert fsum(fsum(job.seconds) for job in theirs.values()) == fsum(
            fsum(job.seconds) for job in ours.values()
        )
        spans = {span.span_id: span for span in kept.spans()}
        assert {span.span_id: span for span in received.spans()} == spans
        runs = {run.id: run for run in received.runs()}
        for each in kept.runs():
            found = runs[each.id]
            assert (found.runner, found.total, found.calls, found.policies) == (
                each.runner,
                each.total,
                each.calls,
                each.policies,
            )
    assert receiver.counts["metrics"] > 0
