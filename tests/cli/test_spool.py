"""`spanrun spool`: what is told, what is delivered, and the exit codes."""

import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from tests.cli.conftest import Cli
from tests.telemetry.export.receiver import OK, Answer, Got, receiving
from tests.waiting import until

from spanrun.cli.exits import Exit
from spanrun.telemetry.queue.frame import Frame
from spanrun.telemetry.queue.message import Message
from spanrun.telemetry.queue.spool import Spool

AGO = 600.0


def traces(*names: str, service: str = "ingest", failed: bool = False) -> Frame:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    told = resource.resource.attributes.add(key="service.name")
    told.value.string_value = service
    scope = resource.scope_spans.add()
    for number, name in enumerate(names, 1):
        span = scope.spans.add(
            name=name,
            trace_id=number.to_bytes(16),
            span_id=number.to_bytes(8),
            start_time_unix_nano=int((time.time() - AGO - 1) * 1e9),
            end_time_unix_nano=int((time.time() - AGO) * 1e9),
        )
        if failed:
            span.status.code = Status.STATUS_CODE_ERROR
    return Frame("traces", request.SerializeToString(), len(names), keep=failed)


def metrics(name: str, points: int) -> Frame:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name=name)
    for number in range(points):
        metric.sum.data_points.add(
            as_int=number, time_unix_nano=int((time.time() - AGO) * 1e9)
        )
    return Frame("metrics", request.SerializeToString(), points)


Leave = Callable[..., Spool]


@pytest.fixture
def leave(cli: Cli) -> Iterator[Leave]:
    """Leave frames in the spool, as a process does that is gone."""
    living: list[Spool] = []

    def left(*frames: Frame, live: bool = False, refused: str = "") -> Spool:
        spool = Spool(cli.folder / ".spanrun/spool", lambda *_: None)
        if refused:
            spool.quarantine([Message(frame) for frame in frames], refused)
        else:
            spool.append([Message(frame) for frame in frames])
        if live:
            living.append(spool)
        else:
            spool.close()
        return spool

    yield left
    for spool in living:
        spool.close()


@pytest.fixture
def to(cli: Cli) -> Callable[[str], None]:
    def chosen(url: str) -> None:
        cli.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = url

    return chosen


def closed_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{found.getsockname()[1]}"


# --- status


def test_nothing_is_told_where_there_is_no_spool(cli: Cli):
    result = cli("spool", "status")
    assert (result.code, result.out, result.err) == (
        Exit.OK,
        ".spanrun/spool: nothing on disk\n",
        "",
    )
    assert not (cli.folder / ".spanrun").exists()


def test_status_tells_by_process_and_signal(cli: Cli, leave: Leave):
    leave(traces("a", "b"), traces("c", failed=True), metrics("jobs", 3))
    leave(traces("d"), live=True)
    leave(traces("e"), refused="400")
    result = cli("spool", "status")
    assert (result.code, result.err) == (Exit.OK, "")
    first, *lines = result.out.splitlines()
    assert first == ".spanrun/spool: 4 spans and 3 data points on disk"
    text = "\n".join(lines)
    assert f"process {os.getpid()}, gone" in text
    assert f"process {os.getpid()}, in hand" in text
    assert "3 spans, " in text
    assert "the oldest 10 min old, 1 kept to the last" in text
    assert re.search(r"refused with 400, \d+ s ago: 1 span, ", text)


def test_status_as_json_is_one_object(cli: Cli, leave: Leave):
    leave(traces("a", "b"), metrics("jobs", 3))
    leave(traces("e"), refused="400")
    found = cli("spool", "status", "--json").json
    (process,) = found["processes"]
    spans, points = process["signals"]["traces"], process["signals"]["metrics"]
    assert (spans["items"], spans["frames"], spans["kept"]) == (2, 1, 0)
    assert points["items"] == 3
    assert AGO <= spans["oldest_age"] < AGO + 60
    file = Path(process["folder"]) / "traces.00000001"
    assert spans["bytes"] == file.stat().st_size
    assert (process["live"], process["damaged"], process["trouble"]) == (False, 0, "")
    (refused,) = found["refused"]
    assert (refused["code"], refused["items"]) == ("400", {"traces": 1})


