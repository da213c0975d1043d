"""`configure` and `shutdown`: which recorder is in force, and its pipeline."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Literal

from opentelemetry import trace as otel_trace
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import NoOpTracerProvider

from spanrun.accelerator import core
from spanrun.checks import at_least, optional
from spanrun.settings import STORE, Settings, here, load
from spanrun.telemetry import providers
from spanrun.telemetry.account import Account
from spanrun.telemetry.forks import is_unnoticed_child
from spanrun.telemetry.observe import Observer, Observers
from spanrun.telemetry.units.otel import OtelRecorder
from spanrun.telemetry.units.recorder import Recorder

_INTERRUPTED: Final = 0.5  # seconds: what is left goes to disk


class Telemetry:
    """A pipeline that `configure` made: recorder, exporters and local store.

    Attributes:
        told: Its summary was printed.
        live_folder: In which a process says what it does, while somebody looks.
    """

    def __init__(self, settings: Settings) -> None:
        # The SDK is 60 ms of import: only who configures pays for it.
        from spanrun.telemetry import at_exit, pipeline  # noqa: PLC0415

        self.settings: Final = settings
        self.account: Final = Account()
        self._pipeline: Final = pipeline.Pipeline(settings, self.account)
        self.recorder: Final = self._pipeline.recorder
        self.store: Final = self._pipeline.store
        self.observers: Final = Observers([self.store] if self.store else ())
        self.flush: Final = self._pipeline.flush
        self.keep: Final = self._pipeline.keep
        self.close: Final = self._pipeline.close
        self.status: Final = self._pipeline.status
        self.at_exit: Final = at_exit.AtExit(shutdown)
        self.told = False
        # In full, as the program may go to another folder.
        self.live_folder: Final = _whole(settings.store or Path(STORE))


def _whole(folder: Path) -> Path | None:
    try:
        return folder.absolute()
    except OSError:  # the working folder was deleted
        return None


class _State:
    """What was set up. The part in Rust is told which recorder that puts in force."""

    __slots__ = ("foreign", "off", "telemetry", "used")

    def __init__(self) -> None:
        self.telemetry: Telemetry | None = None
        self.used: tuple[Recorder, Observers] | None = None
        self.foreign: tuple[object, OtelRecorder] | None = None
        self.off: OtelRecorder | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if core is not None and name in ("telemetry", "used"):
            core.put_in_force(_in_force(self))


def _in_force(state: _State) -> Recorder | None:
    """The recorder in force, unless it is one into the application's providers."""
    used: tuple[Recorder, Observers] | None = getattr(state, "used", None)
    if used is not None:
        return used[0]
    return None if state.telemetry is None else state.telemetry.recorder


_state: Final = _State()


def configure(
    *,
    service_name: str | None = None,
    endpoint: str | None = None,
    protocol: str | None = None,
    store: str | Path | None = None,
    summary: Literal["auto"] | bool | None = None,
    logs: str | int | None = None,
) -> None:
    """Switch telemetry on, for the process.

    The standard ``OTEL_*`` variables are honoured. Without any endpoint, runs,
    jobs and spans go to the local store, the folder ``.spanrun``. Where the
    application has set OpenTelemetry providers of its own, those are used and
    never replaced, and only ``store`` has an effect.

    A second call replaces what the first one set up, which is shut down.

    Args:
        service_name: ``service.name``; else ``OTEL_SERVICE_NAME``, else the
            name of the program.
        endpoint: Where OTLP goes, as ``http://host:4318``.
        protocol: ``"http/protobuf"`` or ``"grpc"``.
        store: The folder of the local store; ``"none"`` for no store.
        summary: Whether the end of `run` prints to stderr what was recorded: how many
            jobs, how long they took and where the time went. ``"auto"``: once, on a
            terminal, where the program's own module (``__main__``) calls `run`.
        logs: A level of `logging`, as ``"INFO"``: records of that level and above leave
            over OTLP, and each record that is made in a job or unit says in which.
            None: `logging` is left alone.

    Raises:
        ConfigurationError: With the setting, its value and where it comes from.

    Example:
        >>> configure(service_name="ingest")
        >>> shutdown()
        True
    """
    arguments: dict[str, Any] = {
        "service_name": service_name,
        "endpoint": endpoint,
        "protocol": protocol,
        "store": store,
        "summary": summary,
        "logs": logs,
    }
    start(load(arguments, environ=os.environ, directory=here()))


def start(settings: Settings) -> None:
    """Switch telemetry on as ``settings`` say, in place of what there is."""
    shutdown()
    if settings.enabled:
        _state.telemetry = Telemetry(settings)


def shutdown(timeout: float | None = None) -> bool:
    """Send what is left and stop; at most 5 s, whatever the collector does.

    Also done at exit. A second call does nothing.

    Returns:
        Whether everything was delivered since `configure`. Else a line of log says
        what is lost and why, and what is kept on disk for the next process.
    """
    timeout = optional(at_least)("shutdown", "timeout", timeout, 0)
    telemetry, _state.telemetry = _state.telemetry, None
    if telemetry is None or is_unnoticed_child():
        return True  # in a child that did nothing with it, all is the parent's
    telemetry.at_exit.cancel()
    try:
        given = telemetry.settings.shutdown_timeout if timeout is None else timeout
        return telemetry.close(given)
    except BaseException:  # Ctrl-C once more, or a signal that ends a worker
        telemetry.close(_INTERRUPTED)
        raise


def telemetry() -> Telemetry | None:
    """What `configure` set up, if it did."""
    return _state.telemetry


def recorder() -> Recorder | None:
    """The recorder in force; None when nobody asked for telemetry.

    It is ours after `configure`, and else one into the providers that the
    application has set.
    """
    ours = _in_force(_state)
    if ours is not None:
        return ours
    tracers = providers.tracers()
    if isinstance(tracers, otel_trace.ProxyTracerProvider | NoOpTracerProvider):
        return None
    if getattr(tracers, "of_spanrun", False):
        return None  # ours, from before `shutdown`: nothing comes out of it
    if _state.foreign is None or _state.foreign[0] is not tracers:
        made = OtelRecorder(tracers, providers.meters())
        _state.foreign = tracers, made
    return _state.foreign[1]


def recorder_or_off() -> Recorder:
    """The recorder in force, or one that keeps nothing."""
    active = recorder()
    if active is not None:
        return active
    if _state.off is None:
        _state.off = OtelRecorder(NoOpTracerProvider(), NoOpMeterProvider())
    return _state.off


def observers(more: Sequence[Observer] = ()) -> Observers:
    """The observers of the whole process, and ``more``."""
    if _state.used is not None:
        return _state.used[1] + more
    active = _state.telemetry
    return (active.observers if active else Observers()) + more


def use(recorder: Recorder, observers: Observers | None = None) -> ExitStack:
    """Put ``recorder`` in force until the stack that this gives ends.

    What `configure` made stays as it is.
    """
    before = _state.used
    _state.used = recorder, observers or Observers()
    stack = ExitStack()
    stack.callback(setattr, _state, "used", before)
    return stack
