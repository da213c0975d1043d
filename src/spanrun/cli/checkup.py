"""What `spanrun doctor` looks at: one check a function, each with a fix for a fault."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from opentelemetry.trace import ProxyTracerProvider

from spanrun import __version__
from spanrun.accelerator import WHY_NOT
from spanrun.cli.exits import Exit
from spanrun.errors import ConfigurationError
from spanrun.proxies import proxy_for
from spanrun.quantities import seconds
from spanrun.semconv import SERVICE_NAME
from spanrun.settings import Settings, SignalSettings
from spanrun.telemetry import providers
from spanrun.telemetry.export.destination import Destination, destination
from spanrun.telemetry.export.exporters import exporter
from spanrun.telemetry.export.outcome import Outcome
from spanrun.telemetry.queue import inspection
from spanrun.telemetry.signals import SIGNALS, Signal

Level: TypeAlias = Literal["ok", "warning", "fault"]

_MIB: Final = 1024 * 1024
_FEW_FILES: Final = 1024
_CGROUP: Final = Path("/sys/fs/cgroup")
_BUILT: Final = 1_735_689_600  # 2025-01-01: no clock that is right is before that
_NOBODY: Final = "Start a Collector there, or correct the endpoint: {origin}."
_REFUSED: Final = "See that it receives OTLP there; {origin} says where that is."


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check has found.

    Attributes:
        check: Its name.
        level: ``"ok"``, ``"warning"`` for what costs something, or ``"fault"``.
        fact: What is so, with its value.
        fix: What to do about it; empty where all is well.
        code: With what the command ends for it.
    """

    check: str
    level: Level
    fact: str
    fix: str = ""
    code: Exit = Exit.OK


def checks(
    settings: Settings, environ: Mapping[str, str], *, sends: bool
) -> Iterator[Finding]:
    """All of them, in the order in which a person would ask.

    Args:
        settings: What is to be checked.
        environ: The environment that they are from.
        sends: Whether to send a test span, and an empty request of each other signal.
    """
    plain: tuple[Callable[[], Finding], ...] = (_python, _compiled, _clock, _provider)
    for check in plain:
        yield check()
    if not settings.enabled:
        fact = "off: OTEL_SDK_DISABLED=true"
        yield Finding("telemetry", "warning", fact, "Unset OTEL_SDK_DISABLED.")
        return
    for signal in SIGNALS:
        yield _way_out(signal, settings.signal(signal), settings, environ, sends=sends)
    yield _queue(settings)
    if settings.store is not None:
        yield _folder("store", settings.store)
    yield from _limits()


def _python() -> Finding:
    build = f"{platform.python_implementation()} {platform.python_version()}"
    fact = f"{build} on {platform.system()} {platform.machine()}, spanrun {__version__}"
    with contextlib.suppress(PackageNotFoundError):
        fact += f", uvloop {version('uvloop')} is installed"
    return Finding("python", "ok", fact)


def _compiled() -> Finding:
    if not WHY_NOT:
        return Finding("compiled", "ok", "the compiled part is in use")
    fact = f"the compiled part is not in use, a job costs more: {WHY_NOT}"
    fix = "Install spanrun again where cargo (https://rustup.rs) is on the PATH."
    if os.environ.get("SPANRUN_PURE_PYTHON"):
        fix = "Unset SPANRUN_PURE_PYTHON."
    return Finding("compiled", "warning", fact, fix)


def _clock() -> Finding:
    now = time.time()
    fact = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if now < _BUILT:
        return Finding("clock", "fault", fact, "Set the clock.", Exit.CONFIGURATION)
    return Finding("clock", "ok", fact)


def _provider() -> Finding:
    """Who owns OpenTelemetry in a process that is started as this one was."""
    found = providers.tracers()
    if isinstance(found, ProxyTracerProvider):
        fact = "nobody has set one: configure() sets spanrun's own"
        return Finding("provider", "ok", fact)
    kind = f"{type(found).__module__}.{type(found).__qualname__}"
    fact = f"{kind} is set already, and is used: the endpoint here is not"
    fix = "Unset OTEL_PYTHON_TRACER_PROVIDER, or leave opentelemetry-instrument out."
    return Finding("provider", "warning", fact, fix)


def _way_out(
    signal: Signal,
    asked: SignalSettings,
    settings: Settings,
    environ: Mapping[str, str],
    *,
    sends: bool,
) -> Finding:
    if asked.exporter == "console":
        return Finding(signal, "ok", "to the console")
    if asked.exporter == "prometheus":
        at = f"{settings.prometheus_host}:{settings.prometheus_port}"
        return Finding(signal, "ok", f"served at http://{at}/metrics")
    if asked.exporter == "none":
        kept = "kept in the local store" if settings.store else "kept nowhere"
        stays = kept if signal == "traces" else "not exported"
        fact = f"no endpoint is set: {stays}"
        level: Level = "ok" if settings.store else "warning"
        fix = "" if settings.store else "Set OTEL_EXPORTER_OTLP_ENDPOINT, or a store."
        return Finding(signal, level, fact, fix)
    origin = asked.origins["endpoint"]
    try:
        where = destination(signal, asked, environ)
        proxy = None if where.protocol == "grpc" else proxy_for(where.url)
        way = f" through {proxy}" if proxy else ""
        if not sends:
            return Finding(signal, "ok", f"to {where.label}{way} ({origin})")
        return _sent(where, origin, way, settings)
    except ConfigurationError as error:
        fact, _, fix = str(error).rpartition(": ")
        return Finding(signal, "fault", fact, fix, Exit.CONFIGURATION)