def test_damaged_places_are_told(cli: Cli, leave: Leave):
    leave(traces("a"), traces("b"))
    (file,) = cli.folder.glob(".spanrun/spool/w-*/traces.*")
    data = bytearray(file.read_bytes())
    data[60] ^= 1
    file.write_bytes(data)
    result = cli("spool", "status")
    assert "1 place damaged: what stood there is lost" in result.out
    assert cli("spool", "status", "--json").json["processes"][0]["damaged"] == 1


def test_a_folder_that_is_none_is_74(cli: Cli):
    (cli.folder / "file").write_text("")
    for command in ("status", "inspect", "flush"):
        result = cli("spool", command, "file")
        assert (result.code, result.out) == (Exit.DISK, "")
        assert result.err.startswith("spanrun: file: Not a directory\n  ")


def test_the_folder_is_the_settings(cli: Cli, leave: Leave):
    leave(traces("a"))
    (cli.folder / ".spanrun/spool").rename(cli.folder / "elsewhere")
    assert "nothing" in cli("spool", "status").out
    assert cli("spool", "status", "elsewhere").out.startswith("elsewhere: 1 span ")
    cli.environ["SPANRUN_SPOOL"] = "elsewhere"
    assert cli("spool", "status").out.startswith("elsewhere: 1 span ")


# --- inspect


def test_inspect_shows_spans_and_metrics(cli: Cli, leave: Leave):
    leave(traces("job a"), traces("job b", failed=True), metrics("jobs", 3))
    result = cli("spool", "inspect")
    assert (result.code, result.err) == (Exit.OK, "")
    assert "  job a  1.00 s  " in result.out
    assert f"  job b  1.00 s  error  {1:032x}  ingest" in result.out
    assert "  jobs  3 data points" in result.out
    assert "more" not in result.out


def test_inspect_is_bounded(cli: Cli, leave: Leave):
    leave(*(traces(*"abcdefghij") for _ in range(100)), metrics("jobs", 3))
    result = cli("spool", "inspect", "--limit", "15")
    assert len(result.out.splitlines()) == 1 + 15 + 1
    assert result.out.endswith("and 985 spans and 3 data points more\n")
    found = cli("spool", "inspect", "--limit", "15", "--json").json
    assert found["left_out"] == {"traces": 985, "metrics": 3}
    ((group),) = found["groups"]
    assert [each["name"] for each in group["items"]] == list("abcdefghijabcde")
    assert cli("spool", "inspect", "--limit", "0").code == Exit.USAGE


def test_inspect_takes_no_orders_from_a_name(cli: Cli, leave: Leave):
    leave(traces("\x1b[31mred\nnext line", service="\x07bell"))
    result = cli("spool", "inspect")
    assert "\x1b" not in result.out
    assert "\x07" not in result.out
    assert len(result.out.splitlines()) == 2


def test_what_is_no_otlp_is_passed_over_and_counted(cli: Cli, leave: Leave):
    leave(Frame("traces", b"\xff\xff", 7), traces("a"))
    result = cli("spool", "inspect")
    assert "  a  1.00 s  " in result.out
    assert result.out.endswith("and 7 spans more\n")


def test_inspect_shows_what_was_refused(cli: Cli, leave: Leave):
    leave(traces("waits"))
    leave(traces("refused one"), refused="INVALID_ARGUMENT")
    result = cli("spool", "inspect", "--refused")
    assert result.out.startswith("refused with INVALID-ARGUMENT: ")
    assert "refused one" in result.out
    assert "waits" not in result.out


# --- flush


def test_flush_delivers_what_is_there(cli: Cli, leave: Leave, to: Any):
    leave(traces("a", "b"), metrics("jobs", 3))
    leave(traces("c"))
    with receiving() as receiver:
        to(receiver.url)
        result = cli("spool", "flush")
    assert (result.code, result.err) == (Exit.OK, "")
    assert result.out == (
        f"delivered 3 spans to {receiver.url}/v1/traces\n"
        f"delivered 3 data points to {receiver.url}/v1/metrics\n"
    )
    assert sum(receiver.taken.values()) == 3
    assert list((cli.folder / ".spanrun").glob("spool/*")) == []
    assert cli("spool", "flush").out == ".spanrun/spool: nothing to deliver\n"


def test_flush_as_json(cli: Cli, leave: Leave, to: Any):
    leave(traces("a", "b"))
    with receiving() as receiver:
        to(receiver.url)
        found = cli("spool", "flush", "--json").json
    assert found["delivered"] == {"traces": 2, "metrics": 0}
    assert found["left"] == []


