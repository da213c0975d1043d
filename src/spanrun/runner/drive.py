"""Drive a coroutine step by step, to measure its time on the event loop."""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Protocol, TypeVar

from spanrun import speed
from spanrun.loop.lag import Guilty, LoopLag
from spanrun.loop.watchdog import guilty_in
from spanrun.outcome import Timings

T = TypeVar("T")


class Driven(Guilty, Protocol):
    """What is driven: a job, as far as its steps go."""

    @property
    def timings(self) -> Timings:
        """Where its time is booked."""
        ...


@guilty_in("job", drives=True)
@types.coroutine
def drive_in_python(
    coroutine: Coroutine[Any, Any, T],
    job: Driven,
    lag: LoopLag,
    now: Callable[[], float],
) -> Generator[Any, Any, T]:
    """Await ``coroutine``, and book in ``job.timings`` where its time goes.

    That it runs is ``busy``; that a step of another job blocked the loop while
    it waited is ``loop_lag``. A step of its own that takes too long is told to
    ``lag``.

    Nothing else changes for the coroutine: values, exceptions, cancellation
    and closing pass through in both directions as ``await`` passes them (PEP
    380), the current task and its context stay the same.
    """
    send, threshold, mark = coroutine.send, lag.threshold, lag.mark
    busy = 0.0
    began = now()
    try:
        waits_for = send(None)
        while True:
            ended = now()
            took = ended - began
            busy += took
            if took > threshold:
                lag.blocked(job, began, ended, mark)
            mark = lag.mark
            try:
                value = yield waits_for
            except BaseException as error:
                began = now()
                if lag.mark is not mark:
                    lag.held_up(job.timings, mark, began - ended)
                    mark = lag.mark
                if isinstance(error, GeneratorExit):
                    coroutine.close()
                    raise
                waits_for = coroutine.throw(error)
            else:
                began = now()
                if lag.mark is not mark:
                    lag.held_up(job.timings, mark, began - ended)
                    mark = lag.mark
                waits_for = send(value)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        ended = now()
        took = ended - began
        job.timings.busy += busy + took
        if took > threshold:
            lag.blocked(job, began, ended, mark)


drive = speed.drive if speed.FAST else drive_in_python
"""The one in C where it is there; its twin is above. It takes the same."""
