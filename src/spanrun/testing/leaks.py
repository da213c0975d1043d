"""`no_leaks`: nothing may be left behind, and what is left is named."""

from __future__ import annotations

import asyncio
import contextvars
import os
import socket
import stat
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, Final, Protocol

from spanrun.runner.core import Core, cores
from spanrun.runner.kept import kept
from spanrun.telemetry import setup
from spanrun.testing._listener import Listener, running_loop
from spanrun.testing.clock import where
from spanrun.testing.watch import Watch

_IGNORED: Final = ("decimal_context",)
"""Context variables that Python sets by itself when they are first read."""


class Keeper(Protocol):
    """Knows which spans are open."""

    def unfinished(self) -> dict[int, str]:
        """The spans that have not ended: their ids and names."""
        ...


keepers: Final[weakref.WeakSet[Keeper]] = weakref.WeakSet()
"""All that are alive."""


class Leaked(AssertionError):  # noqa: N818 -- what it is
    """Something outlived its owner. The text says what, and where it was made."""


class no_leaks:  # noqa: N801 -- used like a function: `with no_leaks():`
    """Fail when what happens inside leaves anything behind.

    Looked for are tasks of the running loop, errors of which only the loop has
    heard, threads, sockets, slots and jobs of runners, spans that have not ended,
    and a current span or another context variable that was changed. Worker
    threads of the loop itself are the loop's.

    Use it as ``with`` or as ``async with``; only inside a running loop can
    tasks be found.

    Raises:
        Leaked: On leaving; where another error is on its way, that one gets
            a note instead.

    Example:
        >>> with no_leaks():
        ...     pass
    """

    def __init__(self) -> None:
        self._before: _Alive | None = None
        self._listener: Listener | None = None
        self._undo: Final = ExitStack()
        self._keeps_loop = False

    def __enter__(self) -> None:
        self._keeps_loop = kept.open
        self._listener = Listener()
        self._before = _Alive.now()
        recorder = setup.recorder()
        if recorder is not None:
            watch = Watch(recorder)
            keepers.add(watch)
            self._undo.callback(keepers.discard, watch)
            self._undo.enter_context(setup.use(watch, setup.observers()))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        before, listener = self._before, self._listener
        assert before is not None and listener is not None  # noqa: S101, PT018 -- entered
        if not self._keeps_loop and running_loop() is None:
            kept.close()
        left = list(before.left(_Alive.now(), listener))
        self._undo.close()
        listener.stop()
        if not left:
            return
        text = "\n".join(["left behind:", *(f"  {line}" for line in left)])
        if error is None:
            raise Leaked(text)
        error.add_note(text)

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, trace)


@dataclass(frozen=True, slots=True)
class _Alive:
    """All there is at one moment."""

    tasks: frozenset[asyncio.Task[Any]]
    threads: frozenset[threading.Thread]
    sockets: frozenset[tuple[int, int]]
    jobs: dict[Core, tuple[int, int]]
    spans: dict[int, str]
    context: dict[contextvars.ContextVar[Any], Any]

    @classmethod
    def now(cls) -> _Alive:
        loop = running_loop()
        return cls(
            frozenset(asyncio.all_tasks(loop) if loop else ()),
            frozenset(thread for thread in threading.enumerate() if _ours(thread)),
            frozenset(_sockets()),
            {core: _jobs(core) for core in cores if _has_jobs(core)},
            {
                span_id: name
                for keeper in keepers
                for span_id, name in keeper.unfinished().items()
            },
            dict(contextvars.copy_context()),
        )

    def left(self, after: _Alive, listener: Listener) -> Iterator[str]:
        """A line for each thing that is in ``after`` and was not here."""
        yield from listener.unseen
        for task in after.tasks - self.tasks:
            yield f"task {where(task)}{listener.birth(task)}"
        for thread in after.threads - self.threads:
            yield f"thread {thread.name!r}{_running(thread)}"
        for number, inode in after.sockets - self.sockets:
            yield f"socket {_socket(number)} (file descriptor {number}, {inode})"
        for core, (slots, jobs) in after.jobs.items():
            had_slots, had_jobs = self.jobs.get(core, (0, 0))
            if slots > had_slots:
                yield f"{slots - had_slots} slots of runner {core.name!r}"
            if jobs > had_jobs:
                yield f"{jobs - had_jobs} jobs of runner {core.name!r}"
        for span_id in after.spans.keys() - self.spans.keys():
            yield f"span {after.spans[span_id]!r}, which has not ended"
        yield from self._changed(after)

    def _changed(self, after: _Alive) -> Iterator[str]:
        for variable in self.context.keys() | after.context.keys():
            if variable.name in _IGNORED:
                continue
            unset = _default(variable)
            was = self.context.get(variable, unset)
            now = after.context.get(variable, unset)
            if was is not now:
                yield f"context variable {variable.name!r}: {now!r}, was {was!r}"


def _ours(thread: threading.Thread) -> bool:
    loop = running_loop() is not None or kept.open
    return not (loop and thread.name.startswith("asyncio_"))


def _running(thread: threading.Thread) -> str:
    frames: dict[int, FrameType] = sys._current_frames()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] -- no other way
    frame = frames.get(thread.ident or 0)
    if frame is None:
        return ""
    return f" at {frame.f_code.co_filename}:{frame.f_lineno}"


def _sockets() -> Iterator[tuple[int, int]]:
    """The open sockets: descriptor and inode. Nothing where there is no /dev/fd."""
    try:
        names = os.listdir("/dev/fd")  # noqa: PTH208 -- pathlib is 4 times slower
    except OSError:
        return
    for name in names:
        with suppress(OSError):  # the listing's own descriptor is closed by now
            about = os.fstat(int(name))
            if stat.S_ISSOCK(about.st_mode):
                yield int(name), about.st_ino


def _socket(number: int) -> str:
    try:
        with socket.socket(fileno=os.dup(number)) as copy:
            peer = ""
            with suppress(OSError):
                peer = f" to {copy.getpeername()}"
            return f"{copy.getsockname()}{peer}"
    except OSError as error:
        return f"({error})"


def _has_jobs(core: Core) -> bool:
    return bool(core.runs or core.slots.used or core.backing_off)


def _jobs(core: Core) -> tuple[int, int]:
    now = core.gauges()
    return now.running, now.running + now.queued + now.backing_off


def _default(variable: contextvars.ContextVar[Any]) -> Any:
    """What an untouched context has for ``variable``."""
    try:
        return contextvars.Context().run(variable.get)
    except LookupError:
        return None