def test_an_endpoint_that_cannot_be_reached_is_69_and_nothing_is_lost(
    cli: Cli, leave: Leave, to: Any
):
    leave(traces("a", "b"))
    to(closed_port())
    result = cli("spool", "flush", "--timeout", "0.3", "--no-progress")
    assert result.code == Exit.UNREACHABLE
    assert result.out == "2 spans wait on\n"
    what, to_do = result.err.splitlines()
    assert "/v1/traces doesn't take traces: ConnectionRefusedError" in what
    assert to_do == "  Check that it works, then run the same command again."
    assert cli("spool", "status").out.startswith(".spanrun/spool: 2 spans ")


def test_an_endpoint_that_never_answers_is_69_in_time(cli: Cli, leave: Leave, to: Any):
    leave(traces("a"))
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        to(f"http://127.0.0.1:{mute.getsockname()[1]}")
        result = cli("spool", "flush", "--timeout", "0.3")
    assert result.code == Exit.UNREACHABLE
    assert cli("spool", "status").out.startswith(".spanrun/spool: 1 span ")


def test_an_endpoint_that_comes_back_meanwhile_gets_it_all(
    cli: Cli, leave: Leave, to: Any
):
    leave(*(traces(name) for name in "abc"))
    answers = iter([Answer(503), Answer(503)])
    with receiving(lambda _: next(answers, OK)) as receiver:
        to(receiver.url)
        result = cli("spool", "flush")
    assert (result.code, result.err) == (Exit.OK, "")


def test_without_an_endpoint_it_is_78(cli: Cli, leave: Leave):
    leave(traces("a"))
    result = cli("spool", "flush")
    assert result.code == Exit.CONFIGURATION
    assert "no endpoint is set, and 1 span wait" in result.err
    assert cli("spool", "status").out.startswith(".spanrun/spool: 1 span ")


def test_a_signal_without_an_endpoint_is_78_after_the_others(cli: Cli, leave: Leave):
    leave(traces("a"), metrics("jobs", 1))
    with receiving() as receiver:
        url = f"{receiver.url}/v1/traces"
        cli.environ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = url
        result = cli("spool", "flush")
    assert result.code == Exit.CONFIGURATION
    assert "delivered 1 span to" in result.out
    assert "there is no endpoint for 1 data point" in result.err


def test_what_is_refused_is_1_and_can_be_sent_again(cli: Cli, leave: Leave, to: Any):
    leave(traces("good", "bad"))
    answer = Answer(400)

    def answered(_: Got) -> Answer:
        return answer

    with receiving(answered) as receiver:
        to(receiver.url)
        result = cli("spool", "flush")
        assert result.code == Exit.SOME_FAILED
        assert "not all could be delivered: 2 rejected" in result.err
        assert cli("spool", "flush").out == ".spanrun/spool: nothing to deliver\n"
        answer = OK
        result = cli("spool", "flush", "--refused")
        assert (result.code, result.err) == (Exit.OK, "")
        assert result.out.startswith("delivered 2 spans to ")
    assert sum(receiver.taken.values()) == 2
    assert list((cli.folder / ".spanrun/spool").glob("quarantine/*")) == []


def test_what_a_running_process_has_is_left_to_it(cli: Cli, leave: Leave, to: Any):
    leave(traces("a"), live=True)
    leave(traces("b"))
    with receiving() as receiver:
        to(receiver.url)
        result = cli("spool", "flush")
    assert result.code == Exit.OK
    assert "delivered 1 span to" in result.out
    assert "left 1 span to the processes that have it in hand" in result.out


def test_what_a_killed_process_left_is_delivered(
    cli: Cli, start: Callable[..., Any], to: Any, tmp_path: Path
):
    program = (
        "import time, spanrun as sr\n"
        f"sr.configure(endpoint={closed_port()!r}, store='none')\n"
        "for _ in range(50):\n"
        "    with sr.unit('step'): pass\n"
        "print('done', flush=True)\n"
        "time.sleep(60)\n"
    )

    def steps_on_disk() -> int:
        groups = cli("spool", "inspect", "--limit", "500", "--json").json["groups"]
        names = [each["name"] for group in groups for each in group["items"]]
        return names.count("step")

    killed = start(args=[sys.executable, "-W", "error", "-c", program], cwd=tmp_path)
    assert killed.stdout.readline() == "done\n"
    until(lambda: steps_on_disk() == 50)  # they are when they are a second old
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    with receiving() as receiver:
        to(receiver.url)
        assert cli("spool", "flush").code == Exit.OK
    assert len(receiver.taken) == 50


