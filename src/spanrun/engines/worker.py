"""`Worker`: an ordinary runner whose items come as messages, and whose outcomes go so.

It knows nothing of how they travel. Its transport calls `take` on the worker's event
loop, and is called from any thread with what is to be sent.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import uuid
from collections.abc import Callable
from typing import Any, Final

from spanrun.engines.leased import Leased
from spanrun.engines.replies import Replies, message
from spanrun.engines.uncounted import UncountedMetrics
from spanrun.engines.worker_run import WorkerRun
from spanrun.errors import ConfigurationError
from spanrun.outcome import CancelledBy
from spanrun.policies.limit import Limit
from spanrun.runner.core import Core
from spanrun.runner.engine import Chunk, Done, RunSpec, WorkerSpec
from spanrun.runner.pickled import Finder
from spanrun.semconv import SERVICE_INSTANCE_ID
from spanrun.telemetry import setup
from spanrun.telemetry.log import Log
from spanrun.telemetry.observe import EventKind, Observers

_log: Final = Log(__name__)

_RESOURCE: Final = "OTEL_RESOURCE_ATTRIBUTES"
_BROKEN: Final = 70
_KEEPS: Final = 1.0
"""Seconds, at most, for spans to be where no kill reaches them; then outcomes go."""


class Worker:
    """Takes chunks of jobs, runs them by a runner, and sends each outcome.

    Args:
        send: Sends a message to the driver, from any thread; it may wait.

    Attributes:
        instance: Its ``service.instance.id``.
        closed: Set when it has ended what it does.
    """

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send: Final = send
        self._loop: Final = asyncio.get_running_loop()
        self._runs: Final[dict[str, WorkerRun]] = {}
        self._homes: Final[dict[int, WorkerRun]] = {}
        self.instance: Final = str(uuid.uuid4())
        self.closed: Final = asyncio.Event()
        self._closing: asyncio.Task[None] | None = None
        self._core: Core | None = None
        self._leased: Final = Leased(self._say)
        self._does: Final[dict[str, Callable[..., None]]] = {
            "open": self._open,
            "run": self._begin,
            "chunk": self._add,
            "cancel": self._cancel,
            "forget": self._forget,
            "close": self.close,
            "limit": self._resize,
            "tokens": self._leased.grant,
            "pause": self._leased.pause,
            "leave": self._leased.leave,
        }

    def take(self, said: bytes) -> None:
        """Do what the driver says.

        A fault of ours ends the process, as no job of it would have an outcome.
        """
        try:
            kind, *told = pickle.loads(said)  # noqa: S301 -- our own parent's
            self._does[kind](*told)
        except Exception as error:  # noqa: BLE001 -- see above
            _log.error("a worker can't go on", error=error)
            os._exit(_BROKEN)

    def keep(self) -> None:
        """Put the spans of what has ended where no kill reaches them."""
        telemetry = setup.telemetry()
        if telemetry is not None:
            telemetry.keep(_KEEPS)

    def close(self) -> None:
        """Cancel what runs, send what is left, and set ``closed``."""
        if self._closing is None:
            self._closing = self._loop.create_task(self._close())

    def _open(self, spec: WorkerSpec) -> None:
        try:
            self._finder = Finder(spec.main)
            self._core = self._opened(spec)
        except ConfigurationError as error:
            self._send(message("refused", str(error)))
        else:
            self._send(message("ready", self.instance))

    def _opened(self, spec: WorkerSpec) -> Core:
        os.environ.update(spec.variables)
        given = os.environ.get(_RESOURCE, "")
        os.environ[_RESOURCE] = ",".join(
            filter(None, (given, f"{SERVICE_INSTANCE_ID}={self.instance}"))
        )
        if spec.settings is not None:
            setup.start(spec.settings)
        recorder = setup.recorder()
        if recorder is None and spec.counted:
            recorder = setup.recorder_or_off()
        if recorder is not None:
            # The driver tells the store of runs and jobs: it has their outcomes.
            setup.use(recorder, Observers())
        core = Core(spec.name, self._leased.policies(spec.policies), (), None)
        self._leased.attach(core, spec.policies)
        if isinstance(spec.policies.limit, Limit):
            core.slots.on_resize = None  # what is lent is no change of the limit
        core.open()
        keep = self.keep if setup.telemetry() is not None else None
        self._replies = Replies(self._loop, self._send, keep, lambda: core.slots.limit)
        self._replies.busy = self._is_busy
        self._uncounted = None
        if core.recorder is not None:
            self._uncounted = UncountedMetrics(
                spec.name, self._retried, recorded=keep is not None
            )
        return core

    def _say(self, *what: object) -> None:
        """Tell the driver something that is of no chunk."""
        self._send(message(*what))

    def _note(self, run: str, kind: EventKind, told: dict[str, Any]) -> None:
        self._say("event", run, kind, told)

    def _resize(self, limit: int) -> None:
        """The driver gives that many slots; an adaptive limit goes its own way."""
        assert self._core is not None  # noqa: S101 -- it is ready
        self._core.slots.resize(limit)

    def _is_busy(self) -> bool:
        return any(run.is_busy for run in self._runs.values())

    def _retried(self, error_type: str) -> None:
        self._replies.retried[error_type] += 1

    def _begin(self, spec: RunSpec) -> None:
        assert self._core is not None  # noqa: S101 -- it is ready
        self._runs[spec.id] = WorkerRun(
            self._core,
            spec,
            self._finder,
            self._reply,
            self._uncounted,
            self._note,
        )

    def _add(self, chunk: Chunk) -> None:
        self._runs[chunk.run].add(chunk)

    def _reply(self, chunk: int, done: Done) -> None:
        self._replies.add(chunk, done)

    def _cancel(self, run: str, chunk: int, by: CancelledBy) -> None:
        found = self._runs.get(run)
        if found is not None:
            found.cancel(chunk, by)

    def _forget(self, run: str) -> None:
        found = self._runs.pop(run, None)
        if found is not None:
            found.close()

    async def _close(self) -> None:
        try:
            for run in self._runs.values():
                run.stop("run")
            if self._core is not None:
                await self._replies.close()
                for run in self._runs.values():
                    run.close()
                self._core.close()
            await asyncio.to_thread(setup.shutdown)
        except Exception as error:  # noqa: BLE001 -- it ends in any case
            _log.error("a worker could not be closed", error=error)
        finally:
            self.closed.set()
