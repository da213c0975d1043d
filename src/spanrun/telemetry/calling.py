"""`calling`: the unit of a call, or nothing where telemetry is off; `propagate`."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any, Final, Self

from spanrun.semconv import Metric
from spanrun.telemetry import setup
from spanrun.telemetry.forks import no_fork
from spanrun.telemetry.units.call import CallKind, CallUnit


class Untold:
    """A call that nobody hears of."""

    def set(self, key: str, value: Any) -> None:
        """As `CallUnit.set`."""

    def fail(self, error_type: str) -> None:
        """As `CallUnit.fail`."""

    def record(self, metric: Metric, value: float, **more: Any) -> None:
        """As `CallUnit.record`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


UNTOLD: Final = Untold()


def _injector() -> Callable[[MutableMapping[str, str]], object]:
    """What puts the current span into headers; it may be what fails at each call."""
    try:
        with no_fork():
            # Makes the propagators, which a variable may name wrongly.
            from opentelemetry.propagate import inject  # noqa: PLC0415
    except Exception as error:  # noqa: BLE001 -- counted where it is called for
        broken = error

        def fail(_: MutableMapping[str, str]) -> object:
            raise broken.with_traceback(None)

        return fail
    return inject


_inject: Final = _injector()


def calling(kind: CallKind) -> CallUnit | Untold:
    """One call to a service, to be entered: see `CallUnit`."""
    recorder = setup.recorder()
    return recorder.open_call(kind) if recorder else UNTOLD


def propagate(headers: MutableMapping[str, str]) -> None:
    """Have the service know the trace: put the current span into ``headers``.

    By the propagators that ``OTEL_PROPAGATORS`` names: W3C Trace Context and
    Baggage by default. A propagator that fails is counted, and costs no call.
    """
    try:
        _inject(headers)
    except Exception as error:  # noqa: BLE001 -- telemetry breaks no call
        if recorder := setup.recorder():
            recorder.failed("traces", error)
