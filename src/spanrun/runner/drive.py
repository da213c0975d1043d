"""Drive a coroutine step by step, to measure its time on the event loop."""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar, cast

from spanrun.outcome import Timings

T = TypeVar("T")


@types.coroutine
def drive(
    coroutine: Coroutine[Any, Any, T], timings: Timings, now: Callable[[], float]
) -> Generator[Any, Any, T]:
    """Await ``coroutine``, adding the time that it runs to ``timings.busy``.

    Nothing else changes for the coroutine: values, exceptions, cancellation
    and closing pass through in both directions as ``await`` passes them (PEP
    380), the current task and its context stay the same.
    """
    send = coroutine.send
    busy = -now()  # what runs is booked as the end less the beginning of each step
    try:
        waits_for = send(None)
        while True:
            busy += now()
            try:
                value = yield waits_for
            except GeneratorExit:
                busy -= now()
                coroutine.close()
                raise
            except BaseException as error:  # noqa: BLE001 -- handed on, whatever it is
                busy -= now()
                waits_for = coroutine.throw(error)
            else:
                busy -= now()
                waits_for = send(value)
    except StopIteration as stop:
        return cast("T", stop.value)
    finally:
        timings.busy += busy + now()