def test_a_folder_that_cannot_be_taken_over_is_74(cli: Cli, leave: Leave, to: Any):
    leave(traces("a"))
    (folder,) = cli.folder.glob(".spanrun/spool/w-*")
    (folder / "lock").unlink()
    (folder / "lock").mkdir()  # root may read everything, but no folder as a file
    with receiving() as receiver:
        to(receiver.url)
        result = cli("spool", "flush", "--timeout", "0.5")
    assert result.code == Exit.DISK
    assert "lock: Not a regular file" in result.err
    assert "can't be read: lock: Not a regular file" in cli("spool", "status").out


def odd(folder: Path) -> None:
    os.mkfifo(folder / "traces.00000007")
    (folder / "traces.00000008").mkdir()
    (folder / "metrics.00000009").symlink_to("/dev/zero")
    (folder / f"traces.{'9' * 20}").touch()
    (folder / "\x1b[31mred\n\udcff").touch()
    with (folder / "metrics.00000001").open("wb") as huge:
        huge.truncate(3 << 30)


def test_odd_files_stop_no_command_and_are_moved_out_of_the_way(
    cli: Cli, leave: Leave, to: Any
):
    leave(traces("a"), traces("b"))
    (folder,) = cli.folder.glob(".spanrun/spool/w-*")
    odd(folder)
    status = cli("spool", "status")
    assert status.code == Exit.OK
    assert "2 spans on disk" in status.out
    assert "    can't be read: " in status.out
    assert "\x1b" not in status.out
    assert "  a  " in cli("spool", "inspect").out
    with receiving() as receiver:
        to(receiver.url)
        result = cli("spool", "flush", "--no-progress")
    assert (result.code, result.err) == (Exit.OK, "")
    assert sum(receiver.taken.values()) == 2
    assert not folder.exists()
    status = cli("spool", "status")
    assert status.out.count("moved out of the way") == 3
    assert len(cli("spool", "status", "--json").json["unusable"]) == 3
    assert "\x1b" not in status.out
    for command in (("inspect", "--refused"), ("flush", "--refused")):
        assert cli("spool", *command).code == Exit.OK


def test_odd_files_in_the_quarantine_stop_no_command(cli: Cli, leave: Leave, to: Any):
    leave(traces("a"), refused="400")
    folder = cli.folder / ".spanrun/spool/quarantine"
    os.mkfifo(folder / "1-400-aa.frames")
    (folder / "2-400-aa.frames").symlink_to("/dev/zero")
    (folder / f"{'9' * 200}-400-aa.frames").touch()
    with (folder / "3-400-aa.frames").open("wb") as huge:
        huge.truncate(3 << 30)
    status = cli("spool", "status")
    assert status.code == Exit.OK
    assert re.search(r"refused with 400, \d+ s ago: 1 span", status.out)
    assert "can't be read: Not a regular file" in status.out
    assert "can't be read: Is a link" in status.out
    assert "  a  " in cli("spool", "inspect", "--refused").out
    with receiving() as receiver:
        to(receiver.url)
        assert cli("spool", "flush", "--refused").code == Exit.OK
    assert sum(receiver.taken.values()) == 1


def test_what_a_later_release_wrote_is_left_to_it(cli: Cli, leave: Leave, to: Any):
    leave(traces("a"))
    leave(traces("b"))
    first, second = sorted(cli.folder.glob(".spanrun/spool/w-*/traces.*"))
    later = b"\xf5SR\x9d\x02" + b"whatever it looks like then" * 4
    first.write_bytes(later)
    before = cli("spool", "status")
    assert "written in format 2, which this release can't read" in before.out
    assert "1 span on disk" in before.out
    assert "damaged" not in before.out
    with receiving() as receiver:
        to(receiver.url)
        result = cli("spool", "flush")
    assert result.code == Exit.CONFIGURATION
    assert "is written in format 2" in result.err
    assert result.err.endswith(
        "  Run the same command with the release that wrote it.\n"
    )
    assert sum(receiver.taken.values()) == 1
    assert first.read_bytes() == later
    assert not second.exists()