def _sent(where: Destination, origin: str, way: str, settings: Settings) -> Finding:
    began = time.perf_counter()
    used = exporter(where)
    try:
        outcome = used.send(_request(where.signal, settings))
    finally:
        used.close()
    took = seconds(time.perf_counter() - began)
    what = "a test span" if where.signal == "traces" else "a request"
    label = f"{where.label}{way}"
    if outcome.verdict == "delivered" and not outcome.rejected:
        return Finding(where.signal, "ok", f"{label} took {what} in {took}")
    return _not_taken(where.signal, label, outcome, origin)


def _not_taken(signal: Signal, label: str, outcome: Outcome, origin: str) -> Finding:
    said = " ".join(part for part in (outcome.code, outcome.detail) if part)
    if outcome.verdict == "retry" and not outcome.code.isdecimal():
        fix = _NOBODY.format(origin=origin)
    else:
        fix = _REFUSED.format(origin=origin)
    return Finding(
        signal, "fault", f"{label} did not take it: {said}", fix, Exit.UNREACHABLE
    )


def _request(signal: Signal, settings: Settings) -> bytes:
    """A span of this command; of another signal, a request without any."""
    if signal != "traces":
        return b""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415 -- 30 ms
        ExportTraceServiceRequest,
    )

    request: Any = ExportTraceServiceRequest()
    of_process = request.resource_spans.add()
    name = of_process.resource.attributes.add()
    name.key = SERVICE_NAME
    name.value.string_value = settings.service_name or "spanrun doctor"
    span = of_process.scope_spans.add().spans.add()
    span.trace_id, span.span_id = os.urandom(16), os.urandom(8)
    span.name = "spanrun doctor"
    span.start_time_unix_nano = span.end_time_unix_nano = time.time_ns()
    encoded: bytes = request.SerializeToString()
    return encoded


def _queue(settings: Settings) -> Finding:
    root = settings.spool
    finding = _folder("queue", root)
    if finding.level != "ok":
        return finding
    try:
        found = inspection.inspect_spool(root)
    except OSError as error:
        return Finding("queue", "fault", f"{root}: {error.strerror}", *_DISK)
    waits = sum(
        waiting.items for writer in found.writers for waiting in writer.signals.values()
    )
    fact = f"{root}: {waits:,} spans and data points wait"
    if found.quarantine:
        fix = "See spanrun spool inspect --refused."
        return Finding("queue", "warning", f"{fact}, and some were refused", fix)
    if free := _too_little(root, settings.spool_bytes):
        fact = f"{root} may grow to {settings.spool_bytes // _MIB:,} MiB, and {free}"
        return Finding("queue", "warning", fact, "Make room, or set SPANRUN_SPOOL.")
    return Finding("queue", "ok", fact)


_DISK: Final = ("Check its rights, or name another folder.", Exit.DISK)


def _too_little(root: Path, wanted: int) -> str:
    free = shutil.disk_usage(_existing(root)).free
    return "" if free >= wanted else f"{free // _MIB:,} MiB of the disk are free"


def _folder(check: str, folder: Path) -> Finding:
    """Whether ``folder`` can be written, or made. Nothing of it is left."""
    where = _existing(folder)
    try:
        with tempfile.TemporaryFile(dir=where):
            pass
    except OSError as error:
        fact = f"{where} can't be written: {error.strerror}"
        return Finding(check, "fault", fact, *_DISK)
    missing = "" if where == folder else ", which is made when it is needed"
    return Finding(check, "ok", f"{folder} can be written{missing}")


def _existing(folder: Path) -> Path:
    """``folder``, or the innermost one above it that is there."""
    return next(each for each in (folder, *folder.parents, Path("/")) if each.exists())


def _limits() -> Iterator[Finding]:
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 -- not on Windows

        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if 0 <= files < _FEW_FILES:
            fact = f"{files} files and connections may be open"
            yield Finding("limits", "warning", fact, f"Raise it: ulimit -n {4096}.")
        else:
            shown = "any number of" if files < 0 else f"{files:,}"
            yield Finding("limits", "ok", f"{shown} files and connections may be open")
    cpus, throttled = _cpus()
    if throttled:
        fact = (
            f"{cpus:g} CPUs, and the container was stopped {throttled:,} times for "
            "using them up: the event loop stood still meanwhile"
        )
        yield Finding("cpu", "warning", fact, "Give it more CPU, or do less at once.")
    else:
        yield Finding("cpu", "ok", f"{cpus:g} CPUs")


def _cpus() -> tuple[float, int]:
    """How many this process may use, and how often its group was stopped for that."""
    cpus: float = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cpus = len(os.sched_getaffinity(0))
    try:
        quota, period = (_CGROUP / "cpu.max").read_text("ascii").split()
        lines = (_CGROUP / "cpu.stat").read_text("ascii").splitlines()
        stats = dict(line.split() for line in lines)
    except (OSError, ValueError):
        return cpus, 0
    if quota != "max":
        cpus = min(cpus, int(quota) / int(period))
    return cpus, int(stats.get("nr_throttled", 0))
