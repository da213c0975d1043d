"""`RayEngine`: workers are actors of a Ray cluster, on this machine or on many."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Final

from spanrun import extras
from spanrun.checks import above, optional, text, whole
from spanrun.engines.actor import Actor
from spanrun.engines.pool import MISSED, Link, LinkPool
from spanrun.errors import ConfigurationError
from spanrun.runner.engine import WorkerSpec

_PATIENCE: Final = 10.0
"""Seconds that a worker has to end; its telemetry has half of that."""
_STARTED: Final = 2
_LOCAL: Final = "local"
_TRIES: Final = 3
"""Times that a cluster may be started: Ray gives its node 30 s, however busy it is."""


class RayEngine:
    """Runs the jobs of a runner in actors of a Ray cluster.

    Without an ``address``, and where the program has not called ``ray.init`` itself, a
    cluster is started on this machine with the runner, and ended with it. Functions are
    sent by value where they are of the main module; spanrun, and what the functions
    import, must be on each node.

    Args:
        workers: How many actors.
        address: Of a cluster that runs, as ``ray.init`` takes it.
        cpus: That each worker takes of the cluster's.
        chunk: The most jobs that are sent together; by default as many as a worker ends
            in a tenth of a second.
        lost_after: Seconds of silence after which a worker counts as lost, and is
            killed.

    Raises:
        ConfigurationError: At once, for a value that can't work, or without Ray.

    Example:
        >>> RayEngine(workers=2)
        RayEngine(workers=2)
    """

    name: ClassVar = "ray"

    def __init__(
        self,
        workers: int = _STARTED,
        *,
        address: str | None = None,
        cpus: float = 1.0,
        chunk: int | None = None,
        lost_after: float = 10.0,
    ) -> None:
        self.workers: Final = whole("RayEngine", "workers", workers, 1)
        self._address: Final = optional(text)("RayEngine", "address", address)
        self._cpus: Final = above("RayEngine", "cpus", cpus, 0)
        self.chunk: Final = optional(whole)("RayEngine", "chunk", chunk, 1)
        lost = above("RayEngine", "lost_after", lost_after, 0)
        self.heartbeat: Final = lost / MISSED
        extras.require("RayEngine", "ray")

    def __repr__(self) -> str:
        return f"RayEngine(workers={self.workers})"

    def dumps(self, value: Any, /) -> bytes:
        """Pickle a function: by its name or, of the main module, by value."""
        pickler: Any = extras.load("RayEngine", "ray").cloudpickle
        data: bytes = pickler.dumps(value)
        return data

    async def open(self, specs: Sequence[WorkerSpec]) -> LinkPool:
        """Join or start the cluster, and make a pool with a place for each spec."""
        ray: Any = extras.load("RayEngine", "ray")
        handler = signal.getsignal(signal.SIGTERM)
        cpus = max(1, round(self.workers * self._cpus))
        await asyncio.to_thread(_cluster.join, ray, self._address, cpus)
        if threading.current_thread() is threading.main_thread() and (
            handler is not None
        ):
            # Ray's own would end the program where it is to drain.
            signal.signal(signal.SIGTERM, handler)

        async def connect(place: int) -> Link:
            kind = ray.remote(num_cpus=self._cpus, max_restarts=0, max_task_retries=0)(
                Actor
            )
            return _RayLink(ray, kind.remote(specs[place].heartbeat))

        return _RayPool(connect, specs, _PATIENCE)


class _RayPool(LinkPool):
    async def close(self) -> None:
        """End the workers, and the cluster if it is ours."""
        try:
            await super().close()
        finally:
            await asyncio.to_thread(_cluster.leave)


class _Cluster:
    """The cluster of this process, which there can be one of at a time.

    It is started, and ended, by a thread that lives as long as it: on the main thread
    Ray would take SIGTERM, and its processes are killed when the thread ends that made
    them.
    """

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self._users = 0
        self._thread: threading.Thread | None = None
        self._started = self._unused = threading.Event()
        self._error: BaseException | None = None

    def join(self, ray: Any, address: str | None, cpus: int) -> None:
        """Be connected to a cluster: the program's own, or one of ours."""
        with self._lock:
            if self._thread is None and not ray.is_initialized():
                self._start(ray, address, cpus)
            self._users += 1

    def leave(self) -> None:
        """Use it no more. The last one ends it, if it is ours."""
        with self._lock:
            self._users -= 1
            if not self._users:
                self._end()

    def _start(self, ray: Any, address: str | None, cpus: int) -> None:
        # Else Ray writes what jobs print among the program's results.
        given: dict[str, Any] = {"address": address or _LOCAL, "log_to_driver": False}
        if address is None:
            given.update(num_cpus=cpus, include_dashboard=False)
        self._started, self._unused = threading.Event(), threading.Event()
        self._error = None
        self._thread = threading.Thread(
            target=self._live, args=(ray, given), name="spanrun-ray", daemon=True
        )
        self._thread.start()
        self._started.wait()
        if self._error is not None:
            error, self._error = self._error, None
            self._end()
            raise ConfigurationError(
                f"RayEngine(address={address!r}): there is no cluster, {error}: see "
                "its logs, or name one that runs"
            ) from error

    def _live(self, ray: Any, given: dict[str, Any]) -> None:
        try:
            for left in reversed(range(_TRIES)):
                try:
                    ray.init(configure_logging=False, namespace="spanrun", **given)
                    break
                except Exception:
                    ray.shutdown()
                    if not left or given["address"] != _LOCAL:
                        raise
            _hide_token()
        except Exception as error:  # noqa: BLE001 -- raised by who waits
            self._error = error
            return
        finally:
            self._started.set()
        self._unused.wait()
        ray.shutdown()

    def _end(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            self._unused.set()
            thread.join()


def _hide_token() -> None:
    """Let nobody else read what lets one into the cluster: Ray makes it readable."""
    token = Path.home() / ".ray" / "auth_token"
    with suppress(OSError):  # there is none, or it is somebody else's
        token.chmod(0o600)


_cluster: Final = _Cluster()


class _RayLink:
    """The way to a worker in an actor."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray: Final = ray
        self._actor: Final = actor
        self._replies: Final = actor.replies.options(num_returns="streaming").remote()
        self._numbers: Final = count()
        self._how = "its actor has ended"

    def send(self, message: bytes) -> None:
        """Send a message, in order."""
        self._actor.take.remote(next(self._numbers), message)

    async def receive(self) -> bytes | None:
        """Wait for a message; None when no more will come."""
        try:
            message: bytes = await (await anext(self._replies))
        except StopAsyncIteration:
            return None
        except self._ray.exceptions.RayError as error:
            self._how = str(error).partition("\n")[0]
            return None
        return message

    def kill(self) -> None:
        """End the actor at once."""
        self._ray.kill(self._actor, no_restart=True)

    async def ended(self) -> str:
        """Say how it ended; Ray sees to the rest."""
        return self._how
