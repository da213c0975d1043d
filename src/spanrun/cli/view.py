"""``spanrun view``: what is recorded, in a browser, also while a program runs."""

from __future__ import annotations

import errno
import ipaddress
import socket
import threading
import webbrowser
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from spanrun.cli import console, session
from spanrun.cli.exits import Exit, fail
from spanrun.cli.runs import AnyFile, RecordingsFolder, open_recording
from spanrun.cli.slo import Objectives
from spanrun.slo import Slo, load
from spanrun.slo.local import require_recorded
from spanrun.view.receiver import Receiver
from spanrun.view.server import HOST, Viewer

if TYPE_CHECKING:
    from spanrun.telemetry.recordings.otlp_store import OtlpStore
    from spanrun.view.grpc_receiver import GrpcReceiver

_MOST_PORTS: Final = 65535


def view(
    file: AnyFile = None,
    *,
    port: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=_MOST_PORTS,
            help="Where to listen; 0: a port that is free.",
        ),
    ] = 0,
    listen: Annotated[
        str | None,
        typer.Option(
            metavar="[HOST:]PORT",
            help="Also take OTLP over HTTP here, of any program: it is kept with the "
            "recordings. The usual port is 4318.  [default host: 127.0.0.1]",
            show_default=False,
        ),
    ] = None,
    listen_grpc: Annotated[
        str | None,
        typer.Option(
            metavar="[HOST:]PORT",
            help="The same over gRPC. The usual port is 4317.  "
            "[default host: 127.0.0.1]",
            show_default=False,
        ),
    ] = None,
    open_: Annotated[
        bool, typer.Option("--open", help="Open it in the browser.")
    ] = False,
    slo: Objectives = None,
    store: RecordingsFolder = None,
) -> None:
    """Show sessions and runs in a browser, live, until Ctrl-C."""
    slos = load(slo) if slo else ()
    require_recorded(slos)
    wanted = {"--listen": listen, "--listen-grpc": listen_grpc}
    places = {option: place for option, place in wanted.items() if place is not None}
    if places and file is not None:
        what = "what is received can't be kept in a file of traces"
        fail(Exit.USAGE, what, f"Leave the file or {', '.join(places)} out.")
    with _receiving(places, store), open_recording(store, file) as recording:
        _serve(recording.path, port, slos, open_=open_)


def _serve(path: Path, port: int, slos: Sequence[Slo], *, open_: bool) -> None:
    try:
        viewer = Viewer(path, port, slos)
    except OSError as error:
        _taken(error, HOST, port, "--port")
    console.say(f"{viewer.url}\nCtrl-C ends it")
    if open_:
        threading.Thread(target=webbrowser.open, args=[viewer.url], daemon=True).start()
    try:
        viewer.serve()
    except KeyboardInterrupt:
        viewer.closing.set()


@contextmanager
def _receiving(places: Mapping[str, str], store: Path | None) -> Generator[None]:
    """Take OTLP meanwhile, where that is wanted, and say at the end what came.

    Args:
        places: The host and port, for each option.
        store: The folder of the recordings.
    """
    if not places:
        yield
        return
    from spanrun.telemetry.recordings.otlp_store import OtlpStore  # noqa: PLC0415 -- 16 ms

    kept = OtlpStore(session.folder(store))
    if kept.fault:
        fail(Exit.DISK, f"{kept.path} can't be used: {kept.fault}", "Name --store.")
    receivers = [_receiver(option, place, kept) for option, place in places.items()]
    for each in receivers:
        each.start()
    try:
        yield
    finally:
        for each in receivers:
            each.stop()
        kept.close()
        counts = sum((each.counts for each in receivers), Counter[str]())
        console.say(
            f"received {counts['spans']:,} spans, {counts['logs']:,} log records and "
            f"{counts['metrics']:,} points of metrics"
        )


def _receiver(option: str, place: str, kept: OtlpStore) -> Receiver | GrpcReceiver:
    host, port = _address(option, place)
    kind: type[Receiver | GrpcReceiver] = Receiver
    protocol = ""
    if option == "--listen-grpc":
        from spanrun.view.grpc_receiver import GrpcReceiver  # noqa: PLC0415 -- 60 ms

        kind, protocol = GrpcReceiver, " OTEL_EXPORTER_OTLP_PROTOCOL=grpc"
    try:
        made = kind(kept, host, port)
    except OSError as error:
        _taken(error, host, port, option)
    console.say(f"OTEL_EXPORTER_OTLP_ENDPOINT={made.url}{protocol}")
    if not _is_loopback(host):
        console.say(f"whoever reaches {host} may send; nobody is asked who they are")
    return made


def _address(option: str, place: str) -> tuple[str, int]:
    """The host and the port.

    An address of IPv6 is in brackets, as in a URL.
    """
    host, _, port = place.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host else HOST
    if not (port.isascii() and port.isdigit() and int(port) <= _MOST_PORTS):
        what = f"{option} {place}: must be a port, such as 4318, or HOST:PORT"
        fail(Exit.USAGE, what, "Name another.")
    return host, int(port)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _taken(error: OSError, host: str, port: int, option: str) -> NoReturn:
    known = (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL)
    if error.errno not in known and not isinstance(error, socket.gaierror):
        raise error
    where = f"port {port}" if host == HOST else f"{host}, port {port},"
    why = f"{where} can't be used: {error.strerror}"
    fail(Exit.USAGE, why, f"Name another with {option}, or none.")
